//! The wasmtime engine that all extensions of a host share, its ceilings, its clock, and the artefacts that it has
//! compiled.
//!
//! This module compiles bytes and keeps time; [`extension`](crate::extension) loads and runs components.

mod artefacts;
mod compiler;
mod complexity;
mod cpu;
mod interrupt;
mod limiter;
mod room;
mod ticker;
mod turns;

pub(crate) use artefacts::NewArtefact;
pub use artefacts::{Artefact, ArtefactError, Artefacts, DEFAULT_CAPACITY};
pub use compiler::{Allocator, COMPILER_MEMORY, COMPILER_TIME, Compilation, CompilerProcess, compiler_main};
pub(crate) use compiler::{Content, Input, MAX_ARTEFACT};
pub use complexity::{ComponentTooComplex, Need, Needs, check_complexity};
pub use cpu::{CpuMeter, CpuRate, OutOfCpu};
pub use interrupt::CpuTurn;
pub use limiter::{Ceiling, Limiter};

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use ticker::Ticker;
use turns::Turns;

/// The default maximum of instances that live at once.
///
/// Each instance reserves address space, not memory: 4 GiB and a guard for each of its [`DEFAULT_MEMORIES`]. A thousand
/// instances take some 32 of the 128 TiB of a process.
pub const DEFAULT_INSTANCES: u32 = 1000;

/// The largest linear memory that any grant can ask for by default, in bytes.
pub const DEFAULT_MEMORY_CEILING: usize = 1 << 30;

/// Native stack for one instance, in bytes: wasmtime's default for guest code, plus room for host calls.
const STACK: usize = 2 << 20;

/// The part of the stack that guest code may use, in bytes; deeper recursion is a trap.
pub const GUEST_STACK: usize = 512 << 10;

/// The default maximum of elements in one table, for which address space is reserved. C# and large Go programs need
/// some tens of thousands, eight bytes each.
pub const DEFAULT_TABLE_ELEMENTS: usize = 100_000;

/// The default maximum of linear memories in one instance: one for each of the components that it is composed of.
pub const DEFAULT_MEMORIES: u32 = 8;

/// The default maximum of core module instances that one instance may consist of. The component of a compiled language
/// has three to five, Python with NumPy 34.
pub const DEFAULT_CORE_INSTANCES: u32 = 200;

/// The tables for each memory: the program's own, and two that tools add to tie a component together.
const TABLES_PER_MEMORY: u32 = 4;

/// The factor for instances that the compiler adds where composed components call each other.
const ADAPTERS: u32 = 2;

/// The maximum of data that the engine keeps of one instance beside memories and tables, in bytes: 32 for each function
/// that a table can hold, and some hundreds for each core instance.
const METADATA: usize = 4 << 20;

/// The native stack of the compiler, in bytes: twenty times the use for the deepest types that are accepted. It is
/// address space until it is used.
const COMPILER_STACK: usize = 16 << 20;

/// The settings of an engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EngineSettings {
    instances: u32,
    memory_ceiling: usize,
    memories: u32,
    core_instances: u32,
    table_elements: usize,
    optimise: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            instances: DEFAULT_INSTANCES,
            memory_ceiling: DEFAULT_MEMORY_CEILING,
            memories: DEFAULT_MEMORIES,
            core_instances: DEFAULT_CORE_INSTANCES,
            table_elements: DEFAULT_TABLE_ELEMENTS,
            optimise: true,
        }
    }
}

impl EngineSettings {
    /// Sets the maximum of instances that live at once; one more is refused. The default is [`DEFAULT_INSTANCES`].
    #[must_use]
    pub fn instances(mut self, count: u32) -> Self {
        self.instances = count.max(1);
        self
    }

    /// Sets the maximum size of a linear memory, in bytes, for any instance and any grant. The default is
    /// [`DEFAULT_MEMORY_CEILING`].
    #[must_use]
    pub fn memory_ceiling(mut self, bytes: usize) -> Self {
        self.memory_ceiling = bytes;
        self
    }

    /// Sets the maximum of linear memories in one instance. For each of [`EngineSettings::instances`], the engine
    /// reserves 4 GiB of address space for each memory, out of the 128 TiB of a process. The default is
    /// [`DEFAULT_MEMORIES`].
    #[must_use]
    pub fn memories(mut self, count: u32) -> Self {
        self.memories = count.max(1);
        self
    }

    /// Sets the maximum of core module instances that one instance may consist of. The default is
    /// [`DEFAULT_CORE_INSTANCES`].
    #[must_use]
    pub fn core_instances(mut self, count: u32) -> Self {
        self.core_instances = count.max(1);
        self
    }

    /// Sets the maximum of elements in one table. The engine reserves address space for four tables beside each memory,
    /// with eight bytes for each element. The default is [`DEFAULT_TABLE_ELEMENTS`].
    #[must_use]
    pub fn table_elements(mut self, count: usize) -> Self {
        self.table_elements = count;
        self
    }

    /// Sets whether compiled code is optimised: slower to compile, faster to run. The default is yes.
    #[must_use]
    pub fn optimise(mut self, yes: bool) -> Self {
        self.optimise = yes;
        self
    }

    /// Returns the wasmtime configuration of an engine with these settings.
    ///
    /// Public so that a comparison with raw wasmtime can use the same one.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config
            .wasm_component_model(true)
            .epoch_interruption(true)
            .async_stack_size(STACK)
            .max_wasm_stack(GUEST_STACK)
            .cranelift_opt_level(if self.optimise { OptLevel::Speed } else { OptLevel::None })
            .generate_address_map(true)
            .allocation_strategy(InstanceAllocationStrategy::Pooling(self.pool()));
        config
    }

    /// Returns the maximum that one instance may need.
    fn room(&self) -> Needs {
        Needs {
            core_instances: self.core_instances.into(),
            memories: self.memories.into(),
            largest_memory: self.memory_ceiling as u64,
            tables: self.tables().into(),
            largest_table: self.table_elements as u64,
            metadata: METADATA as u64,
        }
    }

    fn tables(&self) -> u32 {
        self.memories.saturating_mul(TABLES_PER_MEMORY)
    }

    fn pool(&self) -> PoolingAllocationConfig {
        let core_instances = self.core_instances.saturating_mul(ADAPTERS);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(self.instances)
            .total_core_instances(self.instances.saturating_mul(core_instances))
            .total_memories(self.instances.saturating_mul(self.memories))
            .total_tables(self.instances.saturating_mul(self.tables()))
            .total_stacks(self.instances)
            .max_core_instances_per_component(core_instances)
            .max_core_instance_size(METADATA)
            .max_component_instance_size(METADATA)
            .max_memories_per_component(self.memories)
            .max_memories_per_module(self.memories)
            .max_tables_per_component(self.tables())
            .max_tables_per_module(self.tables())
            .table_elements(self.table_elements)
            .max_memory_size(self.memory_ceiling);
        pool
    }
}

/// An error of starting an engine, or of compiling.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Wasmtime refused the configuration, mostly for lack of address space.
    #[error("cannot start the WebAssembly engine (is the address space limited, as by `ulimit -v`?)")]
    Start(#[source] wasmtime::Error),
    /// The thread that interrupts guests could not be started.
    #[error("cannot start the thread that interrupts guests")]
    Ticker(#[source] std::io::Error),
    /// The bytes are not a component that this engine can compile.
    #[error("cannot compile the component")]
    Compile(#[source] wasmtime::Error),
    /// The component would unfold beyond the limits, or uses a feature that is switched off.
    #[error("cannot compile the component")]
    ComponentTooComplex(#[from] ComponentTooComplex),
    /// An instance of the component would need more than it may have.
    #[error("an instance of the component needs more than it may have: {needs:?}")]
    Needs {
        /// The needs of an instance.
        needs: Needs,
    },
    /// The thread that compiles could not be started.
    #[error("cannot start the thread that compiles")]
    CompilerThread(#[source] std::io::Error),
    /// The compiler panicked on the component, which its validation should have prevented.
    #[error("cannot compile the component: its compiler failed: {0}")]
    Panicked(String),
    /// The compiler's process could not be started, or communication with it failed.
    #[error("cannot compile in a process of its own, {}", program.display())]
    CompilerProcess {
        /// The program that was to be started.
        program: PathBuf,
        /// The error of the system.
        #[source]
        source: std::io::Error,
    },
    /// Compiling took longer than its maximum and was stopped.
    #[error("cannot compile the component: it takes longer than {}s", .0.as_secs())]
    CompilerTime(Duration),
    /// The compiler crashed.
    #[error("cannot compile the component: it ended its compiler, which may take {memory} bytes ({status}): {words}")]
    CompilerDied {
        /// The exit status of its process.
        status: ExitStatus,
        /// The memory that it might take, in bytes.
        memory: u64,
        /// The first kilobytes of its stderr.
        words: String,
    },
    /// Every way of compiling that was tried takes more memory than it may.
    #[error("cannot compile the component: {0}")]
    CompilerMemory(CompilerOutOfMemory),
    /// The file that the compiled component is written to could not be made or written.
    #[error("cannot write the compiled component")]
    Write(#[source] std::io::Error),
    /// The file has changed since the host judged it.
    #[error("the component has changed while it was read: load it again")]
    Changed,
}

/// The limit of a compiler that ran out of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CompilerOutOfMemory {
    /// The memory that it might take, in bytes.
    pub memory: u64,
    /// The limit that bounded the memory, and what that limit left; `None` where the setting bounded it.
    pub bounded_by: Option<String>,
    /// The compiler's last words, the first kilobytes of them.
    pub words: String,
}

impl std::fmt::Display for CompilerOutOfMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it takes more than the {} MiB of memory that compiling may take here", self.memory >> 20)?;
        match &self.bounded_by {
            Some(limit) => write!(f, " ({limit})")?,
            None => write!(f, " (the compiler's own setting)")?,
        }
        write!(
            f,
            ". Give it more (`--compiler-memory`, up to what the container has left); or build the component with smaller functions (in Rust: lto = \"thin\", codegen-units = 16); or \
             compile it elsewhere, with `attache compile`, and pin the artefact in the grant"
        )?;
        if self.words.is_empty() { Ok(()) } else { write!(f, ": {}", self.words) }
    }
}

/// The engine, shared by all extensions of a host. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    ticker: Arc<Ticker>,
    settings: EngineSettings,
    turns: Turns,
    fingerprint: u64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an engine.
    ///
    /// # Errors
    /// Fails if the address space for the pool is not available, or a thread cannot be started.
    pub fn new(settings: &EngineSettings) -> Result<Self, EngineError> {
        let wasmtime = wasmtime::Engine::new(&settings.config()).map_err(EngineError::Start)?;
        let ticker = Ticker::start(wasmtime.weak()).map_err(EngineError::Ticker)?;
        let mut hasher = DefaultHasher::new();
        wasmtime.precompile_compatibility_hash().hash(&mut hasher);
        let fingerprint = hasher.finish();
        let settings = settings.clone();
        Ok(Self { wasmtime, ticker: Arc::new(ticker), settings, turns: Turns::new(), fingerprint })
    }

    /// Returns wasmtime's own engine, to build a `Linker` or a `Store` with.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    /// Returns the maximum size of a linear memory of an instance, in bytes.
    pub fn memory_ceiling(&self) -> usize {
        self.settings.memory_ceiling
    }

    /// Makes a store's guest yield its thread at each epoch, about once a millisecond. A guest that has run for an
    /// epoch then waits for its turn: extensions take turns, and the calls of an extension take turns among themselves.
    /// The returned turn is for the guest's [`CpuMeter`]. The guest has to run in that meter, because epochs pass only
    /// while a guest runs in one.
    pub fn schedule<T: 'static>(&self, store: &mut wasmtime::Store<T>, extension: &str) -> CpuTurn {
        self.turns.take_in(store, extension, self.ticker.clock())
    }

    /// Returns the number of epochs since this engine was started. No epoch passes while all guests wait.
    pub fn epochs(&self) -> u64 {
        self.ticker.epochs()
    }

    /// Returns the maximum that an instance of this engine can need.
    pub fn room(&self) -> Needs {
        self.settings.room()
    }

    /// Returns the maximum of instances that live at once, of all extensions together.
    pub fn instances(&self) -> u32 {
        self.settings.instances
    }

    /// Compiles a component to machine code in this process, if an instance of it needs no more than `most`. A large
    /// component takes seconds, so call this where blocking is allowed. A malicious component can take minutes and
    /// gigabytes: compile untrusted components in a [`CompilerProcess`].
    ///
    /// # Errors
    /// Fails if the bytes are not a valid component, use a feature that is switched off, need too much, or would unfold
    /// beyond the limits.
    pub fn compile(&self, component: &[u8], most: &Needs) -> Result<(Vec<u8>, Needs), EngineError> {
        precompile(&self.wasmtime, component, most)
    }

    /// Returns a number that changes whenever artefacts stop being loadable: with another wasmtime, other settings or
    /// other processor features.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// Compiles on a thread with a stack for the compiler's recursion. A panic of the compiler becomes an error.
fn precompile(engine: &wasmtime::Engine, component: &[u8], most: &Needs) -> Result<(Vec<u8>, Needs), EngineError> {
    let needs = check_complexity(component)?;
    if needs.beyond(most).is_some() {
        return Err(EngineError::Needs { needs });
    }
    let compiled = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("compiler".to_owned()).stack_size(COMPILER_STACK);
        let compiling = thread.spawn_scoped(scope, || engine.precompile_component(component));
        match compiling.map_err(EngineError::CompilerThread)?.join() {
            Ok(compiled) => compiled.map_err(EngineError::Compile),
            Err(panic) => Err(EngineError::Panicked(words_of(&*panic))),
        }
    })?;
    Ok((compiled, needs))
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no reason given").to_owned()
}
