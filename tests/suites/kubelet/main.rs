//! The kubelet's part for one pod, with a real API server and real files.

mod changes;
#[path = "../devcluster_api/client.rs"]
#[expect(dead_code, reason = "the other suites look at more of an answer")]
mod client;
mod files;
mod life;
mod manifests;
mod resources;
mod stage;
