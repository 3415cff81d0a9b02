//! The code that `wit-bindgen` generates for the world `imports`. The lints that it breaks are allowed here only.
//!
//! Nothing here is public: [`pod`](crate::pod) and [`api`](crate::api) convert these types to idiomatic Rust. The WASI
//! interfaces are generated here too, because those of the standard library are private. Both call the same host
//! functions, so a pollable from here works beside a sleep in `std`.
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
