//! Guests that wait: nothing wakes for them.

use std::time::Instant;

use attache::engine::{Engine, EngineSettings};
use attache::extension::{CallError, Invocation};
use attache_tests::guest;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use super::{grant, host};

/// The number of guests that wait at the same time.
const MANY: usize = 20;

/// Epochs that pass while this many guests only wait, for as long as their deadline has left.
#[tokio::test(flavor = "multi_thread")]
async fn no_epoch_passes_while_all_guests_wait() {
    let engine = Engine::new(&EngineSettings::default().instances(u32::try_from(MANY).unwrap())).unwrap();
    let runtime = host().engine(engine.clone()).build().unwrap();
    let limits = format!("{{limits: {{instances: {MANY}, deadline: 10s}}}}");
    let extension = runtime.load_command_file(&guest("sleep-long"), grant(&limits)).await.unwrap();
    let mut outputs = Vec::new();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..MANY {
        let (extension, out) = (extension.clone(), MemoryOutputPipe::new(1 << 10));
        outputs.push(out.clone());
        calls.spawn(async move { extension.run(Invocation::new().args(["3600"]).stdout(out)).await });
    }
    // Each guest prints a line before it sleeps.
    while outputs.iter().any(|out| out.contents().is_empty()) {
        tokio::task::yield_now().await;
        assert!(calls.try_join_next().is_none(), "a guest ended before it was counted");
    }
    let (before, begun) = (engine.epochs(), Instant::now());
    while let Some(ended) = calls.join_next().await {
        assert!(matches!(ended.unwrap(), Err(CallError::Deadline { .. })));
    }
    // Each guest is polled once more at its deadline, and one may still have been on its way into its sleep.
    let (passed, waited) = (engine.epochs() - before, begun.elapsed());
    let most = u64::try_from(3 * MANY).unwrap();
    assert!(passed <= most, "{passed} epochs in the {waited:?} in which all waited");
    assert!(waited.as_millis() > 10 * u128::from(most), "they waited for {waited:?} only: nothing is shown");
    // A guest that computes makes epochs pass, on the same engine: the count above could have been another one.
    let spinning = runtime.load_command_file(&guest("spin"), grant("{limits: {deadline: 1s}}")).await.unwrap();
    let before = engine.epochs();
    assert!(spinning.run(Invocation::new()).await.is_err(), "a guest that spins has been ended");
    assert!(engine.epochs() > before, "no epoch passed while a guest computed");
}
