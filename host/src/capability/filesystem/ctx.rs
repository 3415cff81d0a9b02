//! The state of one guest's `wasi:filesystem`.

use std::sync::Arc;

use wasmtime::component::ResourceTable;

use super::open::OpenFiles;
use super::tree::Root;

/// The file system of one guest: its root, and its open files.
///
/// ```
/// use attache::capability::filesystem::{FilesystemCtx, Root};
///
/// let files = FilesystemCtx::new(Root::new().with_file("/etc/app/zone", "eu-1"));
/// ```
#[derive(Debug, Default)]
pub struct FilesystemCtx {
    pub(super) root: Root,
    pub(super) files: Arc<OpenFiles>,
}

impl FilesystemCtx {
    /// Makes a file system with this root and without open files.
    pub fn new(root: Root) -> Self {
        Self { root, files: Arc::default() }
    }
}

/// Gives access to the [`FilesystemCtx`] inside the embedder's store data. See [the module](super) for an example.
pub trait FilesystemView: Send {
    /// Returns the context and the table of the guest's handles.
    fn filesystem(&mut self) -> FilesystemCtxView<'_>;
}

/// The view on which the host functions of `wasi:filesystem` work.
pub struct FilesystemCtxView<'a> {
    /// The guest's file system.
    pub ctx: &'a mut FilesystemCtx,
    /// The guest's handles. Bound it with `ResourceTable::set_max_capacity`.
    pub table: &'a mut ResourceTable,
}
