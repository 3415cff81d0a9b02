//! The data in the store of one instance.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::capability::filesystem::{FilesystemCtx, FilesystemCtxView, FilesystemView};
use crate::capability::{PodCtx, PodCtxView, PodView};
use crate::engine::Limiter;

/// The data in the store of one instance: the state of WASI and `attache:pod`, and the embedder's own `D`.
///
/// Only [`Extension`](super::Extension) and [`Session`](super::Session) create one, each time with all limits of the
/// grant. An embedder reaches its own part in the functions that it [offers](super::RuntimeBuilder::offer), and in the
/// closure of a call:
///
/// ```
/// use attache::extension::State;
///
/// /// What the service keeps for one call.
/// struct Visits(u32);
///
/// fn visited(state: &mut State<Visits>) -> u32 {
///     state.data_mut().0 += 1;
///     state.data().0
/// }
/// ```
pub struct State<D: 'static = ()> {
    pub(super) table: ResourceTable,
    pub(super) wasi: WasiCtx,
    pub(super) files: FilesystemCtx,
    pub(super) pod: PodCtx,
    pub(super) limiter: Limiter,
    pub(super) data: D,
}

impl<D> State<D> {
    /// Returns the embedder's data.
    pub fn data(&self) -> &D {
        &self.data
    }

    /// Returns the embedder's data for changes.
    pub fn data_mut(&mut self) -> &mut D {
        &mut self.data
    }

    /// Returns the table of the guest's handles, for resources of the embedder's own interfaces. They count against the
    /// grant's `handles`.
    pub fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }
}

impl<D> std::fmt::Debug for State<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}

impl<D: Send> WasiView for State<D> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl<D: Send> FilesystemView for State<D> {
    fn filesystem(&mut self) -> FilesystemCtxView<'_> {
        FilesystemCtxView { ctx: &mut self.files, table: &mut self.table }
    }
}

impl<D: Send> PodView for State<D> {
    fn pod(&mut self) -> PodCtxView<'_> {
        PodCtxView { ctx: &mut self.pod, table: &mut self.table }
    }
}
