//! Bounds on requests that a guest has not sent yet.
//!
//! Threat: a guest that makes requests and never sends them. wasmtime-wasi-http 48 keeps methods and authorities of any
//! length. Each of a thousand handles may be a request or a set of headers: gigabytes of the host's memory before any
//! gate has seen a request. So the parts of a request are bounded, and so are the requests and headers of one instance.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceTable};
use wasmtime_wasi_http::p2::bindings::http::types::{HeaderError, Host as _, HostFields, HostOutgoingRequest, Method};
use wasmtime_wasi_http::p2::types::{HostIncomingResponse, HostOutgoingRequest as Outgoing, HostOutgoingResponse};
use wasmtime_wasi_http::{FieldMap, WasiHttpCtxView};

use super::super::ctx::PodView;

const INTERFACE: &str = "wasi:http/types@0.2.12";

/// The longest method, in bytes. The longest registered one (`UPDATEREDIRECTREF`) has 17.
const METHOD: usize = 64;

/// The longest authority, in bytes. A name has at most 253 and a port six. The rest is room for authorities that are
/// refused with a reason.
const AUTHORITY: usize = 512;

/// The longest path and query, in bytes, for a guest whose grant opens no destination. For other guests it is the
/// grant's `targetBytes`.
const PATH: u64 = 16 << 10;

/// The largest number of requests, responses and sets of headers of one instance together. A program has some for each
/// concurrent request, and for the answers whose heads it keeps. Each may hold the grant's `headerBytes`, of which many
/// small ones take three times their size, and an unsent body.
pub(crate) const MOST: usize = 128;

/// Ends the call of a guest that holds [`MOST`] and makes one more.
#[derive(Debug, thiserror::Error)]
#[error("the guest holds {MOST} requests, responses and sets of headers, and may hold no more: drop or send them")]
pub(crate) struct Full;

/// Puts the bounds in front of the functions that `wasi:http/types` has already.
pub(super) fn add_to_linker<T: PodView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let added = linker.instance(INTERFACE).and_then(|mut types| {
        add_setters(&mut types)?;
        add_fields(&mut types)
    });
    linker.allow_shadowing(false);
    added
}

type Set<V> = (Resource<Outgoing>, V);
type Done = (Result<(), ()>,);

fn add_setters<T: PodView + 'static>(types: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    types.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, T>, (request, method): Set<Method>| -> wasmtime::Result<Done> {
            let too_long = matches!(&method, Method::Other(name) if name.len() > METHOD);
            Ok((if too_long { Err(()) } else { view(&mut store).set_method(request, method)? },))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, T>, (request, authority): Set<Option<String>>| -> wasmtime::Result<Done> {
            let too_long = is_longer(authority.as_ref(), AUTHORITY);
            Ok((if too_long { Err(()) } else { view(&mut store).set_authority(request, authority)? },))
        },
    )?;
    types.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: StoreContextMut<'_, T>, (request, path): Set<Option<String>>| -> wasmtime::Result<Done> {
            // The parser of URIs drops a fragment, so the sent target would differ from the guest's.
            let has_fragment = path.as_ref().is_some_and(|path| path.contains('#'));
            let refused = is_longer(path.as_ref(), longest_path(&mut store)) || has_fragment;
            Ok((if refused { Err(()) } else { view(&mut store).set_path_with_query(request, path)? },))
        },
    )
}

fn longest_path<T: PodView + 'static>(store: &mut StoreContextMut<'_, T>) -> usize {
    let pod = store.data_mut().pod();
    let grant = pod.ctx.gate().grant();
    let opens_nothing = grant.api.is_empty() && grant.egress.is_empty();
    let longest = if opens_nothing { PATH.min(grant.limits.target_bytes) } else { grant.limits.target_bytes };
    usize::try_from(longest).unwrap_or(usize::MAX)
}

fn is_longer(text: Option<&String>, most: usize) -> bool {
    text.is_some_and(|text| text.len() > most)
}

/// Each request and each response begins as a set of headers, which it then takes. So counting sets of headers counts
/// all of them.
fn add_fields<T: PodView + 'static>(types: &mut LinkerInstance<'_, T>) -> wasmtime::Result<()> {
    types.func_wrap("[constructor]fields", |mut store: StoreContextMut<'_, T>, (): ()| {
        let mut view = with_room(&mut store)?;
        Ok((HostFields::new(&mut view)?,))
    })?;
    types.func_wrap(
        "[method]fields.clone",
        |mut store: StoreContextMut<'_, T>, (fields,): (Resource<FieldMap>,)| {
            let mut view = with_room(&mut store)?;
            Ok((HostFields::clone(&mut view, fields)?,))
        },
    )?;
    types.func_wrap(
        "[static]fields.from-list",
        |mut store: StoreContextMut<'_, T>, (entries,): (Vec<(String, Vec<u8>)>,)| {
            let mut view = with_room(&mut store)?;
            let made: (Result<Resource<FieldMap>, HeaderError>,) = match view.from_list(entries) {
                Ok(fields) => (Ok(fields),),
                Err(error) => (Err(view.convert_header_error(error)?),),
            };
            Ok(made)
        },
    )
}

fn view<'a, T: PodView + 'static>(store: &'a mut StoreContextMut<'_, T>) -> WasiHttpCtxView<'a> {
    store.data_mut().pod().into_http()
}

/// Returns the view, if there may be one more.
fn with_room<'a, T: PodView + 'static>(store: &'a mut StoreContextMut<'_, T>) -> wasmtime::Result<WasiHttpCtxView<'a>> {
    let view = view(store);
    if held(view.table) >= MOST {
        return Err(Full.into());
    }
    Ok(view)
}

fn held(table: &mut ResourceTable) -> usize {
    let counts = |entry: &(dyn std::any::Any + Send)| {
        entry.is::<FieldMap>()
            || entry.is::<Outgoing>()
            || entry.is::<HostOutgoingResponse>()
            || entry.is::<HostIncomingResponse>()
    };
    table.iter_mut().filter(|entry| counts(&**entry)).count()
}
