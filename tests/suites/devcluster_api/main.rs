//! The behaviour of an API server that clients rely on, tested by plain requests.
//!
//! They ask nothing of a server but that it is a kube-apiserver 1.36: with `ATTACHE_TEST_KUBECONFIG` they run against
//! the server that it names, each test in a namespace of its own, which it deletes. `limits`, `loading` and `trouble`
//! are about the devcluster itself.

mod access;
mod applying;
mod client;
mod custom;
mod decisions;
mod kept;
mod kubeconfig;
mod limits;
mod loading;
mod malformed;
mod ownership;
mod patches;
mod reads;
mod stage;
mod trouble;
mod watches;
mod wire;
mod writes;
