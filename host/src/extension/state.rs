//! What the store of one instance holds.

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::capability::filesystem::{FilesystemCtx, FilesystemCtxView, FilesystemView};
use crate::capability::{PodCtx, PodCtxView, PodView};
use crate::engine::Limiter;

pub(super) struct State {
    pub(super) table: ResourceTable,
    pub(super) wasi: WasiCtx,
    pub(super) files: FilesystemCtx,
    pub(super) pod: PodCtx,
    pub(super) limiter: Limiter,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl FilesystemView for State {
    fn filesystem(&mut self) -> FilesystemCtxView<'_> {
        FilesystemCtxView { ctx: &mut self.files, table: &mut self.table }
    }
}

impl PodView for State {
    fn pod(&mut self) -> PodCtxView<'_> {
        PodCtxView { ctx: &mut self.pod, table: &mut self.table }
    }
}
