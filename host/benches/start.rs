//! The cost of a call of an extension compared with raw wasmtime, and the cost of host calls for a guest.
//!
//! `cargo bench -p attache --bench start`

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot go on may stop")]

use std::sync::Arc;
use std::time::Duration;

use attache::engine::{Engine, EngineSettings};
use attache::extension::{Extension, Invocation, Runtime};
use attache::policy::Grant;
use attache::telemetry::NoAudit;
use attache_tests::guest;
use criterion::{Criterion, criterion_group, criterion_main};
use wasmtime::Store;
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::{Command, CommandPre};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// The most that a measuring guest prints, in bytes: one number for each round.
const OUTPUT: usize = 1 << 20;

/// A grant that lets a measuring guest run as long as criterion needs.
const GRANT: &str = "
apiVersion: attache.dev/v1alpha1
kind: Grant
metadata: {name: bench}
spec:
  env: [POD_NAME]
  podinfo: {}
  api: [{apiGroups: [''], resources: [configmaps], verbs: [get], namespaces: ['default']}]
  limits: {deadline: 10m, cpu: 10m}
";

struct Raw {
    table: ResourceTable,
    wasi: WasiCtx,
}

impl WasiView for Raw {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

fn raw(engine: &Engine) -> CommandPre<Raw> {
    let mut linker = Linker::new(engine.wasmtime());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    let component = Component::from_file(engine.wasmtime(), guest("empty")).unwrap();
    CommandPre::new(linker.instantiate_pre(&component).unwrap()).unwrap()
}

async fn run_raw(pre: &CommandPre<Raw>) {
    let state = Raw { table: ResourceTable::new(), wasi: WasiCtx::builder().arg("empty").build() };
    let mut store = Store::new(pre.engine(), state);
    store.set_epoch_deadline(u64::MAX / 2);
    let command: Command = pre.instantiate_async(&mut store).await.unwrap();
    command.wasi_cli_run().call_run(&mut store).await.unwrap().unwrap();
}

fn runtime(engine: Engine) -> (Runtime, tempfile::TempDir) {
    let volume = tempfile::tempdir().unwrap();
    std::fs::write(volume.path().join("labels"), "app=\"web\"\nzone=\"a\"").unwrap();
    std::fs::write(volume.path().join("annotations"), "").unwrap();
    let pod = attache::podinfo::PodInfo::builder().volume(volume.path()).build().unwrap();
    let runtime = Runtime::builder().engine(engine).pod_info(pod);
    (runtime.audit(Arc::new(NoAudit)).build().unwrap(), volume)
}

fn instantiate(c: &mut Criterion) {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let engine = Engine::new(&EngineSettings::default()).unwrap();
    let pre = raw(&engine);
    let (runtime, _volume) = runtime(engine);
    let empty = tokio.block_on(runtime.load_command_file(&guest("empty"), Grant::nothing("empty"))).unwrap();
    let mut group = c.benchmark_group("an empty command");
    group.bench_function("raw wasmtime", |b| b.to_async(&tokio).iter(|| run_raw(&pre)));
    group.bench_function("extension", |b| {
        b.to_async(&tokio).iter(|| async { empty.run(Invocation::new()).await.unwrap() });
    });
    group.finish();
}

/// Returns the time of `calls` host calls, as the guest itself measures it.
async fn measured(extension: &Extension, calls: u64, call: &[&str]) -> Duration {
    let out = MemoryOutputPipe::new(OUTPUT);
    let calls_text = calls.to_string();
    let arguments = ["1", calls_text.as_str()].into_iter().chain(call.iter().copied());
    let outcome = extension.run(Invocation::new().args(arguments).stdout(out.clone())).await.unwrap();
    assert_eq!(outcome.code, 0);
    let each: f64 = String::from_utf8(out.contents().into()).unwrap().trim().parse().unwrap();
    #[allow(clippy::cast_precision_loss, reason = "fewer calls than a float counts exactly")]
    Duration::from_secs_f64(each * calls as f64 / 1e9)
}

fn host_calls(c: &mut Criterion) {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let (runtime, _volume) = runtime(Engine::new(&EngineSettings::default()).unwrap());
    let grant = Grant::parse(GRANT).unwrap();
    let extension = tokio.block_on(runtime.load_command_file(&guest("bench-calls"), grant)).unwrap();
    let mut group = c.benchmark_group("a host call from a guest");
    for (name, call) in [("empty", &["nothing"][..]), ("get-label", &["label", "app"])] {
        group.bench_function(name, |b| {
            b.iter_custom(|calls| tokio.block_on(measured(&extension, calls, call)));
        });
    }
    group.finish();
}

criterion_group!(benches, instantiate, host_calls);
criterion_main!(benches);
