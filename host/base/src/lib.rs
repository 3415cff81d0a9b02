//! Small modules that the crates of Attaché share. None of them depends on another crate of the workspace.
//!
//! | module | content |
//! | --- | --- |
//! | [`backoff`] | the arithmetic of waits that double |
//! | [`names`] | the rules of RFC 1123 |
//! | [`quantity`] | Kubernetes resource quantities, exactly |
//! | [`untrusted`] | text of others, escaped and cut |
//! | `volume` | the layout of a kubelet's volumes (Unix only) |
//! | [`yaml`] | options and errors of the YAML readers |
//!
//! [`Location`] is a place in a file.

pub mod backoff;
mod location;
pub mod names;
pub mod quantity;
pub mod untrusted;
#[cfg(unix)]
pub mod volume;
pub mod yaml;

pub use location::Location;
