//! From bytes to an extension: read, pin, compile or map, judge, link.

use super::imports::Import;
use super::mounts::{MountError, Mounts};
use super::output::Meter;
use super::runtime::{Inner, Runtime};
use super::state::State;
use crate::capability::PodCtx;
use crate::engine::{Artefact, ArtefactError, EngineError};
use crate::gate::Gate;
use crate::policy::{Allowed, Grant, Limits, Reached};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasmtime::component::Component;
use wasmtime_wasi::p2::bindings::CommandPre;

/// The largest component that is read, in bytes; a Python interpreter compiled to a component takes some 40 MiB.
pub const MAX_COMPONENT: u64 = 256 << 20;

/// The first eight bytes of a component, and of a core module ("layer" 1 and 0, component model's Binary.md).
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Why a component was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read the component {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is too large.
    #[error("the component is larger than {MAX_COMPONENT} bytes")]
    TooLarge,
    /// The bytes are a core module.
    #[error(
        "this is a core module, not a component: build it for the target wasm32-wasip2, or wrap it with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// The bytes are not WebAssembly.
    #[error("this is not a WebAssembly component: its first bytes are {found:02x?}, not {COMPONENT:02x?}")]
    NotWasm {
        /// At most eight bytes.
        found: Vec<u8>,
    },
    /// The grant pins another file.
    #[error("the grant pins component.sha256 {pinned}, but this component's is {found}")]
    Pinned {
        /// What the grant says, in hex.
        pinned: String,
        /// What the file has, in hex.
        found: String,
    },
    /// The component wants more than its grant opens; one line for each import, with no line break in it.
    #[error("{}", .0.join("\n"))]
    Lacks(Vec<String>),
    /// The component does not export what `run` calls.
    #[error("the component cannot be run as a command: it does not export wasi:cli/run ({source:#})")]
    NoCommand {
        /// What wasmtime missed.
        #[source]
        source: wasmtime::Error,
    },
    /// It could not be compiled.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Its artefact is not to be trusted.
    #[error(transparent)]
    Artefact(#[from] ArtefactError),
    /// The compiled component could not be loaded.
    #[error("cannot load the compiled component")]
    Load(#[source] wasmtime::Error),
    /// A memory or a table of it is, from the start, larger than any instance of this host can have.
    #[error("the component begins with {begins}, beyond this host's limit of {reached}")]
    Beyond {
        /// How much it begins with.
        begins: Allowed,
        /// The limit.
        reached: Reached,
        /// What wasmtime said.
        #[source]
        source: wasmtime::Error,
    },
    /// Its imports do not have the shape that this host gives them.
    #[error("the component's imports do not fit this host's interfaces")]
    Link(#[source] wasmtime::Error),
    /// A mount that the grant names cannot be had.
    #[error(transparent)]
    Mount(#[from] MountError),
}

/// A component and the grant that it runs under, ready to be called. Cheap to clone.
#[derive(Clone)]
pub struct Extension {
    pub(super) runtime: Arc<Inner>,
    pub(super) command: CommandPre<State>,
    pub(super) grant: Arc<Grant>,
    pub(super) limits: Limits,
    pub(super) mounts: Arc<Mounts>,
    pub(super) pod: PodCtx,
    /// One for each call that may be under way.
    pub(super) places: Arc<Semaphore>,
    pub(super) meter: Arc<Meter>,
}

impl std::fmt::Debug for Extension {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Extension").field("name", &&self.grant.name).finish_non_exhaustive()
    }
}

impl Extension {
    /// Returns its name: the grant's.
    pub fn name(&self) -> &str {
        &self.grant.name
    }

    /// Returns the grant that it runs under, its limits within the host's ceiling.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }
}

/// A component's bytes and their digest.
pub(super) struct Bytes {
    pub(super) content: Vec<u8>,
    pub(super) sha256: [u8; 32],
}

impl Runtime {
    /// Loads the component in a file, to run under `grant`. The grant's `$(…)` must be resolved.
    ///
    /// Compiling takes seconds for a large component; it happens in the runtime's [`CompilerProcess`](crate::engine::CompilerProcess) or on a thread for
    /// blocking work, and only if no artefact of it is found. A component that is not trusted at all is for the former.
    ///
    /// # Errors
    /// Says what of the file, the component or the grant does not fit; nothing of the component has run then.
    pub async fn load_file(&self, path: &Path, grant: Grant) -> Result<Extension, LoadError> {
        let path = path.to_owned();
        self.load_bytes(blocking(move || read(&path)).await?, grant).await
    }

    /// Loads a component from memory, as [`Runtime::load_file`] does from a file.
    ///
    /// # Errors
    /// As [`Runtime::load_file`].
    pub async fn load(&self, component: Vec<u8>, grant: Grant) -> Result<Extension, LoadError> {
        self.load_bytes(blocking(move || Bytes::of(component)).await, grant).await
    }

    async fn load_bytes(&self, bytes: Bytes, grant: Grant) -> Result<Extension, LoadError> {
        bytes.check(&grant)?;
        let component = self.component(bytes).await?;
        let runtime = self.clone();
        blocking(move || runtime.link(&component, grant)).await
    }

    fn link(&self, component: &Component, mut grant: Grant) -> Result<Extension, LoadError> {
        let lacks: Vec<_> = self.imports(component, &grant).iter().filter_map(Import::lack).collect();
        if !lacks.is_empty() {
            return Err(LoadError::Lacks(lacks));
        }
        let inner = &self.inner;
        let pre = inner.linker.instantiate_pre(component).map_err(LoadError::Link)?;
        let command = CommandPre::new(pre).map_err(|source| LoadError::NoCommand { source })?;
        let limits = inner.capped(&grant);
        // The gate meters by the grant: what it judges by must be within the ceiling as well.
        grant.limits.clone_from(&limits);
        let grant = Arc::new(grant);
        let gate = Gate::within(inner.rate.clone(), grant.name.as_str(), Arc::clone(&grant), Arc::clone(&inner.audit));
        let mut pod = PodCtx::new(&inner.pod, gate)
            .with_egress(inner.egress.clone())
            .with_server_variables(|name| inner.variables.get(name).cloned());
        if let Some(cluster) = &inner.cluster {
            pod = pod.with_cluster(cluster.clone());
        }
        let mounts = Arc::new(Mounts::of(inner, &grant)?);
        if let Some(tokens) = mounts.tokens() {
            pod = pod.with_tokens(tokens.clone());
        }
        // As many as there are instances in the engine, which the ceiling takes into account.
        let places = Arc::new(Semaphore::new(usize::try_from(limits.instances).unwrap_or(Semaphore::MAX_PERMITS)));
        let meter = Arc::new(Meter::new(limits.log_bytes_per_second));
        Ok(Extension { runtime: Arc::clone(inner), command, grant, limits, mounts, pod, places, meter })
    }

    pub(super) fn imports(&self, component: &Component, grant: &Grant) -> Vec<Import> {
        let names = component.component_type();
        names.imports(self.inner.engine.wasmtime()).map(|(name, _)| Import::judge(name, grant)).collect()
    }

    /// Maps the component's artefact, or compiles it and keeps one.
    pub(super) async fn component(&self, bytes: Bytes) -> Result<Component, LoadError> {
        let (runtime, bytes) = (self.clone(), Arc::new(bytes));
        let sha256 = bytes.sha256;
        if let Some(kept) = blocking(move || runtime.kept(&sha256)).await? {
            return Ok(kept);
        }
        let (inner, source) = (Arc::clone(&self.inner), Arc::clone(&bytes));
        let compiled = match &self.inner.compiler {
            Some(process) => process.compile(&inner.engine, &bytes.content).await?,
            None => blocking(move || inner.engine.compile(&source.content)).await?,
        };
        let runtime = self.clone();
        let keep = move || {
            let kept = runtime.keep(&sha256, &compiled);
            kept.map_err(|error| error.with_limit(&bytes.content, runtime.engine()))
        };
        blocking(keep).await
    }

    fn kept(&self, sha256: &[u8; 32]) -> Result<Option<Component>, LoadError> {
        let Some(artefacts) = &self.inner.artefacts else { return Ok(None) };
        Ok(artefacts.find(&self.inner.engine, sha256)?.and_then(|artefact| self.map(&artefact)))
    }

    fn keep(&self, sha256: &[u8; 32], compiled: &[u8]) -> Result<Component, LoadError> {
        if let Some(artefacts) = &self.inner.artefacts {
            if let Err(error) = artefacts.keep(&self.inner.engine, sha256, compiled) {
                tracing::warn!(error = %crate::telemetry::chain(&error), "the compiled component will not be kept");
            } else if let Some(component) = self.kept(sha256)? {
                return Ok(component);
            }
        }
        self.deserialise(compiled)
    }

    /// `None` when wasmtime will not have it: then it is compiled anew.
    #[expect(unsafe_code, reason = "loads machine code that this user's own engine wrote; see below")]
    fn map(&self, artefact: &Artefact) -> Option<Component> {
        // SAFETY: an `Artefact` is a file in a folder that only this user can write to, checked by its descriptor and
        // against its digest, and it was written by `Artefacts::keep` from `Engine::compile`. It is never written
        // again: a newer one takes its name by a rename.
        unsafe { Component::deserialize_file(self.inner.engine.wasmtime(), artefact.path()) }.ok()
    }

    #[expect(unsafe_code, reason = "loads machine code that this very call's engine, or its compiler, made")]
    fn deserialise(&self, compiled: &[u8]) -> Result<Component, LoadError> {
        // SAFETY: `compiled` has just come from `Engine::compile` of the same engine and has not left this process; or
        // from the stdout of a process that this one started, with the same program and an engine of the same settings.
        unsafe { Component::deserialize(self.inner.engine.wasmtime(), compiled) }.map_err(LoadError::Load)
    }
}

impl Bytes {
    pub(super) fn of(content: Vec<u8>) -> Self {
        let sha256 = Sha256::digest(&content).into();
        Self { content, sha256 }
    }

    /// Says whether these bytes are a component at all, and the one that the grant pins.
    pub(super) fn check(&self, grant: &Grant) -> Result<(), LoadError> {
        let head = self.content.get(..COMPONENT.len()).unwrap_or(&self.content);
        if head == CORE_MODULE {
            return Err(LoadError::CoreModule);
        }
        if head != COMPONENT {
            return Err(LoadError::NotWasm { found: head.to_vec() });
        }
        match &grant.component {
            Some(pinned) if *pinned.sha256() != self.sha256 => {
                Err(LoadError::Pinned { pinned: pinned.to_string(), found: hex::encode(self.sha256) })
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn read(path: &Path) -> Result<Bytes, LoadError> {
    let failed = |source| LoadError::Read { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut content = Vec::new();
    file.take(MAX_COMPONENT.saturating_add(1)).read_to_end(&mut content).map_err(failed)?;
    if content.len() as u64 > MAX_COMPONENT { Err(LoadError::TooLarge) } else { Ok(Bytes::of(content)) }
}

/// Runs `work` where blocking is allowed. A panic in it is this host's bug and goes on as one.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}
