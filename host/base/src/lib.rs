//! Leaves that the crates of Attaché share.

pub mod quantity;
pub mod untrusted;
#[cfg(unix)]
pub mod volume;
