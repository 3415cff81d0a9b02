//! Components that are an attack on their compiler: nothing of them ever runs.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use attache::engine::{CompilerProcess, ComponentTooComplex, EngineError};
use attache::extension::{LoadError, Runtime};
use attache::policy::{Grant, Limit};
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
    "core instances without end" => core_instances,
    "memories without end" => memories,
    "tables without end" => tables,
    "modules without end" => modules,
    "aliases without end" => aliases,
    "functions that are referred to without end" => references,
    "garbage that is to be collected" => collected,
    "exceptions" => exceptions,
    "WASI 0.3" => wasi_03,
    "a compiler with too little memory" => memory,
    "compilers in a container that is full" => full,
    "a component that changes while it is read" => changing,
    "a compiler with too little time" => time,
];

/// Returns the engine's error for a component that it must refuse.
async fn refused(stage: &Stage, component: Vec<u8>) -> EngineError {
    match stage.load(component, "{}").await.unwrap_err() {
        LoadError::Engine(error) => error,
        error => panic!("{error:?}"),
    }
}

async fn excess(stage: &Stage, component: Vec<u8>, expected: ComponentTooComplex) -> String {
    let EngineError::ComponentTooComplex(excess) = refused(stage, component).await else { panic!("no excess") };
    assert_eq!(excess, expected);
    format!("not compiled: {excess}")
}

fn text(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Returns a number as LEB128, as in binaries.
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

/// Returns a component of one section.
fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [b"\0asm\x0d\0\x01\0", [id].as_slice(), &number(content.len()), content].concat()
}

/// Returns an instance type in an instance type, and so on; or component types.
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
        excess(&stage, nested_type(kind, 100_000), ComponentTooComplex::InnerTypes).await;
    }
    // The same, spread over components.
    let inner = format!("(component {})", "(type (instance (type (instance)) (type (component))))".repeat(300));
    excess(&stage, text(&format!("(component {inner} {inner})")), ComponentTooComplex::InnerTypes).await
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
    excess(&stage, nested, ComponentTooComplex::Nesting).await
}

/// Thirty components, each with two instances of the previous component: a thousand million of the first.
async fn doubling(stage: Arc<Stage>) -> String {
    let mut component = "(component $root (component $c0)".to_owned();
    for at in 1..30 {
        let twice = "(instance (instantiate $p))".repeat(2);
        write!(component, "(component $c{at} (alias outer $root $c{} (component $p)) {twice})", at - 1).unwrap();
    }
    excess(&stage, text(&format!("{component} (instance (instantiate $c29)))")), ComponentTooComplex::Parts).await
}

/// The uses of an argument cannot be counted at the place where it is passed.
async fn argument(stage: Arc<Stage>) -> String {
    let taken = r#"(component (component (import "a" (component $a)) (instance (instantiate $a))))"#;
    excess(&stage, text(taken), ComponentTooComplex::Argument).await;
    let carried = r#"(component (component
        (import "i" (instance $i (export "a" (component)))) (alias export $i "a" (component $a)) (instance (instantiate $a))))"#;
    excess(&stage, text(carried), ComponentTooComplex::Argument).await
}

async fn functions(stage: Arc<Stage>) -> String {
    let module = format!("(core module {})", "(func)".repeat(130_000));
    excess(&stage, text(&format!("(component {module} {module})")), ComponentTooComplex::Functions).await
}

async fn elements(stage: Arc<Stage>) -> String {
    let module = format!("(core module (func) (elem func {}))", "0 ".repeat(130_000));
    excess(&stage, text(&format!("(component {module} {module})")), ComponentTooComplex::Elements).await
}

/// Loads a component beyond a limit, which is refused before it is compiled.
async fn beyond(stage: &Stage, text: &str, expected: Limit) -> String {
    let error = stage.component(text, "{}").await.unwrap_err();
    let LoadError::ExceedsLimit { reached, .. } = &error else { panic!("{error:?}") };
    assert_eq!(reached.limit, expected);
    format!("not compiled: {reached}")
}

/// Returns a component with 2 to the power of `doublings` instances of a module, by components within components.
fn instances_of(module: &str, doublings: usize) -> String {
    let mut component =
        format!("(component $root (component $c0 (core module $m {module}) (core instance (instantiate $m)))");
    for at in 1..=doublings {
        let twice = "(instance (instantiate $p))".repeat(2);
        write!(component, "(component $c{at} (alias outer $root $c{} (component $p)) {twice})", at - 1).unwrap();
    }
    format!("{component} (instance (instantiate $c{doublings})))")
}

async fn core_instances(stage: Arc<Stage>) -> String {
    beyond(&stage, &instances_of("", 12), Limit::CoreInstances).await
}

async fn memories(stage: Arc<Stage>) -> String {
    // Without a page each: no memory is taken, but addresses are.
    beyond(
        &stage,
        &format!("(component (core module $m {}) (core instance (instantiate $m)))", "(memory 0)".repeat(90)),
        Limit::Memories,
    )
    .await;
    beyond(&stage, &instances_of("(memory 0)", 6), Limit::Memories).await
}

async fn tables(stage: Arc<Stage>) -> String {
    beyond(&stage, &instances_of(&"(table 0 funcref)".repeat(9), 2), Limit::Tables).await
}

async fn modules(stage: Arc<Stage>) -> String {
    let module = section(1, b"\0asm\x01\0\0\0").split_off(8);
    let component = [b"\0asm\x0d\0\x01\0".as_slice(), &module.repeat(120_000)].concat();
    excess(&stage, component, ComponentTooComplex::Parts).await
}

/// Aliases of three bytes, for each of which the host keeps sixty bytes.
async fn aliases(stage: Arc<Stage>) -> String {
    let module = section(1, b"\0asm\x01\0\0\0").split_off(8);
    let aliases = [number(2_000_000), [0x00, 0x11, 0x02, 0x00, 0x00].repeat(2_000_000)].concat();
    let aliases = section(6, &aliases).split_off(8);
    excess(&stage, [b"\0asm\x0d\0\x01\0".as_slice(), &module, &aliases].concat(), ComponentTooComplex::Parts).await
}

/// Each reference costs the engine 32 bytes in each instance, independent of the instance's memory.
async fn references(stage: Arc<Stage>) -> String {
    let items = (0..9000).map(|at| format!("{at} ")).collect::<String>();
    let module = format!("{} (elem declare func {items})", "(func)".repeat(9000));
    beyond(&stage, &instances_of(&module, 4), Limit::Metadata).await
}

async fn collected(stage: Arc<Stage>) -> String {
    let module =
        r#"(type $s (struct (field (mut i64)))) (func (export "run") (loop (drop (struct.new_default $s)) (br 0)))"#;
    excess(&stage, text(&format!("(component (core module {module}))")), ComponentTooComplex::Gc).await
}

async fn exceptions(stage: Arc<Stage>) -> String {
    let module = r#"(tag $t) (func $f (export "f") (loop (block (try_table (catch_all 0) (throw $t))) (br 0)))"#;
    excess(&stage, text(&format!("(component (core module {module}))")), ComponentTooComplex::Exceptions).await
}

async fn wasi_03(stage: Arc<Stage>) -> String {
    let name = "wasi:cli/run@0.3.0";
    let component = format!(r#"(component (instance $i) (export "{name}" (instance $i)))"#);
    excess(&stage, text(&component), ComponentTooComplex::Wasi03(name.to_owned())).await
}

/// Compiles in a nearly full memory group. The compiler fails before the group is full, so that the kernel kills no
/// process.
async fn full(stage: Arc<Stage>) -> String {
    let root = tempfile::tempdir().unwrap();
    let file = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    file("proc/self/cgroup", "0::/\n");
    file("proc/self/mountinfo", "31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    file("sys/fs/cgroup/memory.max", "268435456\n");
    file("sys/fs/cgroup/memory.current", "268000000\n");
    let mut refused = 0;
    for _ in 0..4 {
        let component = std::fs::read(guest("empty")).unwrap();
        let error = in_process(&stage, process().limits_below(root.path()), component).await.unwrap_err();
        let EngineError::CompilerMemory(out) = &error else { panic!("{error:?}") };
        assert!(out.bounded_by.as_deref().is_some_and(|whose| whose.contains("/sys/fs/cgroup")), "{out}");
        refused += 1;
    }
    format!("{refused} of 4 refused: the control group leaves nothing")
}

/// A file that is valid when its digest is computed, and is replaced before it is compiled.
async fn changing(stage: Arc<Stage>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (path, script) = (folder.path().join("a.wasm"), folder.path().join("compiler"));
    std::fs::copy(guest("empty"), &path).unwrap();
    // In the place of the compiler: changes the file, then compiles.
    let compiler = attache();
    let text = format!(
        "#!/bin/sh\nprintf x | dd of={} bs=1 seek=500 conv=notrunc 2>/dev/null\nexec {} compile-for-host\n",
        path.display(),
        compiler.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let process = CompilerProcess::new("/bin/sh", [script.as_os_str()]);
    let runtime = Runtime::builder().engine(stage.engine.clone()).compiler(process).build().unwrap();
    let error = runtime.load_command_file(&path, Grant::nothing("attacker")).await.unwrap_err();
    assert!(matches!(error, LoadError::Engine(EngineError::Changed)), "{error:?}");
    "not compiled: it has changed".to_owned()
}

/// Compiles in a process of its own, which ends it there.
async fn in_process(stage: &Stage, process: CompilerProcess, component: Vec<u8>) -> Result<(), EngineError> {
    let runtime = Runtime::builder().engine(stage.engine.clone()).compiler(process).build().unwrap();
    match runtime.load_command(component, Grant::nothing("attacker")).await {
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

/// The largest allowed number of functions, with less memory than either way to compile them needs.
async fn memory(stage: Arc<Stage>) -> String {
    in_process(&stage, process(), std::fs::read(guest("empty")).unwrap()).await.unwrap();
    let module = format!("(core module {})", "(func)".repeat(200_000));
    let component = text(&format!("(component {module})"));
    let error = in_process(&stage, process().memory(80 << 20), component).await.unwrap_err();
    let EngineError::CompilerMemory(out) = &error else { panic!("{error:?}") };
    assert_eq!(out.memory, 80 << 20);
    assert!(out.words.contains("memory allocation of"), "{out}");
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
