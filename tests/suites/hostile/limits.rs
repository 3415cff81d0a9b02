//! Guests that take more than they are given: memory, tables, stack, instances, and what the host sets aside for them.

use std::sync::Arc;

use attache::extension::{CallError, LoadError};
use attache::policy::Limit;

use super::stage::{Stage, opening, run};
use super::{Attack, attacks};

pub(crate) const ALL: &[Attack] = attacks! {
    "memory bomb" => memory,
    "memory that is too large from the start" => large_from_the_start,
    "memories and tables that are too large for any instance" => larger_than_any,
    "two memories that are too large together" => two_memories,
    "table bomb" => table,
    "many tables" => many_tables,
    "stack bomb" => stack,
    "more calls at once than granted" => instances,
    "an argument as large as the memory" => large_argument,
    "random bytes by the gigabyte" => random,
    "a list of a million handles" => handles,
    "output in one enormous piece" => output,
};

async fn memory(stage: Arc<Stage>) -> String {
    let extension = stage.guest("memory-hog", "{limits: {memory: 8Mi}}").await;
    let ran = run(&extension, &[]).await;
    let outcome = ran.ended.as_ref().unwrap();
    let reached = outcome.reached.expect("a growth was refused");
    assert_eq!((reached.limit, outcome.code), (Limit::Memory, 1), "{}", ran.out);
    assert!(outcome.memory <= 8 << 20, "{outcome:?}");
    stage.told(Limit::Memory, false);
    format!("memory.grow refused at {reached}")
}

/// Returns a component that runs this core module, which exports `run` and may export `memory`.
pub(crate) fn command(module: &str) -> String {
    format!(
        r#"(component
            (core module $m {module})
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.12" (instance $cli)))"#
    )
}

const RETURNS: &str = r#"(func (export "run") (result i32) i32.const 0)"#;

async fn ended_at(stage: &Stage, module: &str, spec: &str, limit: Limit) -> String {
    let extension = stage.component(&command(module), spec).await.unwrap();
    stage.limited(&run(&extension, &[]).await, limit)
}

async fn large_from_the_start(stage: Arc<Stage>) -> String {
    ended_at(&stage, &format!("(memory 200) {RETURNS}"), "{limits: {memory: 8Mi}}", Limit::Memory).await
}

/// Components that are refused when they are loaded, before an instance is made.
async fn larger_than_any(stage: Arc<Stage>) -> String {
    let mut answers = Vec::new();
    for (module, answer) in [
        ("(memory 20000)", "the component begins with 1250Mi of memory, beyond this host's limit of memory: 1Gi"),
        (
            "(table 4000000000 funcref)",
            "the component begins with 4000000000 elements in a table, beyond this host's limit of tableElements: 100000",
        ),
    ] {
        let refused = stage.component(&command(&format!("{module} {RETURNS}")), "{}").await.unwrap_err();
        let LoadError::ExceedsLimit { reached, .. } = &refused else { panic!("{module}: {refused:?}") };
        let remedy = ": no grant raises it, only the host itself, by its engine's settings and its ceiling";
        assert_eq!(refused.to_string(), format!("{answer}{remedy}"));
        answers.push(reached.to_string());
    }
    // What is the engine's largest is loaded, and ends at the grant's.
    let largest = format!("(memory 16384) (table 100000 funcref) {RETURNS}");
    ended_at(&stage, &largest, "{}", Limit::Memory).await;
    format!("not loaded at {}", answers.join(" and "))
}

async fn two_memories(stage: Arc<Stage>) -> String {
    let modules = r#"(component
        (core module $a (memory 100))
        (core module $b (memory 100) (func (export "run") (result i32) i32.const 0))
        (core instance $x (instantiate $a))
        (core instance $y (instantiate $b))
        (func $run (result (result)) (canon lift (core func $y "run")))
        (instance $cli (export "run" (func $run)))
        (export "wasi:cli/run@0.2.12" (instance $cli)))"#;
    let extension = stage.component(modules, "{limits: {memory: 8Mi}}").await.unwrap();
    stage.limited(&run(&extension, &[]).await, Limit::Memory)
}

async fn table(stage: Arc<Stage>) -> String {
    let bomb = r#"(table $t 1 funcref)
        (func (export "run") (result i32)
            (loop $more
                (br_if $more (i32.ne (table.grow $t (ref.null func) (i32.const 100)) (i32.const -1))))
            unreachable)"#;
    ended_at(&stage, bomb, "{limits: {tableElements: 1000}}", Limit::TableElements).await
}

async fn many_tables(stage: Arc<Stage>) -> String {
    let tables = "(table 400 funcref) (table 400 funcref) (table 400 funcref)";
    ended_at(&stage, &format!("{tables} {RETURNS}"), "{limits: {tableElements: 1000}}", Limit::TableElements).await
}

async fn stack(stage: Arc<Stage>) -> String {
    let deeper = r#"(func $deeper (param i32) (result i32)
            (i32.add (call $deeper (i32.add (local.get 0) (i32.const 1))) (local.get 0)))
        (func (export "run") (result i32) (call $deeper (i32.const 0)))"#;
    let answered = ended_at(&stage, deeper, "{}", Limit::Stack).await;
    // A program's own stack lies in its memory, and most often ends first.
    let extension = stage.guest("trap", "{}").await;
    let ran = run(&extension, &["stack"]).await;
    assert!(matches!(ran.ended, Err(CallError::Trap(_))), "{:?}", ran.ended);
    answered
}

async fn instances(stage: Arc<Stage>) -> String {
    let extension = stage.guest("sleep-long", "{limits: {instances: 4, deadline: 500ms}}").await;
    let calls = (0..40).map(|_| {
        let extension = extension.clone();
        tokio::spawn(async move { run(&extension, &[]).await.ended })
    });
    let mut refused = 0;
    for call in calls.collect::<Vec<_>>() {
        refused += u32::from(matches!(call.await.unwrap(), Err(CallError::Busy { instances: 4 })));
    }
    assert!(refused >= 30, "{refused}");
    stage.told(Limit::Instances, true);
    format!("{refused} of 40 refused at instances: 4")
}

const WIDE: &str = "{memory: 128Mi, hostcallBytes: 1Mi, cpu: 5s}";

async fn large_argument(stage: Arc<Stage>) -> String {
    let extension = stage.guest("enormous", &opening(WIDE)).await;
    stage.limited(&run(&extension, &["label", "33554432"]).await, Limit::HostcallBytes)
}

async fn random(stage: Arc<Stage>) -> String {
    let extension = stage.guest("enormous", &opening(WIDE)).await;
    let ran = run(&extension, &["random", "1073741824"]).await;
    let error = ran.ended.expect_err("more than the host makes at once");
    assert!(matches!(error, CallError::Trap(_)), "{error:?}");
    "trap: 256 KiB at a time".to_owned()
}

async fn handles(stage: Arc<Stage>) -> String {
    let extension = stage.guest("enormous", &opening(WIDE)).await;
    stage.limited(&run(&extension, &["poll", "4194304"]).await, Limit::HostcallBytes)
}

async fn output(stage: Arc<Stage>) -> String {
    let extension = stage.guest("enormous", &opening(&WIDE.replace("1Mi", "64Mi"))).await;
    let ran = run(&extension, &["write", "33554432"]).await;
    assert!(matches!(ran.ended, Err(CallError::Trap(_))), "{:?}", ran.ended);
    assert!(ran.out.is_empty());
    "trap: more than check-write allowed".to_owned()
}
