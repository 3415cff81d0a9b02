//! The host side of the package `attache:pod`, for any wasmtime `Linker`.
//!
//! Beside it, in [`http`], is `wasi:http/outgoing-handler`, for plain HTTP from a guest to the API server.
//!
//! The parts follow wasmtime's conventions: state ([`PodCtx`]), a view on it ([`PodView`]), and [`add_to_linker`].
//!
//! ```
//! use attache::capability::{PodCtx, PodCtxView, PodView};
//! use wasmtime::component::{Linker, ResourceTable};
//!
//! struct State {
//!     table: ResourceTable,
//!     pod: PodCtx,
//! }
//!
//! impl PodView for State {
//!     fn pod(&mut self) -> PodCtxView<'_> {
//!         PodCtxView { ctx: &mut self.pod, table: &mut self.table }
//!     }
//! }
//!
//! # fn main() -> wasmtime::Result<()> {
//! let engine = attache::engine::Engine::new(&Default::default())?;
//! let mut linker = Linker::<State>::new(engine.wasmtime());
//! attache::capability::add_to_linker(&mut linker)?;
//! # Ok(())
//! # }
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `bindings` | what `bindgen!` makes of the WIT package |
//! | `ctx`, `error` | the state of one guest, and the errors of its calls |
//! | `api`, `collection` | `attache:pod/api`, and the paths of its collections |
//! | `writes`, `body`, `yaml` | the calls that change objects, and the checks of their bodies |
//! | `watch` | watches of collections |
//! | `metadata` | `attache:pod/metadata` |
//! | `http`, `filesystem`, `wasi` | `wasi:http`, `wasi:filesystem`, and the rest of WASI |

mod api;
pub mod bindings;
mod body;
#[cfg(test)]
mod body_tests;
mod collection;
mod ctx;
mod error;
pub mod filesystem;
pub mod http;
mod metadata;
pub mod wasi;
mod watch;
mod writes;
mod yaml;

pub use collection::Collection;
pub use ctx::{PodCtx, PodCtxView, PodView};
pub use error::{ApiError, MetadataError};
pub use watch::Watch;

use wasmtime::component::{HasData, Linker};

struct HasPod;

impl HasData for HasPod {
    type Data<'a> = PodCtxView<'a>;
}

/// Adds all interfaces of `attache:pod` to a linker whose store is run asynchronously.
///
/// The gate in a guest's [`PodCtx`] judges each call.
///
/// # Errors
/// Fails when the linker has one of the names already.
pub fn add_to_linker<T: PodView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    bindings::metadata::add_to_linker::<T, HasPod>(linker, T::pod)?;
    bindings::api::add_to_linker::<T, HasPod>(linker, T::pod)
}
