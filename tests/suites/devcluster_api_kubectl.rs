//! to come
#[test]
fn none() {}
