//! Texts of strangers, made from good ones by breaking them: whatever comes, each reader answers soon, never panics,
//! and what it takes means one thing.
//!
//! An input that gives an answer of a new kind is kept and broken further, so that the search goes on where the grammar
//! is. `ATTACHE_FUZZ_SECONDS` sets how long each reader is tried, 2 s without it; `ATTACHE_FUZZ_SEED` repeats a run.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod grants;
mod mutation;
mod podinfo;
mod quantities;
mod requests;
mod search;

#[path = "../requestinfo.rs"]
mod requestinfo;
