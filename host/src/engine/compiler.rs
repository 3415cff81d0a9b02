//! Components that are compiled in a process of their own.
//!
//! Threat: a component that is made to be hard to compile. Compiling runs nothing of it, but a kilobyte can be made to
//! take all memory or minutes of all processors, and what ends a compiler (a stack that overflows, memory that is not
//! to be had) ends its process: in a host's own process that would be every extension's end. Here it is the end of one
//! that has nothing else to do, with limits of its own and behind all others in the queue for a processor.
//!
//! The process is this host's own program, started anew with [`CompilerProcess`]'s arguments; its `main` calls
//! [`compiler_main`]. On its stdin comes a line of JSON, then the component; on its stdout goes the artefact, or why
//! there is none.

use super::{Engine, EngineError, EngineSettings, precompile};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// How much memory a compiler's process may take by default, in bytes; a Python interpreter takes some 500 MiB.
pub const COMPILER_MEMORY: u64 = 2 << 30;

/// How long compiling may take by default; a Python interpreter takes some tens of seconds on two processors.
pub const COMPILER_TIME: Duration = Duration::from_secs(300);

/// The largest artefact that is taken, in bytes: a Python interpreter's has some 100 MiB.
const MAX_ARTEFACT: u64 = 512 << 20;

/// How much of what a compiler says of its end is kept, in bytes.
const MAX_WORDS: u64 = 4 << 10;

/// The longest first line, in bytes; ours has about a hundred.
const MAX_TASK: u64 = 1 << 10;

/// The exit code that says that stdout has the reason; a panic's is 101.
const REFUSED: u8 = 3;

/// How much less urgent than its host a compiler is, as `nice` counts.
const NICE: i32 = 10;

/// How a compiler's process is started, and what it may take.
#[derive(Clone, Debug)]
pub struct CompilerProcess {
    program: PathBuf,
    arguments: Vec<OsString>,
    memory: u64,
    time: Duration,
}

/// What the process is told first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    settings: EngineSettings,
    memory: u64,
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
        Self { program: program.into(), arguments, memory: COMPILER_MEMORY, time: COMPILER_TIME }
    }

    /// Sets how much memory it may take, in bytes; held on Linux. The default is [`COMPILER_MEMORY`].
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    /// Sets how long it may take. The default is [`COMPILER_TIME`].
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// Compiles a component as `engine` would. The process ends with this call, or when it is dropped.
    ///
    /// # Errors
    /// As [`Engine::compile`]; and where the process cannot be started, takes too long or comes to a bad end.
    pub async fn compile(&self, engine: &Engine, component: &[u8]) -> Result<Vec<u8>, EngineError> {
        let failed = |source| EngineError::CompilerProcess { program: self.program.clone(), source };
        // It instantiates nothing, and room for instances counts as memory that it can write to.
        let task = Task { settings: engine.settings.clone().instances(1), memory: self.memory };
        let mut task = serde_json::to_vec(&task).map_err(|error| failed(error.into()))?;
        task.push(b'\n');
        let mut command = Command::new(&self.program);
        // None of the host's variables is of use to it.
        command.args(&self.arguments).env_clear().kill_on_drop(true);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let work = async {
            let feed = async {
                let Some(mut stdin) = stdin else { return };
                // One that ends early says why on its stdout.
                if stdin.write_all(&task).await.is_ok() {
                    let _ = stdin.write_all(component).await;
                }
            };
            let ((), made, words) = tokio::join!(feed, read(stdout, MAX_ARTEFACT), read(stderr, MAX_WORDS));
            Ok::<_, io::Error>((process.wait().await?, made?, words?))
        };
        let done = tokio::time::timeout(self.time, work).await;
        let (status, made, words) = done.map_err(|_| EngineError::CompilerTime(self.time))?.map_err(failed)?;
        if made.len() as u64 > MAX_ARTEFACT {
            return Err(EngineError::ArtefactTooLarge(MAX_ARTEFACT));
        }
        match status.code() {
            Some(0) => Ok(made),
            Some(code) if code == i32::from(REFUSED) => {
                Err(EngineError::Compile(wasmtime::Error::msg(String::from_utf8_lossy(&made).into_owned())))
            }
            _ => Err(EngineError::CompilerDied {
                status,
                memory: self.memory,
                words: String::from_utf8_lossy(&words).trim().to_owned(),
            }),
        }
    }
}

/// Reads to the end and keeps `most` bytes and one.
async fn read(from: Option<impl AsyncRead + Unpin>, most: u64) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(most.saturating_add(1)).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}

/// What `main` does in a [`CompilerProcess`]: compiles the component on stdin, once, and ends.
pub fn compiler_main() -> ExitCode {
    let (made, code) = match compile_once() {
        Ok(artefact) => (artefact, ExitCode::SUCCESS),
        Err(error) => (error.into_bytes(), ExitCode::from(REFUSED)),
    };
    let mut out = io::stdout().lock();
    match out.write_all(&made).and_then(|()| out.flush()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn compile_once() -> Result<Vec<u8>, String> {
    let told = |error: io::Error| format!("cannot read what is to be compiled: {error}");
    let mut stdin = io::stdin().lock();
    let mut task = Vec::new();
    (&mut stdin).take(MAX_TASK).read_until(b'\n', &mut task).map_err(told)?;
    let task: Task = serde_json::from_slice(&task).map_err(|error| told(error.into()))?;
    confine(&task).map_err(|error| format!("cannot limit the compiler's process: {error}"))?;
    let mut component = Vec::new();
    stdin.read_to_end(&mut component).map_err(told)?;
    let engine = wasmtime::Engine::new(&task.settings.config()).map_err(|error| format!("{error:#}"))?;
    precompile(&engine, &component).map_err(|error| match error {
        EngineError::Compile(error) => format!("{error:#}"),
        EngineError::Excess(excess) => excess.to_string(),
        EngineError::Panicked(words) => format!("its compiler failed: {words}"),
        EngineError::CompilerThread(error) => format!("cannot start the thread that compiles: {error}"),
        other => other.to_string(),
    })
}

/// Limits this process. Its memory is that which it can write to: an engine reserves far more addresses than it uses.
fn confine(task: &Task) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // What is lower already can be raised by an administrator only.
    let limit = |resource, most: u64| {
        let most = Some(getrlimit(resource).maximum.map_or(most, |already| already.min(most)));
        setrlimit(resource, Rlimit { current: most, maximum: most })
    };
    limit(Resource::Data, task.memory)?;
    limit(Resource::Core, 0)?;
    // Where it cannot be less urgent it is as urgent.
    let _ = rustix::process::nice(NICE);
    Ok(())
}
