//! Untrusted texts, made by breaking valid texts. Each reader answers soon and never panics, and the texts that it
//! accepts have one meaning.
//!
//! An input with an answer of a new kind is kept and broken further, so that the search follows the grammar.
//! `ATTACHE_FUZZ_SECONDS` sets the time for each reader, by default 2 s. `ATTACHE_FUZZ_SEED` repeats a run.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod grants;
mod mutation;
mod podinfo;
mod quantities;
mod requests;
mod search;

#[path = "../requestinfo.rs"]
mod requestinfo;
