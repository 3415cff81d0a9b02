//! Extensions that a host keeps, as an embedder of the supervisor sees them: real guests, real sockets, real files.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod admin;
mod commands;
mod http;
mod reload;
mod stage;
