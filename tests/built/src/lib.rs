//! The locations and builds of guests and programs, shared by the workspace's tasks, tests and benches.
//!
//! It is a crate by itself, without the host's dependencies, so that a task starts within seconds on a fresh clone.

pub mod clients;
pub mod guests;
pub mod kubectl;
pub mod languages;
pub mod programs;
