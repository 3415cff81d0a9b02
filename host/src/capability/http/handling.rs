//! `outgoing-handler`, with a handle given back that wasmtime-wasi-http 48 keeps.
//!
//! `handle` is given the request options for good, and reads them without taking them out of the table: each request would
//! cost its guest one of its handles, and one that sends options would end after a thousand requests.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::WasiHttpCtxView;
use wasmtime_wasi_http::p2::HttpResult;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Host as _, RequestOptions};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};

use super::super::ctx::PodView;

const INTERFACE: &str = "wasi:http/outgoing-handler@0.2.12";

/// What `handle` is given, and what it answers.
type Given = (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>);
type Answered = (Result<Resource<HostFutureIncomingResponse>, ErrorCode>,);

/// Adds `wasi:http/outgoing-handler`.
pub(super) fn add_to_linker<T: PodView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap("handle", |mut store: StoreContextMut<'_, T>, given: Given| {
        let mut view = store.data_mut().pod().into_http();
        let answered: Answered = match handle(&mut view, given) {
            Ok(future) => (Ok(future),),
            Err(error) => (Err(view.convert_error_code(error)?),),
        };
        Ok(answered)
    })
}

fn handle(view: &mut WasiHttpCtxView<'_>, given: Given) -> HttpResult<Resource<HostFutureIncomingResponse>> {
    let (request, options) = given;
    let kept = options.as_ref().map(|options| Resource::<RequestOptions>::new_own(options.rep()));
    let answer = view.handle(request, options);
    if let Some(kept) = kept {
        view.table.delete(kept)?;
    }
    answer
}
