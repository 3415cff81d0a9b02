//! What one guest's store holds for `wasi:filesystem`.

use std::sync::Arc;

use wasmtime::component::ResourceTable;

use super::open::OpenFiles;
use super::tree::Root;

/// The file system of one guest: the root that it sees, and what it holds open.
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
    /// A file system with this root, nothing of which is open yet.
    pub fn new(root: Root) -> Self {
        Self { root, files: Arc::default() }
    }
}

/// Gives access to the [`FilesystemCtx`] inside the embedder's store data. See [the module](super) for an example.
pub trait FilesystemView: Send {
    /// Returns the context and the table of the guest's handles.
    fn filesystem(&mut self) -> FilesystemCtxView<'_>;
}

/// What the host functions of `wasi:filesystem` work on.
pub struct FilesystemCtxView<'a> {
    /// The guest's file system.
    pub ctx: &'a mut FilesystemCtx,
    /// The guest's handles. Bound it with `ResourceTable::set_max_capacity`.
    pub table: &'a mut ResourceTable,
}
