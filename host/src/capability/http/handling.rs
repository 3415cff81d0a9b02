//! `outgoing-handler`, which returns the handles that wasmtime-wasi-http 48 keeps.
//!
//! `handle` takes ownership of the request options and leaves them in the table. Each request with options would cost
//! its guest a handle, and a thousand such requests would end the guest.
//!
//! Threat: a guest that floods the log. `handle` joins scheme, authority and path, and logs a line at a high level for
//! each failure. So they are joined here first. A failure is refused and recorded as a request that could not be
//! understood, within the rate of such records. A request without a path is one for `/`.

use http::uri::Scheme;
use http::{Method, Uri};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable, ResourceTableError};
use wasmtime_wasi_http::WasiHttpCtxView;
use wasmtime_wasi_http::p2::HttpResult;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode, Host as _, RequestOptions};
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};

use super::super::ctx::PodView;
use crate::gate::Channel;
use crate::policy::InvalidRequest;

const INTERFACE: &str = "wasi:http/outgoing-handler@0.2.12";

/// The arguments of `handle`, and its result.
type Given = (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>);
type Answered = (Result<Resource<HostFutureIncomingResponse>, ErrorCode>,);

/// Adds `wasi:http/outgoing-handler`.
pub(super) fn add_to_linker<T: PodView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.instance(INTERFACE)?.func_wrap("handle", |mut store: StoreContextMut<'_, T>, given: Given| {
        let pod = store.data_mut().pod();
        let request = pod.table.get_mut(&given.0)?;
        if let Some(target) = unreadable(request) {
            let method = method(&request.method);
            pod.ctx.gate().refuse_invalid(Channel::WasiHttp, &method, &target, &InvalidRequest::NotAPath);
            forget(pod.table, given)?;
            return Ok((Err(ErrorCode::HttpRequestUriInvalid),));
        }
        let mut view = pod.into_http();
        let answered: Answered = match handle(&mut view, given) {
            Ok(future) => (Ok(future),),
            Err(error) => (Err(view.convert_error_code(error)?),),
        };
        Ok(answered)
    })
}

/// Sets the path of a request without one to `/`. Returns the target of a request whose parts make no URI.
fn unreadable(request: &mut HostOutgoingRequest) -> Option<String> {
    let path = request.path_with_query.get_or_insert_with(|| "/".to_owned()).as_str();
    let authority = request.authority.as_deref().unwrap_or_default();
    let uri = Uri::builder().scheme(Scheme::HTTPS).authority(authority).path_and_query(path).build();
    uri.is_err().then(|| format!("{authority}{path}"))
}

/// Returns the method for a record. An invalid one is recorded as GET.
fn method(named: &types::Method) -> Method {
    match named {
        types::Method::Get => Method::GET,
        types::Method::Head => Method::HEAD,
        types::Method::Post => Method::POST,
        types::Method::Put => Method::PUT,
        types::Method::Delete => Method::DELETE,
        types::Method::Connect => Method::CONNECT,
        types::Method::Options => Method::OPTIONS,
        types::Method::Trace => Method::TRACE,
        types::Method::Patch => Method::PATCH,
        types::Method::Other(name) => Method::from_bytes(name.as_bytes()).unwrap_or_default(),
    }
}

fn forget(table: &mut ResourceTable, (request, options): Given) -> Result<(), ResourceTableError> {
    table.delete(request)?;
    options.map_or(Ok(()), |options| table.delete(options).map(drop))
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
