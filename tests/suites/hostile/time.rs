//! Guests that never come back: each ends with its budget or its deadline, whatever it waits in.

use std::sync::Arc;
use std::time::Duration;

use attache::extension::Invocation;
use attache::policy::Limit;
use attache_devcluster::Fault;
use tokio::io::AsyncWriteExt;
use wasmtime_wasi::cli::{AsyncStdinStream, AsyncStdoutStream};

use super::limits::command;
use super::stage::{Ran, Stage, opening, run};
use super::{Attack, attacks};

pub(crate) const ALL: &[Attack] = attacks! {
    "endless loop" => endless_loop,
    "endless loops, eight at once" => endless_loops,
    "endless loops, in all the calls that it may have" => all_calls,
    "endless loops that wait for nothing in between, in all calls" => fidgets,
    "memory filled and copied as a whole" => bulk,
    "sleep" => sleep,
    "wait for stdin" => stdin,
    "wait for a change that never comes" => change,
    "wait for the API server" => server,
    "print where nobody reads" => unread_output,
};

/// A call that ends at its deadline ends about then.
const LATE: Duration = Duration::from_secs(5);

async fn endless_loop(stage: Arc<Stage>) -> String {
    let extension = stage.guest("spin", "{limits: {cpu: 500ms, deadline: 1m}}").await;
    stage.limited(&run(&extension, &[]).await, Limit::Cpu)
}

async fn endless_loops(stage: Arc<Stage>) -> String {
    spinning(&stage, "spin", 8).await
}

/// An extension has a turn of many, not one for each of its calls.
async fn all_calls(stage: Arc<Stage>) -> String {
    spinning(&stage, "spin", 16).await
}

/// Epochs count even for a guest that has waited shortly before.
async fn fidgets(stage: Arc<Stage>) -> String {
    spinning(&stage, "fidget", 16).await
}

async fn spinning(stage: &Stage, guest: &str, calls: usize) -> String {
    let extension = stage.guest(guest, "{limits: {instances: 16, cpu: 200ms, deadline: 1m}}").await;
    let calls = (0..calls).map(|_| {
        let extension = extension.clone();
        tokio::spawn(async move { run(&extension, &[]).await })
    });
    let mut answered = String::new();
    for ran in calls.collect::<Vec<_>>() {
        answered = stage.limited(&ran.await.unwrap(), Limit::Cpu);
    }
    format!("each {answered}")
}

/// One instruction on the whole memory, which cannot be interrupted.
async fn bulk(stage: Arc<Stage>) -> String {
    let module = r#"(memory 960)
        (func (export "run") (result i32)
            (loop $again
                (memory.fill (i32.const 0) (i32.const 7) (i32.const 0x3c00000))
                (memory.copy (i32.const 0x1e00000) (i32.const 0) (i32.const 0x1e00000))
                (br $again))
            unreachable)"#;
    let extension = stage.component(&command(module), "{limits: {cpu: 500ms, deadline: 1m}}").await.unwrap();
    stage.limited(&run(&extension, &[]).await, Limit::Cpu)
}

async fn sleep(stage: Arc<Stage>) -> String {
    let extension = stage.guest("sleep-long", "{limits: {deadline: 500ms}}").await;
    in_time(&stage, &run(&extension, &[]).await)
}

/// Asserts that the call was ended at its deadline, and not much later.
fn in_time(stage: &Stage, ran: &Ran) -> String {
    assert!(ran.elapsed < LATE, "{:?}", ran.elapsed);
    stage.limited(ran, Limit::Deadline)
}

/// Calls an extension with these streams.
async fn given(stage: &Stage, name: &str, arguments: &[&str], call: impl FnOnce(Invocation) -> Invocation) -> Ran {
    let extension = stage.guest(name, &opening("{deadline: 500ms}")).await;
    let begun = std::time::Instant::now();
    let ended = extension.run(call(Invocation::new().args(arguments.iter().copied()))).await;
    Ran { ended, out: String::new(), elapsed: begun.elapsed() }
}

async fn stdin(stage: Arc<Stage>) -> String {
    let (mut ours, theirs) = tokio::io::duplex(64);
    ours.write_all(b"the beginning of what never goes on").await.unwrap();
    let ran = given(&stage, "env-args-stdio", &[], |call| call.stdin(AsyncStdinStream::new(theirs))).await;
    in_time(&stage, &ran)
}

async fn unread_output(stage: Arc<Stage>) -> String {
    let (_ours, theirs) = tokio::io::duplex(64);
    let ran = given(&stage, "flood", &["stdout"], |call| call.stdout(AsyncStdoutStream::new(1024, theirs))).await;
    in_time(&stage, &ran)
}

async fn change(stage: Arc<Stage>) -> String {
    let extension = stage.guest("metadata-calls", "{podinfo: {}, limits: {deadline: 500ms}}").await;
    let ran = run(&extension, &["follow", "2"]).await;
    assert_eq!(ran.out.lines().count(), 1, "{}", ran.out);
    in_time(&stage, &ran)
}

async fn server(stage: Arc<Stage>) -> String {
    let slow = "/api/v1/namespaces/demo/pods/slow";
    stage.server.faults().next(Fault::Latency(Duration::from_secs(30)), slow, 1);
    let extension = stage.guest("api-calls", &opening("{deadline: 500ms}")).await;
    let answered = in_time(&stage, &run(&extension, &["get", "v1/pods", "demo", "slow"]).await);
    let records = stage.audit.of("attacker");
    assert!(records.iter().any(|record| record["path"] == slow && record["verdict"] == "allowed"), "{records:?}");
    answered
}
