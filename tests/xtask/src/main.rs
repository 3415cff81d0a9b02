//! Entry point.
fn main(){}
