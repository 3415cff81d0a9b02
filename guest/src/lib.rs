//! The SDK for guests of Attaché: access to the pod that a WebAssembly extension runs in, and to the Kubernetes API.
//!
//! A guest is an ordinary Rust program, built for `wasm32-wasip2`. The host holds the credentials. A grant defines the
//! guest's rights, so the host can refuse every call. In [`api`], a refusal is an error that names the missing rule. In
//! [`pod`], a value that the grant does not open is absent.
//!
//! - [`pod`]: the pod's identity, its labels and annotations, their changes, and its resource bounds.
//! - [`api`]: discovery, and reading, writing and watching objects of any type.
//! - [`http`]: raw requests to the API server and to the destinations in the grant.
//!
//! Files and environment variables need no SDK: `std::fs` and `std::env` read those that the grant names, at the paths
//! of a container.
//!
//! ```no_run
//! use attache_guest::{api::{Collection, ResourceType}, pod};
//! use serde_json::Value;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let namespace = pod::identity()?.namespace.unwrap_or_else(|| "default".into());
//!     let jobs = Collection::namespaced(&ResourceType::new("batch", "v1", "jobs"), &namespace)?;
//!     for job in jobs.list().labels("app=report").items::<Value>() {
//!         println!("{}", job?["metadata"]["name"]);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! The crate compiles for every target, so a guest's own logic can be tested anywhere. A call that needs the host
//! panics outside WebAssembly.

pub mod api;
mod bindings;
#[cfg(feature = "http")]
pub mod http;
pub mod pod;
#[cfg(feature = "http")]
pub mod serve;

#[cfg(feature = "typed")]
pub use k8s_openapi;
#[cfg(feature = "typed")]
pub use kube_core;
pub use serde_json;

/// The programs of the README, compiled by `cargo test`.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
