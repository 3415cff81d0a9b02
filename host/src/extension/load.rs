//! The way from a file to an extension: check the pin, count, compile or map, judge, link.

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use wasmtime::component::Component;
use wasmtime_wasi::p2::bindings::CommandPre;

use super::bounds::Bounds;
use super::imports::Import;
use super::mounts::MountError;
use super::runtime::{Runtime, Shared};
use super::source::{COMPONENT, Source};
use super::state::State;
use super::world::World;
use crate::engine::{ArtefactError, EngineError};
use crate::podinfo::PodInfo;
use crate::policy::{Grant, LimitHit};

/// The reason for which a component was not loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read the component {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("the component is larger than {most} bytes")]
    TooLarge {
        /// The maximum size, in bytes.
        most: u64,
    },
    /// The bytes are a core module.
    #[error(
        "this is a core module, not a component: build it for the target wasm32-wasip2, or wrap it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// The bytes are not WebAssembly.
    #[error("this is not a WebAssembly component: {}", first_bytes(.found))]
    NotWasm {
        /// The first bytes of the file, at most eight.
        found: Vec<u8>,
    },
    /// The grant pins another file.
    #[error("the grant pins component.sha256 {pinned}, but this component's is {found}")]
    Pinned {
        /// The pinned digest, in hex.
        pinned: String,
        /// The file's digest, in hex.
        found: String,
    },
    /// The grant pins an artefact and no component.
    #[error(
        "the grant pins an artefact alone, and this is a component: if it may run too, add `sha256: {found}` to the grant's \
         `component`"
    )]
    ComponentUnpinned {
        /// The digest of the file, in hex.
        found: String,
    },
    /// The file is machine code, which is loaded only if the operator pins it.
    #[error(
        "this is machine code, compiled elsewhere, which is trusted like the host itself: it is loaded only under a grant \
         that pins it. If it is yours, add `component: {{artefactSha256: {found}}}` to its spec"
    )]
    ArtefactUnpinned {
        /// The file's digest, in hex.
        found: String,
    },
    /// The file is the beginning of an artefact.
    #[error(
        "the artefact is cut off: its file has {size} bytes, and its sections go further. Copy it anew, or make it anew"
    )]
    ArtefactCut {
        /// The file's size.
        size: u64,
    },
    /// The grant pins another artefact.
    #[error(
        "the grant pins component.artefactSha256 {pinned}, but this artefact's is {found}: it is another one, or was damaged \
         on its way"
    )]
    ArtefactPinned {
        /// The pinned digest, in hex.
        pinned: String,
        /// The file's digest, in hex.
        found: String,
    },
    /// The artefact does not fit the engine, or is damaged.
    #[error(
        "the artefact was made for another engine, or was damaged before it was pinned: make it anew, with `attache compile` \
         of this version, on a processor of this kind"
    )]
    OtherEngine(#[source] wasmtime::Error),
    /// The component needs more than its grant opens; one line for each import, without line breaks in it.
    #[error("{}", .0.join("\n"))]
    MissingGrant(Vec<String>),
    /// The component does not export what its world calls.
    #[error("{source:#}")]
    OtherWorld {
        /// The error of wasmtime.
        #[source]
        source: wasmtime::Error,
    },
    /// The file that was to be compiled is an artefact.
    #[error("this is an artefact, which is compiled already")]
    Compiled,
    /// The artefact could not be written.
    #[error("cannot write the artefact {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// The component could not be compiled.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The artefact is not trusted.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
    /// The compiled component could not be loaded.
    #[error("cannot load the compiled component")]
    Load(#[source] wasmtime::Error),
    /// The component needs more from the start than its grant, or any grant of this host, allows.
    #[error("the component begins with {begins}, beyond {whose} limit of {reached}: {remedy}")]
    ExceedsLimit {
        /// The excessive need.
        begins: String,
        /// `its grant's` or `this host's`.
        whose: &'static str,
        /// The limit.
        reached: LimitHit,
        /// The advice on raising the limit.
        remedy: String,
    },
    /// The imports do not have the types that this host gives them.
    #[error("the component's imports do not fit this host's interfaces")]
    Link(#[source] wasmtime::Error),
    /// A mount that the grant names is not available.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The caller has no Tokio runtime, or one that shuts down, or one without the timers and I/O that starting a
    /// compiler's process needs.
    #[error("components are loaded on a Tokio runtime: build one with `enable_all`, and load from within it")]
    NoRuntime,
}

/// Returns the description of a file that is not a component.
fn first_bytes(found: &[u8]) -> String {
    match found {
        [] => "the file is empty".to_owned(),
        found => format!("its first bytes are {found:02x?}, not {COMPONENT:02x?}"),
    }
}

/// A component and its grant, ready to be called. Cheap to clone.
///
/// `W` is the WIT world of its calls, as its bindings ([`World`]). The default is the world of a command.
///
/// A guest runs within the limits of its grant or not at all. So an extension does not expose its `InstancePre`:
///
/// ```compile_fail,E0616
/// # fn take(extension: attache::extension::Extension) {
/// let instances = extension.world;
/// # }
/// ```
///
/// An extension exposes neither the parts of a store, nor a store beyond the end of a call:
///
/// ```compile_fail,E0451
/// # use attache::extension::State;
/// # fn forge(real: State<u8>) -> State<u8> {
/// State { data: 1, ..real }
/// # }
/// ```
///
/// ```compile_fail,E0599
/// # use attache::{extension::{Extension, State}, wasmtime::Store};
/// # fn make(engine: &attache::engine::Engine) {
/// let store: Store<State> = Store::new(engine.wasmtime(), State::new(()));
/// # }
/// ```
///
/// ```compile_fail
/// # use attache::extension::Extension;
/// # async fn keep(extension: Extension) {
/// let mut kept = None;
/// let called = extension.call((), async |_guest, store| {
///     kept = Some(store);
///     Ok(())
/// });
/// # called.await.unwrap();
/// # drop(kept);
/// # }
/// ```
///
/// Within a call, its store may be used:
///
/// ```
/// # use attache::extension::Extension;
/// # async fn look(extension: Extension) {
/// let mut held = None;
/// let called = extension.call((), async |_guest, store| {
///     held = Some(store.data_mut().table().max_capacity());
///     Ok(())
/// });
/// # called.await.unwrap();
/// # drop(held);
/// # }
/// ```
pub struct Extension<W = CommandPre<State>, D: 'static = ()> {
    pub(super) world: W,
    pub(super) bounds: Arc<Bounds>,
    data: PhantomData<fn(D)>,
}

impl<W: Clone, D> Clone for Extension<W, D> {
    fn clone(&self) -> Self {
        Self { world: self.world.clone(), bounds: Arc::clone(&self.bounds), data: PhantomData }
    }
}

impl<W, D> std::fmt::Debug for Extension<W, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extension").field("name", &self.name()).finish_non_exhaustive()
    }
}

impl<W, D> Extension<W, D> {
    /// Returns the extension's name, which is the grant's.
    pub fn name(&self) -> &str {
        &self.bounds.grant.name
    }

    /// Returns the SHA-256 digest of the loaded file: a component's or an artefact's.
    pub fn sha256(&self) -> [u8; 32] {
        self.bounds.sha256
    }

    /// Returns the pod information that the grant opens.
    pub fn pod_info(&self) -> &PodInfo {
        self.bounds.pod.pod_info()
    }

    /// Returns the grant of the extension, with its limits within the host's ceiling.
    pub fn grant(&self) -> &Grant {
        &self.bounds.grant
    }
}

impl<D: Send + 'static> Runtime<D> {
    /// Loads the component in a file. It is called by the world `W` under `grant`, whose `$(…)` must be resolved.
    ///
    /// Compiling takes seconds for a large component, and happens only if no artefact of it is found. It runs in the
    /// runtime's [`CompilerProcess`](crate::engine::CompilerProcess), or without one on a thread for blocking work.
    /// Untrusted components need a `CompilerProcess`. A file that `attache compile` made is loaded only if the grant
    /// pins it.
    ///
    /// # Errors
    /// Fails with the part of the file, the component or the grant that does not fit. No code of the component has run
    /// then.
    pub async fn load_file<W: World<D>>(&self, path: &Path, grant: Grant) -> Result<Extension<W, D>, LoadError> {
        let source = Shared::open(&self.shared, path).await?;
        self.load_source(source, grant).await
    }

    /// Loads a component from memory, as [`Runtime::load_file`] does from a file.
    ///
    /// # Errors
    /// Fails like [`Runtime::load_file`].
    pub async fn load<W: World<D>>(&self, component: Vec<u8>, grant: Grant) -> Result<Extension<W, D>, LoadError> {
        let source = blocking(move || Source::of(component)).await??;
        self.load_source(source, grant).await
    }

    async fn load_source<W: World<D>>(&self, source: Source, grant: Grant) -> Result<Extension<W, D>, LoadError> {
        source.check(&grant)?;
        let sha256 = source.sha256;
        let (component, _) = Shared::component(&self.shared, source, &grant).await?;
        let runtime = self.clone();
        blocking(move || runtime.link(&component, grant, sha256)).await?
    }

    fn link<W: World<D>>(
        &self,
        component: &Component,
        grant: Grant,
        sha256: [u8; 32],
    ) -> Result<Extension<W, D>, LoadError> {
        let lacks: Vec<_> = self.shared.imports(component, &grant).iter().filter_map(Import::lack).collect();
        if !lacks.is_empty() {
            return Err(LoadError::MissingGrant(lacks));
        }
        let pre = self.linker.instantiate_pre(component).map_err(LoadError::Link)?;
        let world = W::new(pre).map_err(|source| LoadError::OtherWorld { source })?;
        let bounds = Arc::new(Bounds::new(&self.shared, grant, sha256)?);
        Ok(Extension { world, bounds, data: PhantomData })
    }
}

impl Runtime {
    /// Loads the command in a file, as [`Runtime::load_file`] does.
    ///
    /// # Errors
    /// Fails like [`Runtime::load_file`].
    pub async fn load_command_file(&self, path: &Path, grant: Grant) -> Result<Extension, LoadError> {
        self.load_file(path, grant).await
    }

    /// Loads a command from memory, as [`Runtime::load_file`] does from a file.
    ///
    /// # Errors
    /// Fails like [`Runtime::load_file`].
    pub async fn load_command(&self, component: Vec<u8>, grant: Grant) -> Result<Extension, LoadError> {
        self.load(component, grant).await
    }
}

impl Shared {
    /// Opens a component's file. Its bytes are held in memory only if this process itself compiles.
    pub(super) async fn open(self: &Arc<Self>, path: &Path) -> Result<Source, LoadError> {
        let (path, whole) = (path.to_owned(), self.compiler.is_none());
        blocking(move || Source::open(&path, whole)).await?
    }

    pub(super) fn imports(&self, component: &Component, grant: &Grant) -> Vec<Import> {
        let names = component.component_type();
        let judged = names.imports(self.engine.wasmtime());
        judged.map(|(name, _)| Import::judge(name, grant, &self.offered)).collect()
    }
}

/// Runs `work` where blocking is allowed. A panic in it is a bug of this host, and propagates.
///
/// # Errors
/// Fails without a Tokio runtime.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LoadError> {
    let runtime = Handle::try_current().map_err(|_| LoadError::NoRuntime)?;
    match runtime.spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_cancelled) => Err(LoadError::NoRuntime),
        },
    }
}
