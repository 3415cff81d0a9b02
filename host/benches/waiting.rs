//! The cost of guests that only wait: wake-ups, and processor time.
//!
//! `cargo bench -p attache --bench waiting` is a plain program, because criterion measures the time of work, and here
//! there is none. For some seconds it counts the wake-ups of this process's threads (`voluntary_ctxt_switches` of
//! `/proc/self/task`), the epochs, and the processor time (`/proc/self/stat`).

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot go on may stop")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use attache::engine::{Engine, EngineSettings};
use attache::extension::{Invocation, Runtime};
use attache::policy::Grant;
use attache::telemetry::NoAudit;
use attache_tests::guest;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

/// The number of guests that wait at once.
const MANY: u32 = 1000;

/// The time of the measurement.
const LOOKED_AT: Duration = Duration::from_secs(10);

/// Counters of this process since its start.
struct Counted {
    wake_ups: u64,
    epochs: u64,
    /// Processor time, in hundredths of a second.
    ticks: u64,
    at: Instant,
}

impl Counted {
    fn now(engine: &Engine) -> Self {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path().join("status"));
        let switches = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.unwrap().trim().parse::<u64>().unwrap()
        };
        // A thread that has just ended is not counted.
        let wake_ups = tasks.filter_map(|status| std::fs::read_to_string(status).ok()).map(switches).sum();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Self { wake_ups, epochs: engine.epochs(), ticks, at: Instant::now() }
    }

    fn tell(&self, before: &Self, what: &str) {
        let seconds = (self.at - before.at).as_secs_f64();
        // Threads that have ended take their wake-ups with them.
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        println!(
            "{what}: {:.1} wake-ups, {:.1} epochs a second, {:.2} % of a processor",
            rate(self.wake_ups, before.wake_ups),
            rate(self.epochs, before.epochs),
            rate(self.ticks, before.ticks)
        );
    }
}

#[tokio::main]
async fn main() {
    let engine = Engine::new(&EngineSettings::default().instances(MANY)).unwrap();
    let runtime = Runtime::builder().engine(engine.clone()).audit(Arc::new(NoAudit)).build().unwrap();
    let mut grant = Grant::nothing("waiting");
    grant.limits.instances = MANY;
    grant.limits.deadline = Duration::from_secs(3600);
    let extension = runtime.load_command_file(&guest("sleep-long"), grant).await.unwrap();
    let before = Counted::now(&engine);
    tokio::time::sleep(LOOKED_AT).await;
    Counted::now(&engine).tell(&before, "no guest");
    let mut running = tokio::task::JoinSet::new();
    let mut outputs = Vec::new();
    for many in [1, MANY] {
        while outputs.len() < many as usize {
            let (extension, out) = (extension.clone(), MemoryOutputPipe::new(1 << 10));
            outputs.push(out.clone());
            running.spawn(async move { extension.run(Invocation::new().args(["3600"]).stdout(out)).await });
        }
        // Each guest prints a line at its start, before it sleeps.
        while outputs.iter().any(|out| out.contents().is_empty()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(running.try_join_next().is_none(), "a guest ended before it was counted");
        }
        let before = Counted::now(&engine);
        tokio::time::sleep(LOOKED_AT).await;
        Counted::now(&engine).tell(&before, &format!("{many} waiting guests"));
    }
    running.shutdown().await;
}
