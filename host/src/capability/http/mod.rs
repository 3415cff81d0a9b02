//! `wasi:http/outgoing-handler`: plain HTTP of a guest, answered by the ambassador.
//!
//! A request to one of the API server's names ([`ServerNames`]) goes to the [`Ambassador`], whatever the guest thinks
//! of TLS and token; every other goes to the grant's `egress`, or nowhere. The interfaces themselves are wasmtime's:
//! only what becomes of a request is ours.
//!
//! An embedder that has an outgoing handler of its own leaves [`add_to_linker`] out, and its guests' HTTP is then its
//! own affair: no grant judges it.
//!
//! # What a guest is told
//! The API server's part is answered with HTTP, refusals too: see [`ambassador`](crate::ambassador). For other places a
//! refusal is an `error-code`:
//!
//! | error code | when |
//! | --- | --- |
//! | `HTTP-request-denied` | the grant's `egress` does not name the destination |
//! | `HTTP-request-URI-invalid` | what is named is no destination |
//! | `destination-IP-prohibited` | the name leads to where no granted name may lead |
//! | `connection-limit-reached` | the grant's rate or its requests under way are spent |
//! | `HTTP-request-body-size`, `HTTP-response-body-size` | a body is larger than is passed on |
//!
//! and the others as their names say. The guest's request options count: `connect-timeout` outward,
//! `first-byte-timeout` and `between-bytes-timeout` everywhere. The run's deadline ends all of it.

mod ctx;
mod error;
mod handling;
pub(crate) mod resource_limits;
mod timed_body;

use wasmtime::component::Linker;
use wasmtime_wasi_http::WasiHttp;
use wasmtime_wasi_http::p2::bindings::{LinkOptions, http::types};

use super::ctx::PodView;

pub(super) use ctx::HttpCtx;

/// Adds `wasi:http/types` and `wasi:http/outgoing-handler` to a linker whose store is run asynchronously. The embedder
/// adds the rest of WASI, with `wasmtime_wasi::p2::add_to_linker_async`. Afterwards the linker takes no name twice, as
/// it does at first (`allow_shadowing`).
///
/// # Errors
/// Fails when the linker has one of the names already.
pub fn add_to_linker<T: PodView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let options = LinkOptions::default();
    handling::add_to_linker(linker)?;
    types::add_to_linker::<T, WasiHttp>(linker, &options.into(), |state| state.pod().into_http())?;
    resource_limits::add_to_linker(linker)
}
