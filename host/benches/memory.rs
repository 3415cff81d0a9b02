//! What loaded extensions and live instances hold of memory.
//!
//! `cargo bench -p attache --bench memory`. A plain program: criterion measures time. It prints the growth of this
//! process's resident memory (`VmRSS`), and of that part of it that is not mapped from files, for each one of many.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot go on may stop")]

use std::sync::Arc;

use attache::engine::{Artefacts, DEFAULT_CAPACITY};
use attache::extension::{Extension, Invocation, Runtime};
use attache::policy::Grant;
use attache::telemetry::NoAudit;
use attache_tests::guest;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

const MANY: usize = 100;

/// Resident memory in KiB, from `/proc/self/status`.
#[derive(Clone, Copy)]
struct Resident {
    whole: i64,
    anonymous: i64,
}

impl Resident {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Self { whole: field("VmRSS:"), anonymous: field("RssAnon:") }
    }

    fn tell_growth(self, what: &str) {
        let now = Self::now();
        let each = |before: i64, after: i64| (after - before) as f64 / MANY as f64;
        println!(
            "{what}: {:.1} KiB each, of which {:.1} KiB not mapped from files",
            each(self.whole, now.whole),
            each(self.anonymous, now.anonymous)
        );
    }
}

/// The same component with another custom section at its end: other bytes, another digest, another artefact.
fn distinct(component: &[u8], number: usize) -> Vec<u8> {
    let name = b"distinct";
    let payload = format!("{number:08}");
    let size = u8::try_from(1 + name.len() + payload.len()).unwrap();
    let head = [0, size, u8::try_from(name.len()).unwrap()];
    [component, &head, name, payload.as_bytes()].concat()
}

async fn load_many(runtime: &Runtime, component: &[u8]) -> Vec<Extension> {
    let mut loaded = Vec::with_capacity(MANY);
    for number in 0..MANY {
        let grant = Grant::nothing(format!("extension-{number}"));
        loaded.push(runtime.load(distinct(component, number), grant).await.unwrap());
    }
    loaded
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let component = std::fs::read(guest("cat-labels")).unwrap();
    println!("a guest of {} KiB in Rust with std", component.len() / 1024);
    let runtime = || {
        let artefacts = Artefacts::open(folder.path(), DEFAULT_CAPACITY).unwrap();
        Runtime::builder().artefacts(artefacts).audit(Arc::new(NoAudit)).build().unwrap()
    };
    // Compiling is done once, before anything is measured: its memory is not what an extension holds.
    if std::env::var_os("ATTACHE_BENCH_COMPILED").is_none() {
        drop(load_many(&runtime(), &component).await);
        let again = std::process::Command::new(std::env::current_exe().unwrap())
            .env("ATTACHE_BENCH_COMPILED", folder.path())
            .status();
        assert!(again.unwrap().success());
        return;
    }
    let compiled = std::env::var_os("ATTACHE_BENCH_COMPILED").unwrap();
    let artefacts = Artefacts::open(compiled.as_ref(), DEFAULT_CAPACITY).unwrap();
    let runtime = Runtime::builder().artefacts(artefacts).audit(Arc::new(NoAudit)).build().unwrap();
    // One of each first, so that what is shared is not counted.
    let first = runtime.load_command(component.clone(), Grant::nothing("first")).await.unwrap();
    let before = Resident::now();
    let loaded = load_many(&runtime, &component).await;
    before.tell_growth("100 distinct loaded extensions");
    drop((first, loaded));
    live(&runtime).await;
}

/// Instances that have started and wait.
async fn live(runtime: &Runtime) {
    let sleeper = std::fs::read(guest("sleep-long")).unwrap();
    let mut grant = Grant::nothing("sleeper");
    grant.limits.instances = u32::try_from(MANY).unwrap();
    let extension = runtime.load(sleeper, grant).await.unwrap();
    let before = Resident::now();
    let mut running = tokio::task::JoinSet::new();
    let mut outputs = Vec::new();
    for _ in 0..MANY {
        let (extension, out) = (extension.clone(), MemoryOutputPipe::new(1 << 10));
        outputs.push(out.clone());
        running.spawn(async move { extension.run(Invocation::new().stdout(out)).await });
    }
    // Each says that it has started before it sleeps.
    while outputs.iter().any(|out| out.contents().is_empty()) {
        tokio::task::yield_now().await;
        assert!(running.try_join_next().is_none(), "a guest ended before it was counted");
    }
    before.tell_growth("100 live instances");
    running.shutdown().await;
}
