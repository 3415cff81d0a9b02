//! The memory of loaded extensions and live instances.
//!
//! `cargo bench -p attache --bench memory` is a plain program, because criterion measures time. It prints the growth of
//! this process's resident memory (`VmRSS`), and of its part that is not mapped from files, for each of many things.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot go on may stop")]

#[path = "shared/resident.rs"]
mod resident;

use std::sync::Arc;

use attache::engine::{Artefacts, DEFAULT_CAPACITY};
use attache::extension::{Extension, Invocation, Runtime};
use attache::policy::Grant;
use attache::telemetry::NoAudit;
use attache_tests::guest;
use resident::{MANY, Resident, distinct};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

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
    // Compiling is done once, before the measurement, because its memory does not belong to an extension.
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
    // One of each first, so that shared memory is not counted.
    let first = runtime.load_command(component.clone(), Grant::nothing("first")).await.unwrap();
    let before = Resident::now();
    let loaded = load_many(&runtime, &component).await;
    before.tell_growth("100 distinct loaded extensions");
    drop((first, loaded));
    live(&runtime).await;
}

/// Measures instances that have started and wait.
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
    // Each guest prints a line at its start, before it sleeps.
    while outputs.iter().any(|out| out.contents().is_empty()) {
        tokio::task::yield_now().await;
        assert!(running.try_join_next().is_none(), "a guest ended before it was counted");
    }
    before.tell_growth("100 live instances");
    running.shutdown().await;
}
