//! Components that are an attack on their compiler: nothing of them ever runs.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use attache::engine::{CompilerProcess, EngineError, Excess};
use attache::extension::{LoadError, Runtime};
use attache::policy::Grant;
use attache_tests::{attache, guest};

use super::stage::{Stage, run};
use super::{Attack, attacks};

pub(super) const ALL: &[Attack] = attacks![
    "types within types" => inner_types,
    "instances within instances" => inner_instances,
    "components within components" => inner_components,
    "components that double" => doubling,
    "a component as an argument" => argument,
    "functions without end" => functions,
    "tables filled without end" => elements,
    "a compiler with too little memory" => memory,
    "a compiler with too little time" => time,
];

/// What has no end that the compiler is asked for.
async fn refused(stage: &Stage, component: Vec<u8>) -> EngineError {
    match stage.load(component, "{}").await.unwrap_err() {
        LoadError::Engine(error) => error,
        error => panic!("{error:?}"),
    }
}

async fn excess(stage: &Stage, component: Vec<u8>, expected: Excess) -> String {
    let EngineError::Excess(excess) = refused(stage, component).await else { panic!("no excess") };
    assert_eq!(excess, expected);
    format!("not compiled: {excess}")
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// A number as binaries have it (LEB128).
fn number(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        bytes.push(if number == 0 { low } else { low | 0x80 });
        if number == 0 {
            return bytes;
        }
    }
}

/// A component of one section.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0", [id].as_slice(), &number(content.len()), content].concat()
}

/// An instance type in an instance type, and so on; or component types.
fn nested_type(kind: u8, levels: usize) -> Vec<u8> {
    let levels = [kind, 0x01, 0x01].repeat(levels);
    section(7, &[&[0x01], levels.as_slice(), &[kind, 0x00]].concat())
}

async fn inner_types(stage: Arc<Stage>) -> String {
    for kind in [0x41, 0x42] {
        // Those that are let through meet the compiler's own judgement, and no end of a stack.
        for levels in [90, 150, 249] {
            stage.load(nested_type(kind, levels), "{}").await.unwrap_err();
        }
        excess(&stage, nested_type(kind, 100_000), Excess::InnerTypes).await;
    }
    // The same, spread over components.
    let inner = format!("(component {})", "(type (instance (type (instance)) (type (component))))".repeat(300));
    excess(&stage, text(&format!("(component {inner} {inner})")), Excess::InnerTypes).await
}

async fn inner_instances(stage: Arc<Stage>) -> String {
    let mut chain = "(component (instance $i0)".to_owned();
    for at in 1..300 {
        write!(chain, r#"(instance $i{at} (export "a" (instance $i{})))"#, at - 1).unwrap();
    }
    chain.push(')');
    let error = refused(&stage, text(&chain)).await;
    assert!(matches!(error, EngineError::Panicked(_) | EngineError::Compile(_)), "{error:?}");
    // The compiler is none the worse for it.
    stage.guest("empty", "{}").await;
    "not compiled".to_owned()
}

async fn inner_components(stage: Arc<Stage>) -> String {
    let nested = (0..2000).fold(b"\0asm\x0d\0\x01\0".to_vec(), |inner, _| section(4, &inner));
    excess(&stage, nested, Excess::Nesting).await
}

/// Thirty components, each of which has two instances of the one before: a thousand million of the first.
async fn doubling(stage: Arc<Stage>) -> String {
    let mut component = "(component $root (component $c0)".to_owned();
    for at in 1..30 {
        let twice = "(instance (instantiate $p))".repeat(2);
        write!(component, "(component $c{at} (alias outer $root $c{} (component $p)) {twice})", at - 1).unwrap();
    }
    excess(&stage, text(&format!("{component} (instance (instantiate $c29)))")), Excess::Parts).await
}

/// How often an argument is used cannot be counted where it is given.
async fn argument(stage: Arc<Stage>) -> String {
    let taken = r#"(component (component (import "a" (component $a)) (instance (instantiate $a))))"#;
    excess(&stage, text(taken), Excess::Argument).await;
    let carried = r#"(component (component
        (import "i" (instance $i (export "a" (component)))) (alias export $i "a" (component $a)) (instance (instantiate $a))))"#;
    excess(&stage, text(carried), Excess::Argument).await
}

async fn functions(stage: Arc<Stage>) -> String {
    let module = format!("(core module {})", "(func)".repeat(130_000));
    excess(&stage, text(&format!("(component {module} {module})")), Excess::Functions).await
}

async fn elements(stage: Arc<Stage>) -> String {
    let module = format!("(core module (func) (elem func {}))", "0 ".repeat(130_000));
    excess(&stage, text(&format!("(component {module} {module})")), Excess::Elements).await
}

/// Compiles in a process of its own, which ends it there.
async fn in_process(stage: &Stage, process: CompilerProcess, component: Vec<u8>) -> Result<(), EngineError> {
    let runtime = Runtime::builder().engine(stage.engine.clone()).compiler(process).build().unwrap();
    match runtime.load(component, Grant::nothing("attacker")).await {
        Ok(extension) => {
            run(&extension, &[]).await.ended.unwrap();
            Ok(())
        }
        Err(LoadError::Engine(error)) => Err(error),
        Err(error) => panic!("{error:?}"),
    }
}

fn process() -> CompilerProcess {
    CompilerProcess::new(attache(), ["compile-for-host"])
}

/// As many functions as are let through, in half of the memory that they take.
async fn memory(stage: Arc<Stage>) -> String {
    in_process(&stage, process(), std::fs::read(guest("empty")).unwrap()).await.unwrap();
    let module = format!("(core module {})", "(func)".repeat(200_000));
    let component = text(&format!("(component {module})"));
    let error = in_process(&stage, process().memory(150 << 20), component).await.unwrap_err();
    let EngineError::CompilerDied { memory, words, .. } = &error else { panic!("{error:?}") };
    assert_eq!(*memory, 150 << 20);
    assert!(words.contains("memory allocation of"), "{words}");
    "its process ended, and the host says of what".to_owned()
}

async fn time(stage: Arc<Stage>) -> String {
    let component = || std::fs::read(guest("empty")).unwrap();
    let error = in_process(&stage, process().time(Duration::ZERO), component()).await.unwrap_err();
    assert!(matches!(error, EngineError::CompilerTime(_)), "{error:?}");
    let none = CompilerProcess::new("/no/such/compiler", ["x"]);
    let error = in_process(&stage, none, component()).await.unwrap_err();
    assert!(matches!(error, EngineError::CompilerProcess { .. }), "{error:?}");
    // One that is no compiler.
    let error = in_process(&stage, CompilerProcess::new("/bin/false", ["x"]), component()).await.unwrap_err();
    assert!(matches!(error, EngineError::CompilerDied { .. }), "{error:?}");
    "stopped".to_owned()
}
