//! The wasmtime engine that every extension of a host shares, its hard ceilings, its clock, and the artefacts that it
//! has compiled.
//!
//! Nothing here knows of components: this module compiles bytes and keeps time, [`extension`](crate::extension) loads
//! and runs.

mod artefacts;
mod compiler;
mod cpu;
mod interrupt;
mod limiter;
mod screening;
mod ticker;
mod turns;

pub use artefacts::{Artefact, ArtefactError, Artefacts, DEFAULT_CAPACITY};
pub use compiler::{COMPILER_MEMORY, COMPILER_TIME, CompilerProcess, compiler_main};
pub use cpu::{CpuMeter, OutOfCpu};
pub use interrupt::{Turn, yield_each_epoch};
pub use limiter::{Ceiling, Limiter};
pub use screening::{Excess, screen};
pub use ticker::Running;

use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use ticker::Ticker;
use turns::Turns;
use wasmtime::{Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

/// How many instances may live at once by default.
///
/// Each reserves address space (4 GiB and a guard for its memory), not memory: a thousand take 6 TiB of the 128 that
/// a process has.
pub const DEFAULT_INSTANCES: u32 = 1000;

/// The largest linear memory that any grant can ask for by default, in bytes.
pub const DEFAULT_MEMORY_CEILING: usize = 1 << 30;

/// Native stack for one instance, in bytes: wasmtime's default for guest code, plus room for host calls.
const STACK: usize = 2 << 20;

/// How much of the stack guest code may use, in bytes; deeper recursion is a trap.
pub const GUEST_STACK: usize = 512 << 10;

/// Elements of one table for which room is set aside. A compiled language's component has some thousands.
pub const TABLE_ELEMENTS: usize = 20_000;

/// Core instances that one component may consist of: a compiled language's component has three to five.
const CORE_INSTANCES_PER_COMPONENT: u32 = 16;

/// Tables that one component may have; a compiled language's has one, and one for its adapter.
const TABLES_PER_COMPONENT: u32 = 8;

/// Linear memories that one component may have: its own, and one for an adapter.
const MEMORIES_PER_COMPONENT: u32 = 2;

/// Native stack for the compiler, in bytes: a hundred times what the deepest types that are let through have it use. It is
/// address space until it is used.
const COMPILER_STACK: usize = 64 << 20;

/// What an engine is made with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EngineSettings {
    instances: u32,
    memory_ceiling: usize,
    optimise: bool,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { instances: DEFAULT_INSTANCES, memory_ceiling: DEFAULT_MEMORY_CEILING, optimise: true }
    }
}

impl EngineSettings {
    /// Sets how many instances may live at once; one more is refused. The default is [`DEFAULT_INSTANCES`].
    #[must_use]
    pub fn instances(mut self, count: u32) -> Self {
        self.instances = count.max(1);
        self
    }

    /// Sets the largest linear memory, in bytes, that any instance may have, whatever its grant says. The default is
    /// [`DEFAULT_MEMORY_CEILING`].
    #[must_use]
    pub fn memory_ceiling(mut self, bytes: usize) -> Self {
        self.memory_ceiling = bytes;
        self
    }

    /// Sets whether compiled code is optimised: slower to compile, faster to run. The default is yes.
    #[must_use]
    pub fn optimise(mut self, yes: bool) -> Self {
        self.optimise = yes;
        self
    }

    /// Returns the wasmtime configuration that an engine of these settings has.
    ///
    /// Public so that a measurement beside raw wasmtime uses the same one.
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

    fn pool(&self) -> PoolingAllocationConfig {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(self.instances)
            .total_core_instances(self.instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
            .total_memories(self.instances.saturating_mul(MEMORIES_PER_COMPONENT))
            .total_tables(self.instances.saturating_mul(TABLES_PER_COMPONENT))
            .total_stacks(self.instances)
            .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
            .max_memories_per_component(MEMORIES_PER_COMPONENT)
            .max_tables_per_component(TABLES_PER_COMPONENT)
            .max_tables_per_module(TABLES_PER_COMPONENT)
            .table_elements(TABLE_ELEMENTS)
            .max_memory_size(self.memory_ceiling);
        pool
    }
}

/// Why an engine could not be made, or could not compile.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Wasmtime refused the configuration, mostly for want of address space.
    #[error("cannot start the WebAssembly engine (is the address space limited, as by `ulimit -v`?)")]
    Start(#[source] wasmtime::Error),
    /// The thread that keeps guests' time could not be started.
    #[error("cannot start the thread that interrupts guests")]
    Ticker(#[source] std::io::Error),
    /// The bytes are not a component that this engine can compile.
    #[error("cannot compile the component")]
    Compile(#[source] wasmtime::Error),
    /// The component would unfold to more than is taken.
    #[error("cannot compile the component")]
    Excess(#[from] Excess),
    /// The thread that compiles could not be started.
    #[error("cannot start the thread that compiles")]
    CompilerThread(#[source] std::io::Error),
    /// The component found a fault in the compiler, which its validation should have forestalled.
    #[error("cannot compile the component: its compiler failed: {0}")]
    Panicked(String),
    /// The compiler's process could not be started, or not be spoken to.
    #[error("cannot compile in a process of its own, {}", program.display())]
    CompilerProcess {
        /// What was to be started.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Compiling was stopped.
    #[error("cannot compile the component: it takes longer than {}s", .0.as_secs())]
    CompilerTime(Duration),
    /// The compiler came to a bad end.
    #[error("cannot compile the component: it ended its compiler, which may take {memory} bytes ({status}): {words}")]
    CompilerDied {
        /// How it ended.
        status: ExitStatus,
        /// How much memory it had, in bytes.
        memory: u64,
        /// What it said, the first kilobytes of it.
        words: String,
    },
    /// What was compiled is not loaded.
    #[error("the compiled component is larger than {0} bytes")]
    ArtefactTooLarge(u64),
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
    /// Fails when the address space for the pool cannot be had or a thread cannot be started.
    pub fn new(settings: &EngineSettings) -> Result<Self, EngineError> {
        let wasmtime = wasmtime::Engine::new(&settings.config()).map_err(EngineError::Start)?;
        let ticker = Ticker::start(wasmtime.weak()).map_err(EngineError::Ticker)?;
        let mut hasher = DefaultHasher::new();
        wasmtime.precompile_compatibility_hash().hash(&mut hasher);
        let fingerprint = hasher.finish();
        let settings = settings.clone();
        Ok(Self { wasmtime, ticker: Arc::new(ticker), settings, turns: Turns::new(), fingerprint })
    }

    /// Returns wasmtime's own engine, to build a `Linker` or a `Store` on.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    /// Returns the largest linear memory, in bytes, that an instance of this engine can have.
    pub fn memory_ceiling(&self) -> usize {
        self.settings.memory_ceiling
    }

    /// Makes a store's guest yield its thread at each epoch, as [`yield_each_epoch`] does, and go on only in its turn among
    /// all guests of this engine that have run for an epoch: extensions take turns, and each's calls among themselves. The
    /// answer is for its [`CpuMeter`].
    pub fn take_turns<T: 'static>(&self, store: &mut wasmtime::Store<T>, extension: &str) -> Turn {
        self.turns.take_in(store, extension)
    }

    /// Returns how many instances can live at once, of all extensions together.
    pub fn instances(&self) -> u32 {
        self.settings.instances
    }

    /// Says that a guest begins to run: epochs pass, about one a millisecond, until the answer is dropped.
    pub fn running(&self) -> Running {
        self.ticker.running()
    }

    /// Compiles a component to machine code in this process. Takes seconds for a large one: call it where blocking is
    /// allowed. One that is made for it can take minutes and gigabytes: a stranger's is for a [`CompilerProcess`].
    ///
    /// # Errors
    /// Fails when the bytes are not a valid component, use a feature that is switched off, or would unfold to more than
    /// is taken.
    pub fn compile(&self, component: &[u8]) -> Result<Vec<u8>, EngineError> {
        precompile(&self.wasmtime, component)
    }

    /// Returns a number that differs wherever artefacts of one engine would not load in another: other wasmtime, other
    /// settings, other processor features.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// Compiles on a thread with a stack for what recurses in it. A panic of the compiler is an answer as any other.
fn precompile(engine: &wasmtime::Engine, component: &[u8]) -> Result<Vec<u8>, EngineError> {
    screen(component)?;
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("compiler".to_owned()).stack_size(COMPILER_STACK);
        let compiling = thread.spawn_scoped(scope, || engine.precompile_component(component));
        match compiling.map_err(EngineError::CompilerThread)?.join() {
            Ok(compiled) => compiled.map_err(EngineError::Compile),
            Err(panic) => Err(EngineError::Panicked(words_of(&*panic))),
        }
    })
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no reason given").to_owned()
}
