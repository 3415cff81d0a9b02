//! Extensions of an embedder's own world: calls in fresh instances, sessions, and what bounds both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod granted;
mod offering;
mod runtimes;
mod sessions;
mod waiting;

use std::sync::{Arc, LazyLock};

use attache::engine::{Artefacts, DEFAULT_CAPACITY, Engine, EngineSettings};
use attache::extension::{CallError, Completed, Extension, LoadError, Runtime, RuntimeBuilder, Session, State};
use attache::policy::Grant;
use attache::telemetry::{Audit, AuditRecord, LimitRecord};
use attache::wasmtime::component::HasSelf;
use attache_tests::guest;
use bindings::example::embedded::service;
use tempfile::TempDir;
use tokio::sync::Mutex;

mod bindings {
    #![allow(unreachable_pub, missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]

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

attache::world!(bindings::Guest, bindings::GuestPre);

/// The interface that the service offers.
const SERVICE: &str = "example:embedded/service";

/// More instances than any test here has at once.
const INSTANCES: u32 = 32;

/// Compiled guests, kept while the tests run: each is compiled once.
static ARTEFACTS: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

/// The embedder's state of one instance.
#[derive(Default)]
struct Service {
    words: Vec<String>,
}

impl service::Host for Service {
    fn seen(&mut self, word: String) -> Result<u32, String> {
        if word == "unspeakable" {
            return Err("that word is not heard".to_owned());
        }
        self.words.push(word);
        Ok(u32::try_from(self.words.len()).unwrap())
    }
}

type Pre = bindings::GuestPre<State<Service>>;
type Embedded = Extension<Pre, Service>;
type Done = Completed<Result<String, String>>;

/// An audit that keeps the recorded limits, each with whether it ended the call.
#[derive(Default)]
struct Told(std::sync::Mutex<Vec<(String, bool)>>);

impl Audit for Told {
    fn record(&self, _line: &AuditRecord<'_>) {}

    fn limit(&self, line: &LimitRecord<'_>) {
        let line = serde_json::to_value(line).unwrap();
        let limit = line["limit"].as_str().unwrap().to_owned();
        self.0.lock().unwrap().push((limit, line["ended"].as_bool().unwrap()));
    }
}

impl Told {
    fn take(&self) -> Vec<(String, bool)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn grant(spec: &str) -> Grant {
    let text = format!("{{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {{name: tried}}, spec: {spec}}}");
    Grant::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Returns the grant that opens what the guest imports, with these limits.
fn within(limits: &str) -> Grant {
    grant(&format!("{{env: [COLOUR], api: [{PODS}], limits: {limits}}}"))
}

const PODS: &str = "{apiGroups: [''], resources: [pods], verbs: [get, list, watch], namespaces: [demo]}";

/// Returns a host that offers nothing.
fn bare() -> RuntimeBuilder<Service> {
    let engine = Engine::new(&EngineSettings::default().instances(INSTANCES)).unwrap();
    let artefacts = Artefacts::open(ARTEFACTS.path(), DEFAULT_CAPACITY).unwrap();
    let variables = [("COLOUR".to_owned(), "blue".to_owned()), ("SECRET".to_owned(), "hidden".to_owned())];
    RuntimeBuilder::new().engine(engine).artefacts(artefacts).variables(variables).audit(Arc::new(Told::default()))
}

fn offering(host: RuntimeBuilder<Service>, name: &str) -> RuntimeBuilder<Service> {
    host.offer(name, |linker| service::add_to_linker::<_, HasSelf<Service>>(linker, State::data_mut))
}

fn host() -> RuntimeBuilder<Service> {
    offering(bare(), SERVICE)
}

/// Held while a guest is loaded, so that the first of many that load at once compiles it for all.
static LOADING: Mutex<()> = Mutex::const_new(());

async fn load_by(runtime: &Runtime<Service>, grant: Grant) -> Result<Embedded, LoadError> {
    let _one = LOADING.lock().await;
    runtime.load_file(&guest("embedded"), grant).await
}

/// Loads the guest with these limits.
async fn embedded(limits: &str) -> Embedded {
    load_by(&host().build().unwrap(), within(limits)).await.unwrap()
}

/// Calls a fresh instance.
async fn work(extension: &Embedded, task: &str) -> Result<Done, CallError> {
    extension.call(Service::default(), async |guest, store| guest.call_work(store, task).await).await
}

async fn begin(extension: &Embedded) -> Session<Pre, Service> {
    extension.session(Service::default()).await.unwrap()
}

/// Calls a session's instance.
async fn go_on(session: &mut Session<Pre, Service>, task: &str) -> Result<Done, CallError> {
    session.call(async |guest, store| guest.call_work(store, task).await).await
}

/// Returns the guest's result. Panics if the call or the guest failed.
#[track_caller]
fn answer(done: Result<Done, CallError>) -> String {
    done.unwrap_or_else(|error| panic!("{error:?}")).value.unwrap()
}
