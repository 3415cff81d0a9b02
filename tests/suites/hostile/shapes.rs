//! Components of odd shapes: that trap wherever the host calls them, call back where they must not, or write into the
//! log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use attache::extension::{CallError, LoadError};
use attache::policy::Limit;
use attache::telemetry::{chain, legible};

use super::limits::command;
use super::stage::{Stage, opening, run};
use super::{Attack, attacks};

pub(crate) const ALL: &[Attack] = attacks! {
    "trap in the export" => export,
    "trap while it is instantiated" => start,
    "endless loop while it is instantiated" => endless_start,
    "trap while the host hands something over" => realloc,
    "endless loop while the host hands something over" => endless_realloc,
    "call of the host while it hands something over" => reentrant,
    "trap while an answer of the API is handed over" => api_realloc,
    "call of the API while its answer is handed over" => api_reentrant,
    "trap after the export has returned" => post_return,
    "trap in a destructor" => destructor,
    "memory that is not there for an answer" => out_of_bounds,
    "more parts than a component may have" => many_parts,
    "names that are commands to a terminal" => names,
    "a name that stands for gigabytes" => long_name,
    "exports of the wrong type" => wrong_type,
    "bytes that are no component" => garbage,
};

async fn ended(stage: &Stage, text: &str, spec: &str) -> CallError {
    let extension = stage.component(text, spec).await.unwrap();
    run(&extension, &[]).await.ended.expect_err("the call is ended")
}

async fn export(stage: Arc<Stage>) -> String {
    for body in ["unreachable", "(i32.div_u (i32.const 1) (i32.const 0))", "(i32.const 7)", "(i32.load (i32.const -4))"]
    {
        let module = format!(r#"(memory 1) (func (export "run") (result i32) {body})"#);
        let error = ended(&stage, &command(&module), "{}").await;
        assert!(matches!(error, CallError::Trap(_)), "{body}: {error:?}");
    }
    "trap; the next call is a fresh instance".to_owned()
}

const RETURNS: &str = r#"(func (export "run") (result i32) i32.const 0)"#;

async fn start(stage: Arc<Stage>) -> String {
    let error = ended(&stage, &command(&format!("(func $s unreachable) (start $s) {RETURNS}")), "{}").await;
    assert!(matches!(error, CallError::Instantiate(_)), "{error:?}");
    "not instantiated".to_owned()
}

async fn endless_start(stage: Arc<Stage>) -> String {
    let module = format!("(func $s (loop $l (br $l))) (start $s) {RETURNS}");
    let extension = stage.component(&command(&module), "{limits: {cpu: 300ms}}").await.unwrap();
    stage.limited(&run(&extension, &[]).await, Limit::Cpu)
}

/// Returns a component that asks for its environment, and does this when the host calls its `realloc`.
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
    assert!(matches!(error, CallError::Trap(_)), "{error:?}");
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
    let CallError::Trap(trap) = &error else { panic!("{error:?}") };
    assert!(trap.root_cause().to_string().contains("cannot leave component instance"), "{trap:?}");
    "trap: cannot leave component instance".to_owned()
}

/// Returns a component that asks for a type's names, and does this when the host calls its `realloc`.
fn resolving(realloc: &str) -> String {
    format!(
        r#"(component
            (import "attache:pod/api@0.1.0" (instance $api
                (type $of' (record (field "group" string) (field "version" string) (field "plural" string)))
                (export "resource-type" (type $of (eq $of')))
                (type $texts (list string))
                (type $info' (record (field "of" $of) (field "kind" string) (field "singular" string)
                    (field "short-names" $texts) (field "categories" $texts) (field "namespaced" bool)
                    (field "verbs" $texts) (field "subresources" $texts) (field "preferred" bool)))
                (export "resource-info" (type $info (eq $info')))
                (type $json (list u8))
                (type $body (option $json))
                (type $status' (record (field "code" u16) (field "reason" string) (field "message" string)
                    (field "body" $body)))
                (export "status" (type $status (eq $status')))
                (type $error' (variant (case "denied" string) (case "throttled" u64) (case "too-large" u64)
                    (case "invalid" string) (case "refused" $status) (case "unavailable" string)))
                (export "error" (type $error (eq $error')))
                (export "resolve" (func (param "name" string) (result (result $info (error $error)))))))
            (core module $memory
                (memory (export "memory") 1)
                (data (i32.const 0) "pods")
                (table (export "calls") 1 funcref)
                (type $ask (func (param i32 i32 i32)))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) {realloc}))
            (core instance $mem (instantiate $memory))
            (core func $resolve (canon lower (func $api "resolve")
                (memory (core memory $mem "memory")) (realloc (core func $mem "realloc"))))
            (core module $m
                (import "" "resolve" (func $resolve (param i32 i32 i32)))
                (import "" "calls" (table 1 funcref))
                (elem (i32.const 0) $resolve)
                (func (export "run") (result i32)
                    (call $resolve (i32.const 0) (i32.const 4) (i32.const 8)) i32.const 0))
            (core instance $i (instantiate $m (with "" (instance
                (export "resolve" (func $resolve)) (export "calls" (table $mem "calls"))))))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.12" (instance $cli)))"#
    )
}

async fn api_realloc(stage: Arc<Stage>) -> String {
    let spec = opening("{cpu: 300ms}");
    for body in ["unreachable", "i32.const -8", "i32.const 65535"] {
        let error = ended(&stage, &resolving(body), &spec).await;
        assert!(matches!(error, CallError::Trap(_)), "{body}: {error:?}");
    }
    let extension = stage.component(&resolving("(loop $l (br $l)) unreachable"), &spec).await.unwrap();
    let stopped = stage.limited(&run(&extension, &[]).await, Limit::Cpu);
    format!("trap; a loop there is {stopped}")
}

/// The gate is asked again only after the pending answer has arrived.
async fn api_reentrant(stage: Arc<Stage>) -> String {
    let again = "(call_indirect (type $ask) (i32.const 0) (i32.const 4) (i32.const 256) (i32.const 0)) i32.const 512";
    let error = ended(&stage, &resolving(again), &opening("{}")).await;
    let CallError::Trap(trap) = &error else { panic!("{error:?}") };
    assert!(trap.root_cause().to_string().contains("cannot leave component instance"), "{trap:?}");
    "trap: cannot leave component instance".to_owned()
}

/// Returns a component whose export has returned when this runs.
fn returning(after: &str) -> String {
    format!(
        r#"(component
            (core module $m
                (func (export "run") (result i32) i32.const 0)
                (func (export "after") (param i32) {after}))
            (core instance $i (instantiate $m))
            (func $run (result (result)) (canon lift (core func $i "run") (post-return (core func $i "after"))))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.12" (instance $cli)))"#
    )
}

async fn post_return(stage: Arc<Stage>) -> String {
    let error = ended(&stage, &returning("unreachable"), "{}").await;
    assert!(matches!(error, CallError::Trap(_)), "{error:?}");
    let extension = stage.component(&returning("(loop $l (br $l))"), "{limits: {cpu: 300ms}}").await.unwrap();
    let stopped = stage.limited(&run(&extension, &[]).await, Limit::Cpu);
    format!("trap; a loop there is {stopped}")
}

/// Returns a component that drops a resource of its own, with this for its destructor.
fn destroying(destructor: &str) -> String {
    format!(
        r#"(component
            (core module $d (func (export "destroy") (param i32) {destructor}))
            (core instance $d (instantiate $d))
            (type $r (resource (rep i32) (dtor (core func $d "destroy"))))
            (core func $new (canon resource.new $r))
            (core func $drop (canon resource.drop $r))
            (core module $m
                (import "" "new" (func $new (param i32) (result i32)))
                (import "" "drop" (func $drop (param i32)))
                (func (export "run") (result i32) (call $drop (call $new (i32.const 1))) i32.const 0))
            (core instance $i (instantiate $m (with "" (instance
                (export "new" (func $new)) (export "drop" (func $drop))))))
            (func $run (result (result)) (canon lift (core func $i "run")))
            (instance $cli (export "run" (func $run)))
            (export "wasi:cli/run@0.2.12" (instance $cli)))"#
    )
}

async fn destructor(stage: Arc<Stage>) -> String {
    let error = ended(&stage, &destroying("unreachable"), "{}").await;
    assert!(matches!(error, CallError::Trap(_)), "{error:?}");
    let extension = stage.component(&destroying("(loop $l (br $l))"), "{limits: {cpu: 300ms}}").await.unwrap();
    let stopped = stage.limited(&run(&extension, &[]).await, Limit::Cpu);
    format!("trap; a loop there is {stopped}")
}

async fn out_of_bounds(stage: Arc<Stage>) -> String {
    for place in ["i32.const -8", "i32.const 65532", "i32.const 3"] {
        let error = ended(&stage, &asking(place), "{}").await;
        assert!(matches!(error, CallError::Trap(_)), "{place}: {error:?}");
    }
    "trap".to_owned()
}

async fn many_parts(stage: Arc<Stage>) -> String {
    let many = "(core instance (instantiate $m))".repeat(300);
    let text = command(RETURNS).replace("(core instance $i", &format!("{many} (core instance $i"));
    let refused = match stage.component(&text, "{}").await {
        Err(error) => chain(&error).to_string(),
        Ok(extension) => {
            let error = run(&extension, &[]).await.ended.expect_err("too many instances");
            assert!(matches!(error, CallError::Instantiate(_)), "{error:?}");
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
    let CallError::Trap(trap) = &error else { panic!("{error:?}") };
    let said: Vec<String> = trap.chain().map(ToString::to_string).collect();
    assert!(said.iter().any(|text| text.contains("owned")), "the backtrace has the name: {said:?}");
    let line = chain(&error).to_string();
    assert!(!line.chars().any(|letter| letter.is_control() || letter == '\u{202e}'), "{line:?}");
    for text in said {
        assert!(!legible(&text).chars().any(|letter| letter.is_control() && letter != '\n'), "{text:?}");
    }
    "trap; escaped in logs".to_owned()
}

/// Returns a C++ symbol in which each type is made of two of the previous type. The length of its meaning doubles with
/// each ten bytes.
fn doubling_symbol(times: usize) -> String {
    let digits = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let twice = |digit: &u8| format!("S_IS{0}_S{0}_E", char::from(*digit));
    let types: String = digits.iter().take(times).map(twice).collect();
    format!("_Z1f1AIiiE{types}")
}

async fn long_name(stage: Arc<Stage>) -> String {
    let symbol = doubling_symbol(34);
    let module = format!(r#"(func $run (@name "{symbol}") (export "run") (result i32) unreachable)"#);
    let error = ended(&stage, &command(&module), "{}").await;
    let CallError::Trap(trap) = &error else { panic!("{error:?}") };
    let begun = Instant::now();
    assert!(chain(&error).to_string().contains(&symbol[..20]));
    for cause in trap.chain() {
        assert!(legible(cause).len() < 64 << 10);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    format!("trap; the {} bytes of it as they are", symbol.len())
}

async fn wrong_type(stage: Arc<Stage>) -> String {
    let text = r#"(component
        (core module $m (func (export "run") (param i32) (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func $run (param "x" u32) (result u32) (canon lift (core func $i "run")))
        (instance $cli (export "run" (func $run)))
        (export "wasi:cli/run@0.2.12" (instance $cli)))"#;
    let error = ended(&stage, text, "{}").await;
    assert!(matches!(error, CallError::Instantiate(_)), "{error:?}");
    let error = stage.component("(component)", "{}").await.unwrap_err();
    assert!(matches!(error, LoadError::OtherWorld { .. }), "{error:?}");
    "not instantiated".to_owned()
}

/// A small component with each byte in turn changed, and cut at each byte. None of them may crash the host.
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
