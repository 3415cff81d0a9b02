//! Guests that keep handles, and guests that drop them wrongly.

use std::sync::Arc;

use attache::extension::CallError;
use attache::policy::Limit;

use super::stage::{Stage, opening, run};
use super::{Attack, attacks};

pub(crate) const ALL: &[Attack] = attacks! {
    "leak of open files" => files,
    "leak of pollables" => pollables,
    "leak of streams" => streams,
    "leak of followers" => followers,
    "leak of collections" => collections,
    "leak of resources of its own" => own,
    "a parent dropped before its child" => parent_first,
    "a pollable of something that is gone" => orphan,
    "parts of a watch dropped in the wrong order" => watch,
    "parts of a request dropped in the wrong order" => http,
    "handles that it never had" => forged,
};

const LIMITS: &str = "{handles: 256, cpu: 5s}";

async fn leak(stage: &Stage, arguments: &[&str]) -> String {
    let extension = stage.guest("leak", &opening(LIMITS)).await;
    stage.limited(&run(&extension, arguments).await, Limit::Handles)
}

async fn files(stage: Arc<Stage>) -> String {
    leak(&stage, &["files", "/etc/podinfo/labels"]).await
}

async fn pollables(stage: Arc<Stage>) -> String {
    leak(&stage, &["pollables"]).await
}

async fn streams(stage: Arc<Stage>) -> String {
    leak(&stage, &["streams"]).await
}

async fn followers(stage: Arc<Stage>) -> String {
    leak(&stage, &["followers"]).await
}

async fn collections(stage: Arc<Stage>) -> String {
    leak(&stage, &["collections"]).await
}

/// The table of the component model, which holds a component's own resources, is the host's memory as well.
async fn own(stage: Arc<Stage>) -> String {
    let text = r#"(component
        (type $r (resource (rep i32)))
        (core func $new (canon resource.new $r))
        (core module $m
            (import "" "new" (func $new (param i32) (result i32)))
            (func (export "run") (result i32)
                (loop $more (drop (call $new (i32.const 1))) (br $more))
                unreachable))
        (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $cli (export "run" (func $run)))
        (export "wasi:cli/run@0.2.12" (instance $cli)))"#;
    let extension = stage.component(text, &opening(LIMITS)).await.unwrap();
    stage.limited(&run(&extension, &[]).await, Limit::Handles)
}

async fn trapped(stage: &Stage, order: &str) {
    let extension = stage.guest("wrong-order", &opening(LIMITS)).await;
    let ran = run(&extension, &[order]).await;
    assert!(matches!(ran.ended, Err(CallError::Trap(_))), "{order}: {:?} {}", ran.ended, ran.out);
}

async fn parent_first(stage: Arc<Stage>) -> String {
    trapped(&stage, "follower").await;
    trapped(&stage, "stream").await;
    "trap".to_owned()
}

async fn orphan(stage: Arc<Stage>) -> String {
    trapped(&stage, "waiting").await;
    "trap".to_owned()
}

/// Asserts that an order of calls that the interfaces allow does no harm.
async fn unharmed(stage: &Stage, order: &str) {
    let extension = stage.guest("wrong-order", &opening(LIMITS).replace("list]", "list, watch]")).await;
    let ran = run(&extension, &[order]).await;
    assert!(ran.ended.is_ok() && ran.out.contains("nothing happened"), "{order}: {:?} {}", ran.ended, ran.out);
}

async fn watch(stage: Arc<Stage>) -> String {
    unharmed(&stage, "collection").await;
    let extension = stage.guest("wrong-order", &opening(LIMITS).replace("list]", "list, watch]")).await;
    let ran = run(&extension, &["watch"]).await;
    assert!(matches!(ran.ended, Err(CallError::Trap(_))), "{:?} {}", ran.ended, ran.out);
    assert_eq!(stage.cluster.watch_figures().followers, 0, "nobody follows any more");
    "trap; a collection may go first".to_owned()
}

async fn http(stage: Arc<Stage>) -> String {
    for order in ["upload", "answer", "future"] {
        trapped(&stage, order).await;
    }
    unharmed(&stage, "request").await;
    "trap; a request may go first".to_owned()
}

/// Numbers that are no handles, a handle that is dropped twice, and a handle of another type.
async fn forged(stage: Arc<Stage>) -> String {
    let tricks = [
        "(call $drop (i32.const 0))",
        "(call $drop (i32.const -1))",
        "(call $drop (i32.const 77))",
        "(local.set $h (call $new (i32.const 1))) (call $drop (local.get $h)) (call $drop (local.get $h))",
        "(drop (call $rep (i32.const 5)))",
        "(local.set $h (call $new (i32.const 1))) (call $drop-other (local.get $h))",
    ];
    for trick in tricks {
        let text = format!(
            r#"(component
                (type $r (resource (rep i32)))
                (type $other (resource (rep i32)))
                (core func $new (canon resource.new $r))
                (core func $rep (canon resource.rep $r))
                (core func $drop (canon resource.drop $r))
                (core func $drop-other (canon resource.drop $other))
                (core module $m
                    (import "" "new" (func $new (param i32) (result i32)))
                    (import "" "rep" (func $rep (param i32) (result i32)))
                    (import "" "drop" (func $drop (param i32)))
                    (import "" "drop-other" (func $drop-other (param i32)))
                    (func (export "run") (result i32) (local $h i32) {trick} i32.const 0))
                (core instance $i (instantiate $m (with "" (instance
                    (export "new" (func $new)) (export "rep" (func $rep)) (export "drop" (func $drop))
                    (export "drop-other" (func $drop-other))))))
                (func $run (result (result)) (canon lift (core func $i "run")))
                (instance $cli (export "run" (func $run)))
                (export "wasi:cli/run@0.2.12" (instance $cli)))"#
        );
        let extension = stage.component(&text, &opening(LIMITS)).await.unwrap();
        let ran = run(&extension, &[]).await;
        assert!(matches!(ran.ended, Err(CallError::Trap(_))), "{trick}: {:?}", ran.ended);
    }
    format!("trap, {} times", tricks.len())
}
