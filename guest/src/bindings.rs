//! What `wit-bindgen` writes for the world `imports`, and the one place where its lints are let off.
//!
//! Nothing here is public: [`pod`](crate::pod) and [`api`](crate::api) turn these types into ones that read like
//! Rust. The WASI interfaces that the world needs are generated anew rather than shared with the standard
//! library, which keeps its own private; both meet the same host functions, so a pollable from here and a sleep
//! in `std` live beside each other.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "generated code"
)]

wit_bindgen::generate!({
    path: "wit",
    world: "imports",
    generate_all,
});
