//! The ambassador: HTTP that it answers for the API server, and HTTP that a guest sends through it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod addresses;
mod answers;
mod asking;
mod core;
mod guest;
mod outside;
mod outward;
mod records;
#[path = "../cluster/scripted.rs"]
#[allow(dead_code, reason = "what this suite does not need of it")]
mod scripted;
mod tokens;
mod world;
