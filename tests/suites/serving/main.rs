//! `attache::serving` through its public interface, with real sockets, real TLS and hyper's clients.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bounds;
mod client;
mod facts;
mod frames;
mod protocols;
mod stop;
