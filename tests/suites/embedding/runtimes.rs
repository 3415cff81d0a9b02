//! The Tokio runtimes that calls are made from.

use std::rc::Rc;
use std::sync::Arc;

use attache::cluster::{ApiClient, ApiClientSettings, Endpoint};
use attache::engine::{Artefacts, CompilerProcess, DEFAULT_CAPACITY};
use attache::extension::{CallError, LoadError};
use attache::telemetry::NoAudit;
use futures::FutureExt;
use tokio::runtime::{Builder, Runtime as Tokio};
use tokio::task::{JoinSet, LocalSet};

use super::{Embedded, answer, begin, embedded, go_on, grant, host, load_by, within, work};

fn multi_thread() -> Tokio {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn current_thread() -> Tokio {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Calls from tasks of their own, some of them in a session.
async fn spawned(extension: &Embedded) {
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let extension = extension.clone();
        callers.spawn(async move {
            let mut session = begin(&extension).await;
            assert_eq!(answer(work(&extension, "count").await), "1");
            assert_eq!(answer(go_on(&mut session, "count").await), "1");
            answer(go_on(&mut session, "count").await)
        });
    }
    while let Some(counted) = callers.join_next().await {
        assert_eq!(counted.unwrap(), "2");
    }
}

#[test]
fn callers_are_tasks_on_one_thread_or_many() {
    for tokio in [multi_thread(), current_thread()] {
        tokio.block_on(async { spawned(&embedded("{}").await).await });
    }
}

/// An extension that was loaded on one runtime is called from another, and a session continues there.
#[test]
fn an_extension_outlives_the_runtime_that_loaded_it() {
    let (first, second) = (current_thread(), multi_thread());
    let extension = first.block_on(embedded("{}"));
    let mut session = first.block_on(begin(&extension));
    assert_eq!(answer(first.block_on(go_on(&mut session, "count"))), "1");
    drop(first);
    assert_eq!(answer(second.block_on(go_on(&mut session, "count"))), "2");
    second.block_on(spawned(&extension));
}

#[test]
fn a_local_task_may_lend_its_call_what_no_other_thread_may_have() {
    current_thread().block_on(LocalSet::new().run_until(async {
        let (extension, word) = (embedded("{}").await, Rc::new("seen local".to_owned()));
        let called = tokio::task::spawn_local(async move {
            let data = super::Service::default();
            let done = extension.call(data, async |guest, store| guest.call_work(store, &word).await).await;
            answer(done)
        });
        assert_eq!(called.await.unwrap(), "1");
    }));
}

#[test]
fn without_timers_or_without_a_runtime_a_call_is_an_error() {
    let full = multi_thread();
    let extension = full.block_on(embedded("{}"));
    let mut session = full.block_on(begin(&extension));
    let timeless = [Builder::new_current_thread().enable_io().build(), Builder::new_multi_thread().enable_io().build()];
    for tokio in timeless {
        let tokio = tokio.unwrap();
        assert!(matches!(tokio.block_on(work(&extension, "count")), Err(CallError::NoTimers)));
        assert!(matches!(tokio.block_on(go_on(&mut session, "count")), Err(CallError::NoTimers)));
    }
    let none = work(&extension, "count").now_or_never().unwrap();
    assert!(matches!(none, Err(CallError::NoTimers)), "{none:?}");
    assert!(matches!(go_on(&mut session, "count").now_or_never(), Some(Err(CallError::NoTimers))));
    // A call that was refused before it began has not ended the session.
    assert_eq!(answer(full.block_on(go_on(&mut session, "count"))), "1");
}

#[test]
fn without_a_runtime_nothing_is_loaded() {
    let runtime = host().build().unwrap();
    let refused = runtime.load::<super::Pre>(vec![0], within("{}")).now_or_never().unwrap().unwrap_err();
    assert!(matches!(refused, LoadError::NoRuntime), "{refused:?}");
}

/// Requests need I/O. Without I/O, an extension is called only if its grant opens no requests.
#[test]
fn without_io_a_call_that_may_make_requests_is_an_error() {
    let without = Builder::new_current_thread().enable_time().build().unwrap();
    let full = multi_thread();
    let quiet = full.block_on(embedded("{}"));
    assert_eq!(answer(without.block_on(work(&quiet, "count"))), "1", "this host has no API server");
    let cluster = full.block_on(async {
        let settings = ApiClientSettings::new(Endpoint::given("http://127.0.0.1:1").unwrap(), Arc::new(NoAudit));
        ApiClient::connect(settings).unwrap()
    });
    let runtime = host().cluster(cluster).build().unwrap();
    let asking = full.block_on(load_by(&runtime, within("{}"))).unwrap();
    let outward = format!("{{env: [COLOUR], api: [{}], egress: [\"https://example.test\"]}}", super::PODS);
    let outward = full.block_on(load_by(&host().build().unwrap(), grant(&outward))).unwrap();
    for extension in [asking, outward] {
        assert!(matches!(without.block_on(work(&extension, "open")), Err(CallError::NoIo)));
        assert_eq!(answer(full.block_on(work(&extension, "count"))), "1");
    }
}

/// The process of a compiler needs pipes for its data, and a timer for its end.
#[test]
fn a_process_that_compiles_is_not_started_without_timers_and_io() {
    let folder = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open(folder.path(), DEFAULT_CAPACITY).unwrap();
    let compiler = CompilerProcess::new("never-started", ["compiler"]);
    let runtime = host().artefacts(artefacts).compiler(compiler).build().unwrap();
    for tokio in
        [Builder::new_current_thread().enable_time().build(), Builder::new_current_thread().enable_io().build()]
    {
        let refused = tokio.unwrap().block_on(load_by(&runtime, within("{}"))).unwrap_err();
        assert!(matches!(refused, LoadError::NoRuntime), "{refused:?}");
    }
}
