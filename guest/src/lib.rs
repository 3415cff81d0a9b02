//! The SDK for guests of Attaché: what a WebAssembly extension sees of the pod that it runs in, and of the
//! Kubernetes API.
//!
//! A guest is an ordinary Rust program, built for `wasm32-wasip2`. Its host holds the credentials and decides, by a
//! grant, what the guest may see and do; everything here may therefore be refused. [`api`] says so with an error that
//! names the rule that was missing; in [`pod`], what is not granted is not there.
//!
//! - [`pod`]: who the pod is, its labels and annotations (also as they change), its resource bounds.
//! - [`api`]: discovery, and reading and writing objects of any type.
//! - [`http`]: raw requests, to the API server and to where else the grant says.
//! - Files and environment variables of the pod need nothing from here: `std::fs` and `std::env` read those that
//!   the grant names, at the paths where a container would find them.
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
//! The crate type-checks and its pure parts can be tested on any target; a call that needs the host panics
//! outside WebAssembly.

pub mod api;
mod bindings;
#[cfg(feature = "http")]
pub mod http;
pub mod pod;

#[cfg(feature = "typed")]
pub use k8s_openapi;
#[cfg(feature = "typed")]
pub use kube_core;
pub use serde_json;

/// The program that the README walks through, compiled by `cargo test`.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
