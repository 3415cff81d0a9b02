//! `wasi:filesystem`: a read-only root in memory, in which the grant's mounts lie at their places.
//!
//! Threat: a guest that reaches beyond its mounts, or that has the host hold memory, threads or files of the system for
//! it. Here no path of a guest ever comes to the host's file system: directories, links and files are values in memory.
//! A handle of a directory is a path, and a stream is an offset into bytes that all guests share.
//!
//! | module | holds |
//! | --- | --- |
//! | `tree` | the root, directories, links, and mounts whose content changes |
//! | `walk` | from a path to what lies there |
//! | `open` | files that a guest holds open, their bound, and streams over them |
//! | `descriptor` | handles, and the facts about the files behind them |
//! | `host` | the interfaces of `wasi:filesystem` |
//!
//! ```
//! use attache::capability::filesystem::{self, FilesystemCtx, FilesystemCtxView, FilesystemView};
//! use wasmtime::component::{Linker, ResourceTable};
//!
//! struct State {
//!     table: ResourceTable,
//!     files: FilesystemCtx,
//! }
//!
//! impl FilesystemView for State {
//!     fn filesystem(&mut self) -> FilesystemCtxView<'_> {
//!         FilesystemCtxView { ctx: &mut self.files, table: &mut self.table }
//!     }
//! }
//!
//! # fn main() -> wasmtime::Result<()> {
//! let engine = attache::engine::Engine::new(&Default::default())?;
//! let mut linker = Linker::<State>::new(engine.wasmtime());
//! filesystem::add_to_linker(&mut linker)?;
//! # Ok(())
//! # }
//! ```

mod ctx;
mod descriptor;
mod error;
mod host;
mod open;
mod tree;
mod walk;

pub use self::ctx::{FilesystemCtx, FilesystemCtxView, FilesystemView};
pub use self::descriptor::{Descriptor, Listing};
pub use self::error::FilesystemError;
pub use self::open::MAX_OPEN_BYTES;
pub use self::tree::{Directory, Mount, Root};

use wasmtime::component::{HasData, Linker};

use super::bindings::{filesystem, preopens};

struct HasFilesystem;

impl HasData for HasFilesystem {
    type Data<'a> = FilesystemCtxView<'a>;
}

/// Adds `wasi:filesystem` to a linker. An embedder that uses it adds the rest of WASI with
/// [`wasi::add_to_linker`](super::wasi::add_to_linker), and not with wasmtime-wasi's own function.
///
/// # Errors
/// Fails when the linker has one of the names already.
pub fn add_to_linker<T: FilesystemView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    preopens::add_to_linker::<T, HasFilesystem>(linker, T::filesystem)?;
    filesystem::add_to_linker::<T, HasFilesystem>(linker, T::filesystem)
}
