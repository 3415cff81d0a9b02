//! `wasi:http/outgoing-handler`: plain HTTP of a guest, answered by the ambassador.
//!
//! A request to one of the API server's names ([`ServerNames`](crate::ambassador::ServerNames)) goes to the
//! [`Ambassador`](crate::ambassador::Ambassador), in any scheme and with any token. Every other request goes to a
//! destination of the grant's `egress`, or is refused. The interfaces are wasmtime's; only the handling of a request is
//! this host's.
//!
//! An embedder with an outgoing handler of its own leaves [`add_to_linker`] out. No grant judges the HTTP of its guests
//! then.
//!
//! # Errors of a guest
//! Requests to the API server are always answered with HTTP, refusals too: see [`ambassador`](crate::ambassador). For
//! other destinations a refusal is an `error-code`:
//!
//! | error code | when |
//! | --- | --- |
//! | `HTTP-request-denied` | the grant's `egress` does not name the destination |
//! | `HTTP-request-URI-invalid` | the URI names no destination |
//! | `destination-IP-prohibited` | the name leads to an address to which no granted name may lead |
//! | `connection-limit-reached` | the grant's rate or its concurrent requests are exhausted |
//! | `HTTP-request-body-size`, `HTTP-response-body-size` | a body exceeds its limit |
//!
//! The other codes mean what their names say. The guest's request options count: `connect-timeout` for other
//! destinations, `first-byte-timeout` and `between-bytes-timeout` for all. The run's deadline ends every request.

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
/// adds the rest of WASI, with `wasmtime_wasi::p2::add_to_linker_async`. Afterwards the linker refuses a name that it
/// has already, as it does by default (`allow_shadowing`).
///
/// # Errors
/// Fails when the linker has one of the names already.
pub fn add_to_linker<T: PodView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    let options = LinkOptions::default();
    handling::add_to_linker(linker)?;
    types::add_to_linker::<T, WasiHttp>(linker, &options.into(), |state| state.pod().into_http())?;
    resource_limits::add_to_linker(linker)
}
