//! The compiler's own process: it compiles once and ends.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sha2::{Digest, Sha256};
use wasmtime::{OptLevel, RegallocAlgorithm};

use super::super::room::Room;
use super::super::{COMPILER_STACK, EngineError, precompile};
use super::task::{Allocator, Done, Said, TASK, Task};
use super::{MAX_ARTEFACT, TIGHT};

/// The compiler's priority relative to its host, as `nice` counts.
const NICE: i32 = 10;

/// The value of `oom_score_adj` by which the kernel ends this process first where memory is short.
const FIRST_TO_END: &[u8] = b"1000";

/// The memory that is left to the host and its guests, in bytes: for the artefact's pages and an instance or two.
const LEFT_FREE: u64 = 16 << 20;

/// The least memory with which a try is made, in bytes.
const LEAST: u64 = 16 << 20;

/// The stack of each thread that compiles functions, in bytes: Rust's default, and a guard.
const THREAD_STACK: u64 = (2 << 20) + (64 << 10);

/// The time between two checks of the remaining memory: other processes in the container grow, too.
const LOOK: Duration = Duration::from_millis(5);

/// The size of one read of the component, in bytes.
const CHUNK: usize = 256 << 10;

/// Runs as `main` of a [`CompilerProcess`](super::CompilerProcess): compiles the component on stdin once, and ends.
pub fn compiler_main() -> ExitCode {
    let said = compile_once().unwrap_or_else(|why| why);
    let code = if matches!(said, Said::Done(_)) { ExitCode::SUCCESS } else { ExitCode::from(super::REFUSED) };
    if say(&said).is_err() { ExitCode::FAILURE } else { code }
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    io::stderr().lock().write_all(&line)
}

fn failed(doing: &str) -> impl FnOnce(io::Error) -> Said {
    let doing = doing.to_owned();
    move |error| Said::Refused(format!("cannot {doing}: {error}"))
}

fn compile_once() -> Result<Said, Said> {
    let begun = Instant::now();
    let task = std::env::var(TASK).map_err(|_| Said::Refused(format!("the variable {TASK} is missing")))?;
    let task: Task = serde_json::from_str(&task).map_err(|error| Said::Refused(format!("{TASK}: {error}")))?;
    be_modest().map_err(failed("limit the compiler's process"))?;
    let memory = allowance(&task)?;
    // The process instantiates nothing, and room for instances would count as memory that it can write to.
    let mut config = task.settings.clone().instances(1).memories(1).table_elements(1).config();
    if task.allocator == Allocator::SinglePass {
        config.cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass).cranelift_opt_level(OptLevel::None);
    }
    let engine = wasmtime::Engine::new(&config).map_err(|error| Said::Refused(format!("{error:#}")))?;
    confine(memory).map_err(failed("limit the compiler's memory"))?;
    look_after(task.root.clone()).map_err(failed("start the thread that looks after its memory"))?;
    let component = component(&task)?;
    let (artefact, needs) = precompile(&engine, &component, &task.most).map_err(refusal)?;
    drop(component);
    let size = artefact.len() as u64;
    if size > MAX_ARTEFACT {
        return Err(Said::Refused(format!("the compiled component is larger than {MAX_ARTEFACT} bytes")));
    }
    room_for(&task, size)?;
    let mut out = io::stdout().lock();
    out.write_all(&artefact).and_then(|()| out.flush()).map_err(|error| Said::Unwritten(error.to_string()))?;
    let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Said::Done(Done { needs, took, peak: status("VmHWM:"), size }))
}

fn refusal(error: EngineError) -> Said {
    match error {
        EngineError::Needs { needs } => Said::Needs(needs),
        EngineError::Compile(error) => Said::Refused(format!("{error:#}")),
        EngineError::ComponentTooComplex(excess) => Said::Refused(excess.to_string()),
        EngineError::Panicked(words) => Said::Refused(format!("its compiler failed: {words}")),
        EngineError::CompilerThread(error) => Said::Refused(format!("cannot start the thread that compiles: {error}")),
        other => Said::Refused(other.to_string()),
    }
}

/// Makes this process end with its host, leave no core dump, run at a lower priority, and be the first to end where
/// memory is short.
fn be_modest() -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, MAX_ARTEFACT)?;
    // If the priority cannot be lowered, the process runs at its host's priority.
    let _ = rustix::process::nice(NICE);
    let _ = std::fs::write("/proc/self/oom_score_adj", FIRST_TO_END);
    Ok(())
}

/// Lowers a limit. A limit that is lower already stays, because only an administrator could raise it.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = Some(getrlimit(resource).maximum.map_or(most, |already| already.min(most)));
    Ok(setrlimit(resource, Rlimit { current: most, maximum: most })?)
}

/// Determines and reports the memory that this process may take.
fn allowance(task: &Task) -> Result<u64, Said> {
    let room = Room::read(&task.root);
    let left = room.as_ref().map_or(u64::MAX, |room| room.left.saturating_sub(LEFT_FREE));
    let memory = task.memory.min(left);
    let bounded_by = room.filter(|_| left < task.memory).map(|room| room.to_string());
    if let (Some(bounded_by), true) = (&bounded_by, memory < LEAST) {
        return Err(Said::NoRoom { bounded_by: bounded_by.clone() });
    }
    say(&Said::Begins { memory, bounded_by }).map_err(failed("speak to the host"))?;
    Ok(memory)
}

/// Limits the memory that this process can write to. Memory that is reserved already and not touched does not count: an
/// engine reserves far more addresses than it uses, and so does each thread for its stack.
fn confine(memory: u64) -> io::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let threads = std::env::var(super::THREADS).ok().and_then(|text| text.parse().ok()).unwrap_or(threads);
    let stacks = threads.saturating_add(2).saturating_mul(THREAD_STACK).saturating_add(COMPILER_STACK as u64);
    let already = status("VmData:").unwrap_or_default();
    limit(Resource::Data, memory.saturating_add(already).saturating_add(stacks))
}

/// Returns a number of `/proc/self/status`, in bytes.
fn status(name: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024))
}

/// Ends this process before the limits around it are reached. Other processes take memory meanwhile, among them
/// compilers for other extensions.
fn look_after(root: PathBuf) -> io::Result<()> {
    let looking = move || {
        loop {
            std::thread::sleep(LOOK);
            let Some(room) = Room::read(&root) else { return };
            if room.left < LEFT_FREE / 2 {
                let _ = say(&Said::NoRoom { bounded_by: room.to_string() });
                std::process::exit(super::REFUSED.into());
            }
        }
    };
    std::thread::Builder::new().name("memory".to_owned()).stack_size(TIGHT).spawn(looking).map(drop)
}

/// Reads the component into one allocation of its size, and checks its digest.
fn component(task: &Task) -> Result<Vec<u8>, Said> {
    let reading = || failed("read the component");
    let size = usize::try_from(task.size).unwrap_or(usize::MAX);
    let mut component = Vec::new();
    component.try_reserve_exact(size).map_err(|_| Said::Refused(super::OUT_OF_MEMORY.to_owned()))?;
    let (mut stdin, mut hasher) = (io::stdin().lock(), Sha256::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = stdin.read(&mut chunk).map_err(reading())?;
        let read = chunk.get(..read).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        if component.len().saturating_add(read.len()) > size {
            return Err(Said::Changed);
        }
        hasher.update(read);
        component.extend_from_slice(read);
    }
    if hex::encode(hasher.finalize()) == task.sha256 { Ok(component) } else { Err(Said::Changed) }
}

/// Checks that the artefact fits beside the memory of this process, if the artefact's file lies in memory, too.
fn room_for(task: &Task, size: u64) -> Result<(), Said> {
    #[cfg(target_os = "linux")]
    if rustix::fs::fstatfs(io::stdout()).is_ok_and(|of| u64::try_from(of.f_type) == Ok(super::TMPFS))
        && let Some(room) = Room::read(&task.root)
        && room.left.saturating_sub(LEFT_FREE / 2) < size
    {
        return Err(Said::NoRoom { bounded_by: room.to_string() });
    }
    Ok(())
}
