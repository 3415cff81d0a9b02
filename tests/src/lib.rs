//! Shared parts of the suites: guests, programs, pod directories as the kubelet lays them out, and the rule that each
//! guest has a test.

mod coverage;
mod guests;
pub mod pod;

pub use coverage::without_a_suite;
pub use guests::{attache, guest, programs};
