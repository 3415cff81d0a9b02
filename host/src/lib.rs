//! Runs untrusted WebAssembly extensions inside Kubernetes pods.

pub mod ambassador;
pub mod capability;
pub mod cluster;
pub mod credentials;
#[cfg(feature = "devcluster")]
pub mod devcluster;
pub mod engine;
pub mod extension;
pub mod gate;
pub mod podinfo;
pub mod policy;
pub mod quantity;
pub mod telemetry;
pub mod volume;
