//! One try to compile: a process from its start to its end.

use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::super::{CompilerOutOfMemory, Engine, EngineError, Needs};
use super::task::{Allocator, Done, Said, TASK, Task};
use super::{CompilerProcess, Content, Input, REFUSED, THREADS};

/// The bytes of a compiler's stderr that are kept.
const MAX_WORDS: u64 = 16 << 10;

/// The maximum number of threads that compile at once: each holds the memory that its function takes.
const MAX_THREADS: usize = 4;

/// The messages by which a lack of memory is recognised: those of Rust's allocator and of the system.
const SIGNS: [&str; 4] =
    ["memory allocation of", "Cannot allocate memory", "Resource temporarily unavailable", "out of memory"];

/// The signal by which the kernel ends a process where memory is short.
const KILLED: i32 = 9;

/// One try to compile.
pub(super) struct Attempt<'a> {
    pub(super) process: &'a CompilerProcess,
    pub(super) engine: &'a Engine,
    pub(super) input: Input<'a>,
    pub(super) most: &'a Needs,
    pub(super) output: &'a File,
    pub(super) allocator: Allocator,
    pub(super) memory: u64,
}

/// The end of a try, unless it is an error that every further try would repeat.
pub(super) enum Ended {
    Done(Done),
    OutOfMemory(CompilerOutOfMemory),
}

impl Attempt<'_> {
    pub(super) async fn run(&self) -> Result<Ended, EngineError> {
        let failed = |source| EngineError::CompilerProcess { program: self.process.program.clone(), source };
        let mut process = self.command().map_err(failed)?.spawn().map_err(failed)?;
        let (stdin, stderr) = (process.stdin.take(), process.stderr.take());
        let feed = async {
            if let (Some(mut stdin), Content::Memory(bytes)) = (stdin, self.input.content) {
                // A process that ends early gives the reason on its stderr.
                let _ = stdin.write_all(bytes).await;
            }
        };
        let ((), words) = tokio::join!(feed, read(stderr));
        let (words, status) = (words.map_err(failed)?, process.wait().await.map_err(failed)?);
        self.ended(status, &String::from_utf8_lossy(&words))
    }

    fn command(&self) -> io::Result<Command> {
        let task = Task {
            settings: self.engine.settings.clone(),
            size: self.input.size,
            sha256: hex::encode(self.input.sha256),
            most: *self.most,
            memory: self.memory,
            root: self.process.root.clone(),
            allocator: self.allocator,
        };
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MAX_THREADS);
        let mut command = Command::new(&self.process.program);
        // The process needs none of the host's variables.
        command.args(&self.process.arguments).env_clear().kill_on_drop(true);
        command.env(TASK, serde_json::to_string(&task)?).env(THREADS, threads.to_string());
        let stdin = match self.input.content {
            Content::Memory(_) => Stdio::piped(),
            Content::File(file) => {
                // The process shares the position in the file.
                let mut file = file.try_clone()?;
                file.rewind()?;
                file.into()
            }
        };
        let mut output = self.output.try_clone()?;
        output.set_len(0)?;
        output.rewind()?;
        command.stdin(stdin).stdout(output).stderr(Stdio::piped());
        Ok(command)
    }

    /// Concludes from the exit status and the words how the try ended.
    fn ended(&self, status: ExitStatus, words: &str) -> Result<Ended, EngineError> {
        let said: Vec<Said> = words.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let (memory, bounded_by) = said.iter().find_map(begins).unwrap_or((self.memory, None));
        let out = |bounded_by, words: &str| {
            Ok(Ended::OutOfMemory(CompilerOutOfMemory { memory, bounded_by, words: words.to_owned() }))
        };
        let short = |words: &str| SIGNS.iter().any(|sign| words.contains(sign));
        match (status.code(), said.into_iter().next_back()) {
            (Some(0), Some(Said::Done(done))) => Ok(Ended::Done(done)),
            (Some(code), Some(Said::NoRoom { bounded_by })) if code == i32::from(REFUSED) => out(Some(bounded_by), ""),
            (Some(code), Some(said)) if code == i32::from(REFUSED) => match said {
                Said::Needs(needs) => Err(EngineError::Needs { needs }),
                Said::Changed => Err(EngineError::Changed),
                Said::Unwritten(words) => Err(EngineError::Write(std::io::Error::other(words))),
                Said::Refused(words) if short(&words) => out(bounded_by, &words),
                Said::Refused(words) => Err(EngineError::Compile(wasmtime::Error::msg(words))),
                other => Err(self.died(status, memory, &format!("{other:?}"))),
            },
            _ => {
                let words: Vec<_> = words.lines().filter(|line| serde_json::from_str::<Said>(line).is_err()).collect();
                let words = words.join("\n");
                if short(&words) || status.signal() == Some(KILLED) {
                    return out(bounded_by, words.trim());
                }
                Err(self.died(status, memory, words.trim()))
            }
        }
    }

    fn died(&self, status: ExitStatus, memory: u64, words: &str) -> EngineError {
        EngineError::CompilerDied { status, memory, words: words.to_owned() }
    }
}

fn begins(said: &Said) -> Option<(u64, Option<String>)> {
    match said {
        Said::Begins { memory, bounded_by } => Some((*memory, bounded_by.clone())),
        _ => None,
    }
}

/// Reads to the end, and keeps the first [`MAX_WORDS`].
async fn read(from: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    if let Some(mut from) = from {
        (&mut from).take(MAX_WORDS).read_to_end(&mut kept).await?;
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(kept)
}
