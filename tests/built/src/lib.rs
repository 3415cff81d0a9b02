//! What the tasks of the workspace share with its tests and benches: where the guests and programs are, and how they
//! are built.
//!
//! It is a crate by itself, without the host's dependencies, so that a task starts within seconds on a fresh clone.

pub mod clients;
pub mod guests;
pub mod kubectl;
pub mod languages;
pub mod programs;
