//! Components as people's tools make them, and what it takes to compile, load and wait for them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod artefacts;
mod compiler;
mod shapes;
mod waiting;

use std::sync::Arc;

use attache::extension::{CallError, Extension, Invocation, LoadError, Outcome, Runtime, RuntimeBuilder};
use attache::policy::Grant;
use attache::telemetry::NoAudit;

fn grant(spec: &str) -> Grant {
    let text = format!("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {{name: tried}}\nspec: {spec}\n");
    Grant::parse(&text).unwrap()
}

fn host() -> RuntimeBuilder {
    Runtime::builder().audit(Arc::new(NoAudit))
}

fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}

async fn load(text: &str, spec: &str) -> Result<Extension, LoadError> {
    host().build().unwrap().load_command(binary(text), grant(spec)).await
}

async fn run(extension: &Extension) -> Result<Outcome, CallError> {
    extension.run(Invocation::new()).await
}

/// The end of a component whose core instance `$i` exports `run`.
const RUNS: &str = r#"(func $run (result (result)) (canon lift (core func $i "run")))
    (instance $cli (export "run" (func $run)))
    (export "wasi:cli/run@0.2.12" (instance $cli))"#;

/// Returns a command whose one module has this beside `run`.
fn command(module: &str) -> String {
    format!(
        r#"(component
            (core module $m {module} (func (export "run") (result i32) i32.const 0))
            (core instance $i (instantiate $m))
            {RUNS})"#
    )
}
