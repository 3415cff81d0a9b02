//! Calls, each in a fresh instance.

use std::sync::Arc;
use std::time::{Duration, Instant};

use attache::extension::{CallError, Invocation};
use attache::policy::{Limit, LimitValue};
use attache::wasmtime;
use futures::FutureExt;
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};

use super::{Service, Told, answer, embedded, host, load_by, within, work};

#[tokio::test]
async fn each_call_has_an_instance_and_data_of_its_own() {
    let extension = embedded("{}").await;
    for _ in 0..3 {
        assert_eq!(answer(work(&extension, "count").await), "1");
        assert_eq!(answer(work(&extension, "seen anything").await), "1");
    }
    let known = Service { words: vec!["before".to_owned()] };
    let done = extension.call(known, async |guest, store| {
        let seen = guest.call_work(&mut *store, "seen something").await?;
        Ok((seen, std::mem::take(&mut store.data_mut().data_mut().words)))
    });
    let (seen, words) = done.await.unwrap().value;
    assert_eq!((seen, words), (Ok("2".to_owned()), vec!["before".to_owned(), "something".to_owned()]));
    assert_eq!(work(&extension, "seen unspeakable").await.unwrap().value, Err("that word is not heard".to_owned()));
}

#[tokio::test]
async fn what_a_call_cost_is_returned_with_its_value() {
    let extension = embedded("{}").await;
    let slept = work(&extension, "sleep 200").await.unwrap().usage;
    assert!(slept.elapsed >= Duration::from_millis(200), "{slept:?}");
    assert!(slept.cpu < slept.elapsed, "waiting is no CPU time: {slept:?}");
    let churned = work(&extension, "churn").await.unwrap().usage;
    assert!(churned.cpu > Duration::ZERO && churned.reached.is_none(), "{churned:?}");
    let large = work(&extension, "allocate 8").await.unwrap().usage;
    assert!(large.memory >= churned.memory + (8 << 20), "{large:?} {churned:?}");
}

#[tokio::test]
async fn each_limit_ends_a_call_by_its_name() {
    let told = Arc::new(Told::default());
    let runtime = host().audit(told.clone()).build().unwrap();
    let table = [
        ("{deadline: 300ms}", "sleep 3600000", Limit::Deadline),
        ("{cpu: 200ms, deadline: 1m}", "spin", Limit::Cpu),
        ("{handles: 100}", "handles 1000", Limit::Handles),
    ];
    for (limits, task, limit) in table {
        let extension = load_by(&runtime, within(limits)).await.unwrap();
        told.take();
        let error = work(&extension, task).await.expect_err(task);
        assert_eq!(error.reached().map(|reached| reached.limit), Some(limit), "{task}: {error:?}");
        assert_eq!(told.take(), [(limit.name().to_owned(), true)], "{task}");
        assert_eq!(answer(work(&extension, "count").await), "1", "the next call is undisturbed");
    }
}

#[tokio::test]
async fn a_growth_that_is_refused_is_reported_beside_the_guests_answer() {
    let told = Arc::new(Told::default());
    let extension = load_by(&host().audit(told.clone()).build().unwrap(), within("{memory: 16Mi}")).await.unwrap();
    told.take();
    let done = work(&extension, "allocate 64").await.unwrap();
    assert!(done.value.is_err(), "{done:?}");
    let reached = done.usage.reached.unwrap();
    assert_eq!((reached.limit, reached.allowed), (Limit::Memory, LimitValue::Bytes(16 << 20)));
    assert!(done.usage.memory <= 16 << 20, "{done:?}");
    assert_eq!(told.take(), [("memory".to_owned(), false)]);
}

#[tokio::test]
async fn a_guest_that_ends_itself_is_told_apart() {
    let extension = embedded("{}").await;
    // WASI 0.2 knows success and failure alone.
    assert!(matches!(work(&extension, "exit 3").await, Err(CallError::Exited { code: 1 })));
    assert!(matches!(work(&extension, "exit 0").await, Err(CallError::Exited { code: 0 })));
    assert!(matches!(work(&extension, "trap").await, Err(CallError::Trap(_))));
    assert!(work(&extension, "recurse").await.is_err());
    assert_eq!(answer(work(&extension, "count").await), "1");
}

#[tokio::test]
async fn an_error_of_the_embedders_own_is_not_blamed_on_a_limit() {
    let extension = embedded("{memory: 16Mi}").await;
    let failed = extension.call(Service::default(), async |guest, store| {
        let refused = guest.call_work(store, "allocate 64").await?;
        Err::<(), _>(wasmtime::Error::msg(format!("the service is not content with {refused:?}")))
    });
    let error = failed.await.unwrap_err();
    let CallError::Trap(cause) = &error else { panic!("{error:?}") };
    assert!(cause.to_string().starts_with("the service is not content"), "{cause:?}");
}

#[tokio::test]
async fn no_more_calls_than_granted_are_under_way_and_a_dropped_one_is_over() {
    let told = Arc::new(Told::default());
    let extension = load_by(&host().audit(told.clone()).build().unwrap(), within("{instances: 2}")).await.unwrap();
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(work(&extension, "sleep 3600000"))).collect();
    for call in &mut waiting {
        assert!(call.as_mut().now_or_never().is_none());
    }
    told.take();
    assert!(matches!(work(&extension, "count").await, Err(CallError::Busy { instances: 2 })));
    assert!(matches!(extension.session(Service::default()).await, Err(CallError::Busy { instances: 2 })));
    assert_eq!(told.take().first(), Some(&("instances".to_owned(), true)));
    drop(waiting.pop());
    assert_eq!(answer(work(&extension, "count").await), "1");
}

#[tokio::test]
async fn the_deadline_covers_what_the_embedder_does_in_the_call() {
    let extension = embedded("{deadline: 300ms}").await;
    let begun = Instant::now();
    let ended = extension.call(Service::default(), async |_, _| {
        std::future::pending::<()>().await;
        Ok(())
    });
    assert!(matches!(ended.await, Err(CallError::Deadline { .. })));
    assert!(begun.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn arguments_variables_and_streams_are_those_of_the_call() {
    let extension = embedded("{}").await;
    let out = MemoryOutputPipe::new(1 << 10);
    let call = Invocation::new().args(["one", "two"]).stdin(MemoryInputPipe::new("read me")).stdout(out.clone());
    let done = extension.call_with(call, Service::default(), async |guest, store| {
        let mut answers = Vec::new();
        for task in ["arguments", "variable COLOUR", "input", "print to stdout"] {
            answers.push(guest.call_work(&mut *store, task).await?.unwrap());
        }
        Ok((answers, guest.call_work(store, "variable SECRET").await?))
    });
    let (answers, secret) = done.await.unwrap().value;
    assert_eq!(answers, ["tried one two", "blue", "read me", "printed"]);
    assert!(secret.is_err(), "{secret:?}");
    assert_eq!(out.contents(), "to stdout\n");
    assert_eq!(answer(work(&extension, "arguments").await), "tried");
    assert_eq!(answer(work(&extension, "input").await), "");
}

#[tokio::test]
async fn output_keeps_to_the_rate_of_the_grant() {
    let extension = embedded("{logBytesPerSecond: 4Ki, deadline: 1m}").await;
    let out = MemoryOutputPipe::new(1 << 20);
    let begun = Instant::now();
    let call = Invocation::new().stdout(out.clone());
    let task = async |guest: &super::bindings::Guest, store: &mut _| guest.call_work(store, "flood 150").await;
    let done = extension.call_with(call, Service::default(), task).await.unwrap();
    let printed = out.contents().len();
    assert!(printed > 12 << 10, "all of it came: {printed}");
    assert!(begun.elapsed() >= Duration::from_secs(1), "{printed} bytes in {:?}", begun.elapsed());
    assert_eq!(done.usage.reached.map(|reached| reached.limit), Some(Limit::LogBytesPerSecond));
}
