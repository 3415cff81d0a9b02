//! Components that are compiled in a separate process.
//!
//! Threat: a component that is made to be hard to compile. Compiling runs none of its code, but a kilobyte can take all
//! memory, or minutes of all processors. A stack overflow or a failed allocation ends the compiler's process. In the
//! host's process that would end every extension. A separate process has limits of its own and a lower priority than
//! all others. It takes no more memory than the limits around it leave, so that the kernel ends nothing.
//!
//! The process is the host's own program, started again with the arguments of [`CompilerProcess`]; its `main` calls
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

/// The default maximum of memory for compiling, in bytes, where the limits around the process leave as much. A Python
/// interpreter takes some 350 MiB.
pub const COMPILER_MEMORY: u64 = 2 << 30;

/// The default maximum of time for compiling. A Python interpreter takes some tens of seconds on two processors.
pub const COMPILER_TIME: Duration = Duration::from_secs(300);

/// The memory in which a component usually compiles well, in bytes: a base, and a number of bytes for each byte of it.
/// A component with functions of usual sizes takes half of it. Beyond that, the memory goes to a few enormous
/// functions, which single-pass allocation compiles at less expense.
const USUAL: (u64, u64) = (64 << 20, 24);

/// The maximum size of an artefact, in bytes. A Python interpreter's has some 100 MiB.
pub(crate) const MAX_ARTEFACT: u64 = 512 << 20;

/// The exit code that announces a reason on stderr. The exit code of a panic is 101.
const REFUSED: u8 = 3;

/// The words of Rust's allocator when an allocation fails.
const OUT_OF_MEMORY: &str = "memory allocation of the component's size failed";

/// The variable that sets rayon's number of threads.
const THREADS: &str = "RAYON_NUM_THREADS";

/// The stack of a thread that does little, in bytes.
const TIGHT: usize = 128 << 10;

/// The magic number of file systems in memory (statfs(2)).
#[cfg(target_os = "linux")]
const TMPFS: u64 = 0x0102_1994;

/// The program and arguments of a compiler's process, and its limits.
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

/// The place of a component's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    Memory(&'a [u8]),
    File(&'a File),
}

/// The costs of a compilation, and the needs of an instance of the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Compilation {
    /// The needs of an instance.
    #[serde(default)]
    pub needs: Needs,
    /// The time it took, in milliseconds, all tries together.
    pub milliseconds: u64,
    /// The maximum of memory that the process held in the try that succeeded, in bytes. It is `None` where the system
    /// does not report it.
    pub peak_memory: Option<u64>,
    /// The way in which registers were assigned.
    pub allocator: Allocator,
}

impl CompilerProcess {
    /// Returns a process of this very program, called with these arguments. Its `main` recognises them and calls
    /// [`compiler_main`].
    ///
    /// # Errors
    /// Fails if the system does not report the path of this program.
    pub fn this_program(arguments: impl IntoIterator<Item = impl Into<OsString>>) -> io::Result<Self> {
        // This link leads to the running program, even if its name has been given to another file since.
        let linux = PathBuf::from("/proc/self/exe");
        Ok(Self::new(if linux.exists() { linux } else { std::env::current_exe()? }, arguments))
    }

    /// Returns a process of a program that calls [`compiler_main`] when it is called with these arguments. The program
    /// is trusted like this one, because its artefacts are run. It must be of the same version, and run on the same
    /// processor.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, memory: None, time: COMPILER_TIME, root: "/".into() }
    }

    /// Sets the maximum of memory that the process may take, in bytes; enforced on Linux. The default is
    /// [`COMPILER_MEMORY`]. By default the first try, with the better register allocator, is limited to the usual
    /// memory for a component of its size. With this setting the first try may take all of it. The limits around this
    /// process hold in any case.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Sets the maximum of time that the process may take. The default is [`COMPILER_TIME`].
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Sets the directory below which `proc` and `sys/fs/cgroup` show the limits around this process, for hosts that
    /// see them elsewhere. The default is `/`.
    #[must_use]
    pub fn limits_below(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// Compiles a component as `engine` would, if an instance of it needs no more than `most`, and writes the artefact
    /// to the beginning of `output`. Each try is a process, which ends with this call, or when the future is dropped.
    ///
    /// # Errors
    /// Fails like [`Engine::compile`], and if the process cannot be started, takes too long or crashes.
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
