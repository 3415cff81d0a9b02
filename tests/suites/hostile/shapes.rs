//! Components of odd shapes: that trap wherever the host calls them, call back where they must not, or write into the log.

use std::sync::Arc;

use attache::extension::{LoadError, RunError};
use attache::policy::Limit;
use attache::telemetry::{chain, legible};

use super::limits::command;
use super::stage::{Stage, run};
use super::{Attack, attacks};

pub(crate) const ALL: &[Attack] = attacks! {
    "trap in the export" => export,
    "trap while it is instantiated" => start,
    "endless loop while it is instantiated" => endless_start,
    "trap while the host hands something over" => realloc,
    "endless loop while the host hands something over" => endless_realloc,
    "call of the host while it hands something over" => reentrant,
    "memory that is not there for an answer" => out_of_bounds,
    "more parts than a component may have" => many_parts,
    "names that are commands to a terminal" => names,
    "exports of the wrong type" => wrong_type,
    "bytes that are no component" => garbage,
};

async fn ended(stage: &Stage, text: &str, spec: &str) -> RunError {
    let extension = stage.component(text, spec).await.unwrap();
    run(&extension, &[]).await.ended.expect_err("the call is ended")
}

async fn export(stage: Arc<Stage>) -> String {
    for body in ["unreachable", "(i32.div_u (i32.const 1) (i32.const 0))", "(i32.const 7)", "(i32.load (i32.const -4))"]
    {
        let module = format!(r#"(memory 1) (func (export "run") (result i32) {body})"#);
        let error = ended(&stage, &command(&module), "{}").await;
        assert!(matches!(error, RunError::Trap(_)), "{body}: {error:?}");
    }
    "trap; the next call is a fresh instance".to_owned()
}

const RETURNS: &str = r#"(func (export "run") (result i32) i32.const 0)"#;

async fn start(stage: Arc<Stage>) -> String {
    let error = ended(&stage, &command(&format!("(func $s unreachable) (start $s) {RETURNS}")), "{}").await;
    assert!(matches!(error, RunError::Instantiate(_)), "{error:?}");
    "not instantiated".to_owned()
}

async fn endless_start(stage: Arc<Stage>) -> String {
    let module = format!("(func $s (loop $l (br $l))) (start $s) {RETURNS}");
    let extension = stage.component(&command(&module), "{limits: {cpu: 300ms}}").await.unwrap();
    stage.limited(&run(&extension, &[]).await, Limit::Cpu)
}

/// A component that asks for its environment, and does this when the host asks it for room.
fn asking(realloc: &str) -> String {
    format!(
        r#"(component
            (import "wasi:cli/environment@0.2.12" (instance $env
                (export "get-arguments" (func (result (list string))))))
            (core module $memory
                (memory (export "memory") 1)
                (table (export "calls") 1 funcref)
                (type $ask (func (param i32)))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc}))
            (core instance $mem (instantiate $memory))
            (core func $get (canon lower (func $env "get-arguments")
                (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
            (core module $m
                (import "" "get" (func $get (param i32)))
                (import "" "calls" (table 1 funcref))
                (elem (i32.const 0) $get)
                (func (export "run") (result i32) (call $get (i32.const 8)) i32.const 0))
            (core instance $i (instantiate $m (with "" (instance
                (export "get" (func $get)) (export "calls" (table $mem "calls"))))))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.12" (instance $cli)))"#
    )
}

async fn realloc(stage: Arc<Stage>) -> String {
    let error = ended(&stage, &asking("unreachable"), "{}").await;
    assert!(matches!(error, RunError::Trap(_)), "{error:?}");
    "trap".to_owned()
}

async fn endless_realloc(stage: Arc<Stage>) -> String {
    let text = asking("(loop $l (br $l)) unreachable");
    let extension = stage.component(&text, "{limits: {cpu: 300ms}}").await.unwrap();
    stage.limited(&run(&extension, &[]).await, Limit::Cpu)
}

async fn reentrant(stage: Arc<Stage>) -> String {
    let text = asking("(call_indirect (type $ask) (i32.const 8) (i32.const 0)) i32.const 64");
    let error = ended(&stage, &text, "{}").await;
    let RunError::Trap(trap) = &error else { panic!("{error:?}") };
    assert!(trap.root_cause().to_string().contains("cannot leave component instance"), "{trap:?}");
    "trap: cannot leave component instance".to_owned()
}

async fn out_of_bounds(stage: Arc<Stage>) -> String {
    for place in ["i32.const -8", "i32.const 65532", "i32.const 3"] {
        let error = ended(&stage, &asking(place), "{}").await;
        assert!(matches!(error, RunError::Trap(_)), "{place}: {error:?}");
    }
    "trap".to_owned()
}

async fn many_parts(stage: Arc<Stage>) -> String {
    let many = "(core instance (instantiate $m))".repeat(100);
    let text = command(RETURNS).replace("(core instance $i", &format!("{many} (core instance $i"));
    let refused = match stage.component(&text, "{}").await {
        Err(error) => chain(&error).to_string(),
        Ok(extension) => {
            let error = run(&extension, &[]).await.ended.expect_err("too many instances");
            assert!(matches!(error, RunError::Instantiate(_)), "{error:?}");
            chain(&error).to_string()
        }
    };
    format!("refused: {refused}")
}

/// The name section is the guest's own text, and stands in the backtrace of its trap.
async fn names(stage: Arc<Stage>) -> String {
    let name = r"\1b]0;owned\07\1b[31m\0d\0aerror: your token is expired\e2\80\ae";
    let module = format!(r#"(func $run (@name "{name}") (export "run") (result i32) unreachable)"#);
    let error = ended(&stage, &command(&module), "{}").await;
    let RunError::Trap(trap) = &error else { panic!("{error:?}") };
    let said: Vec<String> = trap.chain().map(ToString::to_string).collect();
    assert!(said.iter().any(|text| text.contains("owned")), "the backtrace has the name: {said:?}");
    let line = chain(&error).to_string();
    assert!(!line.chars().any(|letter| letter.is_control() || letter == '\u{202e}'), "{line:?}");
    for text in said {
        assert!(!legible(&text).chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
    }
    "trap; escaped in logs".to_owned()
}

async fn wrong_type(stage: Arc<Stage>) -> String {
    let text = r#"(component
        (core module $m (func (export "run") (param i32) (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $run (param "x" u32) (result u32) (canon lift (core func $i "run")))
        (instance $cli (export "run" (func $run)))
        (export "wasi:cli/run@0.2.12" (instance $cli)))"#;
    let error = ended(&stage, text, "{}").await;
    assert!(matches!(error, RunError::Instantiate(_)), "{error:?}");
    let error = stage.component("(component)", "{}").await.unwrap_err();
    assert!(matches!(error, LoadError::NoCommand { .. }), "{error:?}");
    "not instantiated".to_owned()
}

/// Each byte of a small component in turn changed, and the component cut at each: nothing of it may bring the host down.
async fn garbage(stage: Arc<Stage>) -> String {
    let whole = wat::parse_str(command(RETURNS)).unwrap();
    let mut refused = 0;
    let changed = (0..whole.len()).step_by(3).flat_map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x55;
        [flipped, whole[..at].to_vec()]
    });
    for bytes in changed.collect::<Vec<_>>() {
        match stage.load(bytes, "{}").await {
            Err(_) => refused += 1,
            Ok(extension) => drop(run(&extension, &[]).await),
        }
    }
    format!("{refused} refused")
}
