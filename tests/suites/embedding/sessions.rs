//! Sessions: one instance, several calls.

use std::sync::Arc;
use std::time::Duration;

use attache::extension::{CallError, Invocation, Session, SessionEnd, SessionSettings};
use attache::policy::Limit;
use futures::FutureExt;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use super::{Embedded, Pre, Service, Told, answer, begin, embedded, go_on, host, load_by, within, work};

async fn begin_with(extension: &Embedded, settings: SessionSettings) -> Session<Pre, Service> {
    extension.session_with(settings, Invocation::new(), Service::default()).await.unwrap()
}

#[tokio::test]
async fn a_session_keeps_its_instance_and_its_data() {
    let extension = embedded("{}").await;
    let mut session = begin(&extension).await;
    for turn in 1..=5_u64 {
        assert_eq!(answer(go_on(&mut session, "count").await), turn.to_string());
        assert_eq!(answer(go_on(&mut session, "seen again").await), turn.to_string());
        assert_eq!(session.calls(), 2 * turn);
    }
    session.data_mut().unwrap().words.clear();
    assert_eq!(answer(go_on(&mut session, "seen again").await), "1");
    assert_eq!(session.end(), None);
    assert_eq!(answer(work(&extension, "count").await), "1", "a call has nothing of the session");
}

#[tokio::test]
async fn deadline_and_cpu_time_are_each_calls_own() {
    let extension = embedded("{deadline: 4s, cpu: 400ms}").await;
    let mut session = begin_with(&extension, SessionSettings::new().calls(u64::MAX)).await;
    let (mut cpu, mut elapsed) = (Duration::ZERO, Duration::ZERO);
    while cpu < Duration::from_millis(600) || elapsed < Duration::from_secs(5) {
        let task = if cpu < Duration::from_millis(600) { "churn" } else { "sleep 500" };
        let usage = go_on(&mut session, task).await.unwrap().usage;
        (cpu, elapsed) = (cpu + usage.cpu, elapsed + usage.elapsed);
        assert!(usage.cpu < Duration::from_millis(400), "{usage:?}");
    }
    assert_eq!(session.end(), None);
}

#[tokio::test]
async fn memory_and_handles_are_the_instances() {
    let extension = embedded("{handles: 100, memory: 32Mi}").await;
    let mut session = begin(&extension).await;
    assert_eq!(answer(go_on(&mut session, "allocate 20").await), "20 MiB");
    assert!(go_on(&mut session, "allocate 20").await.unwrap().value.is_err());
    // The host holds two things for each.
    assert_eq!(answer(go_on(&mut session, "handles 30").await), "30");
    let error = go_on(&mut session, "handles 30").await.unwrap_err();
    assert_eq!(error.reached().map(|reached| reached.limit), Some(Limit::Handles), "{error:?}");
}

#[tokio::test]
async fn a_call_that_fails_ends_its_session_and_frees_its_place() {
    let limits = "{instances: 1, handles: 100, deadline: 500ms, cpu: 300ms}";
    let extension = embedded(limits).await;
    for task in ["trap", "exit 0", "handles 1000", "sleep 3600000", "spin", "recurse"] {
        let mut session = begin(&extension).await;
        assert_eq!(answer(go_on(&mut session, "count").await), "1");
        assert!(matches!(work(&extension, "count").await, Err(CallError::Busy { .. })), "the session has the place");
        assert!(go_on(&mut session, task).await.is_err(), "{task}");
        assert_eq!(session.end(), Some(SessionEnd::Failed), "{task}");
        assert!(session.data_mut().is_none());
        assert_eq!(answer(work(&extension, "count").await), "1", "{task}: the place is free");
        let over = go_on(&mut session, "count").await.unwrap_err();
        assert!(matches!(over, CallError::SessionOver(SessionEnd::Failed)), "{task}: {over:?}");
        assert_eq!(session.calls(), 1);
    }
}

#[tokio::test]
async fn a_call_whose_future_is_dropped_ends_its_session() {
    let extension = embedded("{instances: 1}").await;
    let mut session = begin(&extension).await;
    assert!(go_on(&mut session, "sleep 3600000").now_or_never().is_none());
    assert_eq!(session.end(), Some(SessionEnd::Failed));
    assert_eq!(answer(work(&extension, "count").await), "1");
}

#[tokio::test]
async fn a_call_that_was_never_polled_changes_nothing() {
    let mut session = begin(&embedded("{}").await).await;
    drop(go_on(&mut session, "trap"));
    assert_eq!(answer(go_on(&mut session, "count").await), "1");
}

#[tokio::test]
async fn a_session_that_has_served_its_calls_frees_its_place() {
    let extension = embedded("{instances: 1}").await;
    let mut session = begin_with(&extension, SessionSettings::new().calls(2)).await;
    assert_eq!(answer(go_on(&mut session, "count").await), "1");
    assert_eq!(session.end(), None);
    assert_eq!(answer(go_on(&mut session, "count").await), "2");
    assert_eq!(answer(work(&extension, "count").await), "1", "the place is free while the session is kept");
    assert_eq!(session.end(), Some(SessionEnd::Calls));
    let over = go_on(&mut session, "count").await.unwrap_err();
    assert!(matches!(over, CallError::SessionOver(SessionEnd::Calls)), "{over:?}");
    let mut none = begin_with(&extension, SessionSettings::new().calls(0)).await;
    assert!(matches!(go_on(&mut none, "count").await, Err(CallError::SessionOver(SessionEnd::Calls))));
}

#[tokio::test]
async fn an_idle_session_is_over_when_it_is_looked_at() {
    let extension = embedded("{instances: 1}").await;
    let impatient = SessionSettings::new().idle(Duration::ZERO);
    let mut session = begin_with(&extension, impatient).await;
    while session.end().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(session.end(), Some(SessionEnd::Idle));
    assert_eq!(answer(work(&extension, "count").await), "1", "the place is free");
    let mut session = begin_with(&extension, impatient).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert!(matches!(go_on(&mut session, "count").await, Err(CallError::SessionOver(SessionEnd::Idle))));
    let mut patient = begin_with(&extension, SessionSettings::new().idle(Duration::MAX)).await;
    assert_eq!(answer(go_on(&mut patient, "count").await), "1");
}

#[tokio::test]
async fn what_one_call_ran_into_is_not_reported_for_the_next() {
    let told = Arc::new(Told::default());
    let limits = within("{memory: 16Mi, logBytesPerSecond: 4Ki, deadline: 1m}");
    let extension = load_by(&host().audit(told.clone()).build().unwrap(), limits).await.unwrap();
    let call = Invocation::new().stdout(MemoryOutputPipe::new(1 << 20));
    let mut session = extension.session_with(SessionSettings::new(), call, Service::default()).await.unwrap();
    let table = [("allocate 64", Some(Limit::Memory)), ("flood 100", Some(Limit::LogBytesPerSecond))];
    for (task, limit) in table {
        told.take();
        let usage = go_on(&mut session, task).await.unwrap().usage;
        assert_eq!(usage.reached.map(|reached| reached.limit), limit, "{task}");
        let usage = go_on(&mut session, "count").await.unwrap().usage;
        assert_eq!(usage.reached, None, "after {task}");
        assert_eq!(told.take().len(), 1, "{task}");
    }
    // A trap after it is not the limit's doing either.
    let error = go_on(&mut session, "trap").await.unwrap_err();
    assert!(matches!(error, CallError::Trap(_)), "{error:?}");
}

#[tokio::test]
async fn what_a_session_prints_goes_out_with_each_call() {
    let out = MemoryOutputPipe::new(1 << 10);
    let extension = embedded("{}").await;
    let call = Invocation::new().stdout(out.clone());
    let mut session = extension.session_with(SessionSettings::new(), call, Service::default()).await.unwrap();
    answer(go_on(&mut session, "print one").await);
    assert_eq!(out.contents(), "one\n");
    answer(go_on(&mut session, "print two").await);
    assert_eq!(out.contents(), "one\ntwo\n");
}

/// The embedder's closure abandons the guest's call and succeeds, so the instance is in the middle of a call.
#[tokio::test]
async fn an_instance_that_was_left_in_the_middle_serves_no_further_call() {
    let extension = embedded("{instances: 1}").await;
    let mut session = begin(&extension).await;
    let left = session.call(async |guest, store| {
        assert!(guest.call_work(store, "sleep 3600000").now_or_never().is_none());
        Ok(())
    });
    left.await.unwrap();
    go_on(&mut session, "count").await.expect_err("the instance is in the middle of a call");
    assert_eq!(session.end(), Some(SessionEnd::Failed));
    assert_eq!(answer(work(&extension, "count").await), "1");
}

/// The embedder's closure ignores the trap.
#[tokio::test]
async fn an_instance_that_has_trapped_serves_no_further_call() {
    let mut session = begin(&embedded("{}").await).await;
    let trapped = session.call(async |guest, store| Ok(guest.call_work(store, "trap").await.is_err()));
    assert!(trapped.await.unwrap().value);
    go_on(&mut session, "count").await.expect_err("the instance has trapped");
    assert_eq!(session.end(), Some(SessionEnd::Failed));
}
