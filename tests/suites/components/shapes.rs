//! Components with many modules, memories and table entries, and components that need features that this host lacks.

use attache::engine::{ComponentTooComplex, Engine, EngineError, EngineSettings, Needs, check_complexity};
use attache::extension::LoadError;
use attache::policy::Limit;

use super::{RUNS, binary, command, grant, host, load, run};

/// Returns a program that shares its memory and table with libraries, each an instance of a module of its own, as
/// Python with wheels is.
fn libraries(count: usize) -> String {
    let library = r#"(core module $lib
        (import "env" "memory" (memory 1)) (import "env" "table" (table 1 funcref))
        (func (export "f") (result i32) i32.const 1))"#;
    let instances = (1..count).map(|_| r#"(core instance (instantiate $lib (with "env" (instance $main))))"#);
    format!(
        r#"(component {library}
            (core module $m (memory (export "memory") 2) (table (export "table") 10 funcref)
                (func (export "run") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            (alias core export $i "memory" (core memory $memory))
            (alias core export $i "table" (core table $table))
            (core instance $main (export "memory" (memory $memory)) (export "table" (table $table)))
            {} {RUNS})"#,
        instances.collect::<String>()
    )
}

/// Returns components with a memory each, composed with a component that calls them all, as `wac plug` does it.
fn composed(count: usize) -> String {
    let parts = (1..count).map(|at| {
        format!(
            r#"(component $c{at}
                (core module $m (memory (export "memory") 1)
                    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 16)
                    (func (export "say") (param i32 i32) (result i32) local.get 1))
                (core instance $i (instantiate $m))
                (func (export "say") (param "text" string) (result u32)
                    (canon lift (core func $i "say") (memory (core memory $i "memory")) (realloc (core func $i "realloc")))))
            (instance $p{at} (instantiate $c{at}))
            (alias export $p{at} "say" (func $say{at}))"#
        )
    });
    let arguments = (1..count).map(|at| format!(r#"(with "say{at}" (func $say{at}))"#)).collect::<String>();
    let imports = (1..count).map(|at| {
        format!(
            r#"(import "say{at}" (func $say{at} (param "text" string) (result u32)))
               (core func $low{at} (canon lower (func $say{at}) (memory (core memory $mem "memory"))))"#
        )
    });
    let lowered = (1..count).map(|at| format!(r#"(export "say{at}" (func $low{at}))"#)).collect::<String>();
    let functions =
        (1..count).map(|at| format!(r#"(import "host" "say{at}" (func $say{at} (param i32 i32) (result i32)))"#));
    // Each answers with the length of the text, so that it has been copied from one memory to another.
    let calls = (1..count).map(|at| {
        format!("(if (i32.ne (call $say{at} (i32.const 0) (i32.const 5)) (i32.const 5)) (then unreachable))")
    });
    format!(
        r#"(component {parts}
            (component $root
                (core module $memory (memory (export "memory") 1))
                (core instance $mem (instantiate $memory))
                {imports}
                (core module $m {functions} (func (export "run") (result i32) {calls} i32.const 0))
                (core instance $i (instantiate $m (with "host" (instance {lowered}))))
                (func $run (result (result)) (canon lift (core func $i "run")))
                (instance $cli (export "run" (func $run)))
                (export "wasi:cli/run@0.2.12" (instance $cli)))
            (instance $r (instantiate $root {arguments}))
            (alias export $r "wasi:cli/run@0.2.12" (instance $cli))
            (export "wasi:cli/run@0.2.12" (instance $cli)))"#,
        parts = parts.collect::<String>(),
        imports = imports.collect::<String>(),
        functions = functions.collect::<String>(),
        calls = calls.collect::<String>(),
    )
}

/// Returns a table of this many entries, and thousands of functions in it.
fn table(elements: usize) -> String {
    let functions = elements.min(20_000);
    let defined = "(func (result i32) i32.const 7)".repeat(functions);
    let items: Vec<_> = (0..elements).map(|at| (at % functions).to_string()).collect();
    command(&format!("{defined} (table {elements} funcref) (elem (i32.const 0) func {})", items.join(" ")))
}

#[tokio::test]
async fn what_tools_make_of_large_programs_runs_under_a_grant_without_limits() {
    for (what, text) in [
        ("34 core instances", libraries(34)),
        ("200 core instances", libraries(200)),
        ("three memories", composed(3)),
        ("eight memories", composed(8)),
        ("a table of 60,000 functions", table(60_000)),
        ("a table of 100,000 elements", command("(table 100000 funcref)")),
    ] {
        let extension = load(&text, "{}").await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let outcome = run(&extension).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert_eq!(outcome.code, 0, "{what}");
    }
}

#[tokio::test]
async fn beyond_a_limit_the_limit_is_named_and_who_can_raise_it() {
    for (text, spec, said, limit) in [
        (
            libraries(201),
            "{}",
            "the component begins with 201 core instances, beyond its grant's limit of coreInstances: 200: raise \
             limits.coreInstances in its grant to allow more",
            Limit::CoreInstances,
        ),
        (
            composed(9),
            "{limits: {memories: 4}}",
            "the component begins with 9 memories, beyond its grant's limit of memories: 4: raise limits.memories in its \
             grant to allow more",
            Limit::Memories,
        ),
        (
            composed(9),
            "{limits: {memories: 20}}",
            "the component begins with 9 memories, beyond this host's limit of memories: 8: no grant raises it, only the \
             host itself, by its engine's settings and its ceiling",
            Limit::Memories,
        ),
        (
            command(&"(table 1 funcref)".repeat(33)),
            "{}",
            "the component begins with 33 tables, beyond this host's limit of tables: 32: no grant raises it, only the \
             host itself, by its engine's settings and its ceiling",
            Limit::Tables,
        ),
        (
            command("(table 100001 funcref)"),
            "{limits: {tableElements: 200000}}",
            "the component begins with 100001 elements in a table, beyond this host's limit of tableElements: 100000: no \
             grant raises it, only the host itself, by its engine's settings and its ceiling",
            Limit::TableElements,
        ),
    ] {
        let refused = load(&text, spec).await.unwrap_err();
        let LoadError::ExceedsLimit { reached, .. } = &refused else { panic!("{refused:?}") };
        assert_eq!((refused.to_string().as_str(), reached.limit), (said, limit));
    }
    // References to 140,000 functions, 32 bytes each, are more than the engine keeps for an instance.
    let many = "(func)".repeat(140_000);
    let exports: Vec<_> = (0..140_000).map(|at| format!("{at}")).collect();
    let text = command(&format!("{many} (table 1 funcref) (elem declare func {})", exports.join(" ")));
    let refused = load(&text, "{}").await.unwrap_err();
    let LoadError::ExceedsLimit { reached, .. } = &refused else { panic!("{refused:?}") };
    assert_eq!(reached.limit, Limit::Metadata, "{refused}");
}

#[tokio::test]
async fn a_host_that_gives_more_runs_more() {
    let settings = EngineSettings::default().instances(4).memories(16).core_instances(400).table_elements(300_000);
    let runtime = host().engine(Engine::new(&settings).unwrap()).build().unwrap();
    let limits = "{limits: {memories: 12, coreInstances: 300, tableElements: 250000}}";
    for text in [libraries(300), composed(12), command("(table 250000 funcref)")] {
        let extension = runtime.load_command(binary(&text), grant(limits)).await.unwrap();
        assert_eq!(run(&extension).await.unwrap().code, 0);
    }
}

#[test]
fn what_an_instance_needs_is_counted_as_often_as_it_is_made() {
    let inner = r#"(component $c
        (core module $m (memory 2) (table 3 funcref) (table 5 funcref)
            (import "x" "f" (func)) (func (export "g")) (func) (global i32 (i32.const 0)))
        (core module $never (memory 900) (table 900 funcref))
        (core module $x (func (export "f")))
        (core instance $f (instantiate $x))
        (core instance (instantiate $m (with "x" (instance $f))))
        (core instance (instantiate $m (with "x" (instance $f)))))"#;
    let inner = inner.replace(
        r#"(memory 2) (table 3 funcref) (table 5 funcref)
            (import "x" "f" (func))"#,
        r#"(import "x" "f" (func)) (memory 2) (table 3 funcref) (table 5 funcref)"#,
    );
    let text = format!("(component {inner} (instance (instantiate $c)) (instance (instantiate $c)))");
    // One exported function of each module of five, one import and one global of each of four.
    let metadata = 6 * 32 + 4 * (24 + 16);
    assert_eq!(
        check_complexity(&binary(&text)).unwrap(),
        Needs { core_instances: 6, memories: 4, largest_memory: 2 << 16, tables: 8, largest_table: 5, metadata }
    );
}

/// Returns the reason for which a component is refused before it is compiled.
async fn excess(component: Vec<u8>) -> ComponentTooComplex {
    let refused = host().build().unwrap().load_command(component, grant("{}")).await.unwrap_err();
    let LoadError::Engine(EngineError::ComponentTooComplex(excess)) = refused else { panic!("{refused:?}") };
    excess
}

#[tokio::test]
async fn languages_that_need_what_is_switched_off_are_named() {
    for (module, says) in [
        ("(type (struct (field i32)))", "Kotlin, Dart or Java"),
        ("(type (array (mut i8)))", "garbage collection"),
        ("(rec (type (func)) (type (struct)))", "garbage collection"),
        ("(tag (param i32))", "-fno-exceptions"),
        (r#"(import "env" "__cpp_exception" (tag (param i32)))"#, "exceptions"),
    ] {
        let text = format!("(component (core module {module}))");
        let said = excess(binary(&text)).await.to_string();
        assert!(said.contains(says), "{module}: {said}");
    }
}

#[tokio::test]
async fn a_component_for_wasi_03_is_told_what_to_build_instead() {
    for text in [
        r#"(component (import "wasi:clocks/types@0.3.0" (instance)))"#,
        r#"(component (import "wasi:http/handler@0.3.0-rc-2026-03-15" (instance)))"#,
        r#"(component (instance $i) (export "wasi:cli/run@0.3.1" (instance $i)))"#,
    ] {
        let excess = excess(binary(text)).await;
        assert!(matches!(excess, ComponentTooComplex::Wasi03(_)), "{excess:?}");
        assert!(excess.to_string().contains("WASI 0.2: build it for that"), "{excess}");
    }
    let lifted = r#"(component
        (core module $m (func (export "run") (result i32) i32.const 0)
            (func (export "callback") (param i32 i32 i32) (result i32) i32.const 0))
        (core instance $i (instantiate $m))
        (func (export "run") (canon lift (core func $i "run") async (callback (core func $i "callback")))))"#;
    let stream = "(component (type $s (stream u8)) (core func (canon stream.new $s)))";
    let waits = "(component (core func (canon waitable-set.new)))";
    for text in [lifted, stream, waits] {
        assert_eq!(excess(binary(text)).await, ComponentTooComplex::Async, "{text}");
    }
    // WASI 0.2 in whatever version is another matter: such an import is judged by its grant.
    let old = r#"(component (import "wasi:nn/tensor@0.2.9" (instance)))"#;
    assert!(matches!(load(old, "{}").await, Err(LoadError::MissingGrant(_))));
}

#[tokio::test]
async fn names_of_a_component_that_is_refused_are_harmless() {
    let long = "a".repeat(3000);
    let text = format!(r#"(component (import "wasi:{long}/types@0.3.0" (instance)))"#);
    let said = excess(binary(&text)).await.to_string();
    assert!(said.len() < 400 && !said.contains(&long), "{said}");
}
