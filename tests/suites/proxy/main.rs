//! `attache proxy`: the real binary in front of a devcluster with TLS, spoken to as sibling containers and kubectl do.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod away;
mod behind;
mod filters;
mod grants;
mod http1;
mod informational;
mod kubectl;
mod memory;
mod metrics;
mod once;
mod sessions;
mod sockets;
mod stop;
mod streams;
mod upgrades;
mod world;
