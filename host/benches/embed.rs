//! The cost of a call for an embedder, compared with raw wasmtime with the same engine settings, and the memory of
//! loaded extensions and sessions.
//!
//! `cargo bench -p attache --bench embed`. The raw side follows the documentation of wasmtime-wasi: a store with a WASI
//! context and a table, no limit, no deadline, no meter.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot go on may stop")]

#[path = "shared/resident.rs"]
mod resident;

use std::sync::Arc;
use std::time::{Duration, Instant};

use attache::engine::{Artefacts, DEFAULT_CAPACITY, Engine, EngineSettings};
use attache::extension::{Extension, Invocation, Runtime, RuntimeBuilder, Session, SessionSettings, State};
use attache::policy::Grant;
use attache::telemetry::NoAudit;
use attache::wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use attache::wasmtime::{self, Store};
use attache::wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use attache_tests::guest;
use bindings::example::embedded::service;
use criterion::Criterion;
use resident::{MANY, Resident, distinct};

mod bindings {
    attache::wasmtime::component::bindgen!({
        inline: "
            package example:embedded@1.2.0;
            interface service { seen: func(word: string) -> result<u32, string>; }
            world guest {
                import service;
                export work: func(task: string) -> result<string, string>;
            }
        ",
        exports: { default: async },
        require_store_data_send: true,
        wasmtime_crate: attache::wasmtime,
    });
}

mod trivial {
    attache::wasmtime::component::bindgen!({
        inline: "package example:trivial; world trivial { export answer: func() -> u32; }",
        exports: { default: async },
        require_store_data_send: true,
        wasmtime_crate: attache::wasmtime,
    });
}

attache::world!(bindings::Guest, bindings::GuestPre);
attache::world!(trivial::Trivial, trivial::TrivialPre);

/// A component with one memory and one function, which returns a number.
const TRIVIAL: &str = r#"(component
    (core module $m (memory 1) (func (export "answer") (result i32) i32.const 42))
    (core instance $i (instantiate $m))
    (func (export "answer") (result u32) (canon lift (core func $i "answer"))))"#;

/// A grant with the imports of the Rust guest, and with limits for a measurement, which takes longer than a call.
const GRANT: &str = "
apiVersion: attache.dev/v1alpha1
kind: Grant
metadata: {name: bench}
spec:
  env: [COLOUR]
  api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [demo]}]
  limits: {instances: 200}
";

type Answering = Extension<trivial::TrivialPre<State>>;
type Working = Extension<bindings::GuestPre<State<Words>>, Words>;

/// The data of the service for an instance.
#[derive(Clone, Copy, Default)]
struct Words(u32);

impl service::Host for Words {
    fn seen(&mut self, _word: String) -> Result<u32, String> {
        self.0 += 1;
        Ok(self.0)
    }
}

/// The data of raw wasmtime's store.
#[derive(Default)]
struct Raw {
    table: ResourceTable,
    wasi: WasiCtx,
}

impl WasiView for Raw {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Raw wasmtime, with the engine settings of this host.
struct Beside {
    engine: wasmtime::Engine,
    answering: trivial::TrivialPre<Raw>,
}

impl Beside {
    fn new(component: &[u8]) -> Self {
        let engine = wasmtime::Engine::new(&EngineSettings::default().config()).unwrap();
        let mut linker = Linker::new(&engine);
        attache::wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        let component = Component::new(&engine, component).unwrap();
        let answering = trivial::TrivialPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
        Self { engine, answering }
    }

    fn store(&self) -> Store<Raw> {
        let mut store = Store::new(&self.engine, Raw::default());
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    async fn call(&self) -> u32 {
        let mut store = self.store();
        let guest = self.answering.instantiate_async(&mut store).await.unwrap();
        guest.call_answer(&mut store).await.unwrap()
    }

    /// Calls one instance repeatedly.
    async fn again(&self, calls: u64) -> Duration {
        let mut store = self.store();
        let guest = self.answering.instantiate_async(&mut store).await.unwrap();
        let begun = Instant::now();
        for _ in 0..calls {
            assert_eq!(guest.call_answer(&mut store).await.unwrap(), 42);
        }
        begun.elapsed()
    }
}

async fn call(extension: &Answering) -> u32 {
    extension.call((), async |guest, store| guest.call_answer(store).await).await.unwrap().value
}

async fn again(extension: &Answering, calls: u64) -> Duration {
    let endless = SessionSettings::new().calls(u64::MAX);
    let mut session = extension.session_with(endless, Invocation::new(), ()).await.unwrap();
    let begun = Instant::now();
    for _ in 0..calls {
        let done = session.call(async |guest, store| guest.call_answer(store).await).await.unwrap();
        assert_eq!(done.value, 42);
    }
    begun.elapsed()
}

async fn answering() -> (Answering, Beside) {
    let component = wat::parse_str(TRIVIAL).unwrap();
    let runtime = Runtime::builder().audit(Arc::new(NoAudit)).build().unwrap();
    let extension = runtime.load(component.clone(), Grant::parse(GRANT).unwrap()).await.unwrap();
    (extension, Beside::new(&component))
}

fn times(c: &mut Criterion) {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let (extension, raw) = tokio.block_on(answering());
    let mut group = c.benchmark_group("a trivial call");
    group.bench_function("raw, fresh", |b| b.to_async(&tokio).iter(|| raw.call()));
    group.bench_function("fresh", |b| b.to_async(&tokio).iter(|| call(&extension)));
    group.bench_function("raw, one instance", |b| b.iter_custom(|calls| tokio.block_on(raw.again(calls))));
    group.bench_function("session", |b| b.iter_custom(|calls| tokio.block_on(again(&extension, calls))));
    group.finish();
    tokio.block_on(in_pairs(&extension, &raw));
}

/// Measures both ways in turn, so that other load on the machine affects both.
async fn in_pairs(extension: &Answering, raw: &Beside) {
    const PAIRS: usize = 201;
    const CALLS: u32 = 200;
    let mut ratios = Vec::with_capacity(PAIRS);
    for _ in 0..PAIRS {
        let begun = Instant::now();
        for _ in 0..CALLS {
            raw.call().await;
        }
        let (beside, begun) = (begun.elapsed(), Instant::now());
        for _ in 0..CALLS {
            call(extension).await;
        }
        ratios.push(begun.elapsed().as_secs_f64() / beside.as_secs_f64());
    }
    ratios.sort_by(f64::total_cmp);
    println!("a trivial call, fresh, median of {PAIRS} pairs: {:.2} times raw wasmtime", ratios[PAIRS / 2]);
}

fn host(artefacts: &std::path::Path, engine: Engine) -> Runtime<Words> {
    RuntimeBuilder::new()
        .engine(engine)
        .artefacts(Artefacts::open(artefacts, DEFAULT_CAPACITY).unwrap())
        .audit(Arc::new(NoAudit))
        .offer("example:embedded/service", |linker| {
            service::add_to_linker::<_, HasSelf<Words>>(linker, State::data_mut)
        })
        .build()
        .unwrap()
}

async fn load_many(runtime: &Runtime<Words>, component: &[u8]) -> Vec<Working> {
    let mut loaded = Vec::with_capacity(MANY);
    for number in 0..MANY {
        loaded.push(runtime.load(distinct(component, number), Grant::parse(GRANT).unwrap()).await.unwrap());
    }
    loaded
}

/// Measures loaded extensions, and sessions that have served a call. The memory of compiling is in another process.
async fn memory() {
    let component = std::fs::read(guest("embedded")).unwrap();
    let engine = Engine::new(&EngineSettings::default()).unwrap();
    let Some(compiled) = std::env::var_os("ATTACHE_BENCH_COMPILED") else {
        let folder = tempfile::tempdir().unwrap();
        let runtime = host(folder.path(), engine);
        drop(load_many(&runtime, &component).await);
        let first = runtime.load::<bindings::GuestPre<_>>(component, Grant::parse(GRANT).unwrap()).await.unwrap();
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        let again = again.arg("--bench").env("ATTACHE_BENCH_COMPILED", folder.path()).status();
        drop(first);
        assert!(again.unwrap().success());
        return;
    };
    let runtime = host(compiled.as_ref(), engine);
    // One of each first, so that shared memory is not counted.
    let first: Working = runtime.load(component.clone(), Grant::parse(GRANT).unwrap()).await.unwrap();
    let warm = session(&first).await;
    let before = Resident::now();
    let loaded = load_many(&runtime, &component).await;
    before.tell_growth("100 distinct loaded extensions");
    drop(loaded);
    let before = Resident::now();
    let mut live = Vec::with_capacity(MANY);
    for _ in 0..MANY {
        live.push(session(&first).await);
    }
    before.tell_growth("100 live instances");
    drop((live, warm));
}

async fn session(extension: &Working) -> Session<bindings::GuestPre<State<Words>>, Words> {
    let mut session = extension.session(Words::default()).await.unwrap();
    let done = session.call(async |guest, store| guest.call_work(store, "count").await).await.unwrap();
    assert_eq!(done.value, Ok("1".to_owned()));
    session
}

fn main() {
    if std::env::var_os("ATTACHE_BENCH_COMPILED").is_none() {
        let mut criterion = Criterion::default().configure_from_args();
        times(&mut criterion);
        criterion.final_summary();
    }
    tokio::runtime::Runtime::new().unwrap().block_on(memory());
}
