//! Components that are compiled in a process of their own.
//!
//! Threat: a component that is made to be hard to compile. Compiling runs nothing of it, but a kilobyte can be made to
//! take all memory or minutes of all processors, and what ends a compiler (a stack that overflows, memory that is not
//! to be had) ends its process: in a host's own process that would be every extension's end. Here it is the end of one
//! that has nothing else to do, with limits of its own and behind all others in the queue for a processor. It takes no
//! more memory than the limits around it leave, so that the kernel ends nothing.
//!
//! The process is this host's own program, started anew with [`CompilerProcess`]'s arguments; its `main` calls
//! [`compiler_main`].

mod attempt;
mod child;
mod task;

pub use child::compiler_main;
pub use task::Allocator;

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::{Engine, EngineError, Needs};
use attempt::{Attempt, Ended};

/// The most memory that compiling may take by default, in bytes, where the limits around it leave as much; a Python
/// interpreter takes some 350 MiB.
pub const COMPILER_MEMORY: u64 = 2 << 30;

/// How long compiling may take by default; a Python interpreter takes some tens of seconds on two processors.
pub const COMPILER_TIME: Duration = Duration::from_secs(300);

/// What a component takes to compile well, in bytes: so much, and so much for each byte of it. One whose functions are
/// of usual sizes takes half of it. Beyond, the memory goes to a few functions that are enormous, and would be better
/// spent.
const USUAL: (u64, u64) = (64 << 20, 24);

/// The largest artefact that is taken, in bytes: a Python interpreter's has some 100 MiB.
pub(crate) const MAX_ARTEFACT: u64 = 512 << 20;

/// The exit code that says that stderr has the reason; a panic's is 101.
const REFUSED: u8 = 3;

/// What Rust says when memory is not to be had.
const OUT_OF_MEMORY: &str = "memory allocation of the component's size failed";

/// The variable by which rayon is told how many threads to have.
const THREADS: &str = "RAYON_NUM_THREADS";

/// The stack of a thread that does little, in bytes.
const TIGHT: usize = 128 << 10;

/// The magic number of file systems that lie in memory (statfs(2)).
#[cfg(target_os = "linux")]
const TMPFS: u64 = 0x0102_1994;

/// The way in which a compiler's process is started, and what it may take.
///
/// ```no_run
/// use attache::engine::{CompilerProcess, compiler_main};
/// use attache::extension::Runtime;
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     // This program, started anew to compile for the one that runs.
///     if std::env::args().nth(1).as_deref() == Some("compile-for-host") {
///         return compiler_main();
///     }
///     let process = CompilerProcess::this_program(["compile-for-host"]).expect("this program has a file");
///     let runtime = Runtime::builder().compiler(process.memory(512 << 20)).build();
///     // …
///     # drop(runtime);
///     ExitCode::SUCCESS
/// }
/// ```
#[derive(Clone, Debug)]
pub struct CompilerProcess {
    program: PathBuf,
    arguments: Vec<OsString>,
    memory: Option<u64>,
    time: Duration,
    root: PathBuf,
}

/// A component that is to be compiled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input<'a> {
    pub(crate) content: Content<'a>,
    pub(crate) size: u64,
    pub(crate) sha256: &'a [u8; 32],
}

/// Where its bytes are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    Memory(&'a [u8]),
    File(&'a File),
}

/// A component that has been compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compilation {
    /// What an instance of it needs.
    #[serde(default)]
    pub needs: Needs,
    /// Milliseconds that it took, all tries together.
    pub milliseconds: u64,
    /// The most memory that its process held in the try that succeeded, in bytes; unknown where it had none of its own.
    pub peak_memory: Option<u64>,
    /// How registers were given out.
    pub allocator: Allocator,
}

impl CompilerProcess {
    /// This very program, called with these arguments, by which its `main` knows to call [`compiler_main`].
    ///
    /// # Errors
    /// Fails when the system does not tell which program this is.
    pub fn this_program(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> io::Result<Self> {
        // This link leads to the program that runs, whatever has taken its name since.
        let linux = PathBuf::from("/proc/self/exe");
        Ok(Self::new(if linux.exists() { linux } else { std::env::current_exe()? }, arguments))
    }

    /// A program that calls [`compiler_main`] when it is called with these arguments. It is trusted like this one: what
    /// it answers is run. It has to be of the same version, and on the same processor.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, memory: None, time: COMPILER_TIME, root: "/".into() }
    }

    /// Sets how much memory it may take, in bytes; held on Linux. The default is [`COMPILER_MEMORY`], of which the
    /// first try, with the better of two ways to give out registers, takes what components of that size usually need;
    /// with this setting it may take all. In no case is it more than the limits around this process leave.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Sets how long it may take. The default is [`COMPILER_TIME`].
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Sets the directory below which `proc` and `sys/fs/cgroup` tell the limits around this process, for hosts that
    /// see them elsewhere. The default is `/`.
    #[must_use]
    pub fn limits_below(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// Compiles a component as `engine` would, if an instance of it needs no more than `most`, and writes the artefact
    /// to the beginning of `output`. Each try is a process, which ends with this call, or when it is dropped.
    ///
    /// # Errors
    /// As [`Engine::compile`]; and where the process cannot be started, takes too long or comes to a bad end.
    pub(crate) async fn compile(
        &self,
        engine: &Engine,
        input: Input<'_>,
        most: &Needs,
        output: &File,
    ) -> Result<Compilation, EngineError> {
        let begun = Instant::now();
        let (base, each) = USUAL;
        let all = self.memory.unwrap_or(COMPILER_MEMORY);
        let usual = self.memory.unwrap_or(base.saturating_add(each.saturating_mul(input.size))).min(all);
        let tries = [(Allocator::Backtracking, usual), (Allocator::SinglePass, all)];
        let mut ended = None;
        for (allocator, memory) in tries {
            let attempt = Attempt { process: self, engine, input, most, output, allocator, memory };
            let left = self.time.saturating_sub(begun.elapsed());
            let run = tokio::time::timeout(left, attempt.run()).await;
            match run.map_err(|_| EngineError::CompilerTime(self.time))?? {
                Ended::Done(done) => {
                    let milliseconds = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                    return Ok(Compilation { needs: done.needs, milliseconds, peak_memory: done.peak, allocator });
                }
                Ended::OutOfMemory(out) => {
                    tracing::debug!(?allocator, %out, "compiling takes more memory than it may");
                    ended = Some(out);
                }
            }
        }
        Err(EngineError::CompilerMemory(ended.unwrap_or_default()))
    }
}
