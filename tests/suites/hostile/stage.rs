//! The host that all attacks share: one engine, one API server, and the neighbour.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use attache::ambassador::egress::EgressClient;
use attache::cluster::{ApiClient, ApiClientSettings, Endpoint};
use attache::credentials::ServiceAccount;
use attache::engine::{Engine, EngineSettings};
use attache::extension::{CallError, Extension, Invocation, LoadError, Runtime, RuntimeBuilder};
use attache::podinfo::PodInfo;
use attache::policy::{Grant, Limit};
use attache::telemetry::{Audit, AuditRecord, LimitRecord, Metrics};
use attache_devcluster::{DevCluster, DevClusterSettings};
use attache_tests::guest;
use attache_tests::pod::{PodTree, Volume};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use super::attacker::{Attacker, Called, Calls, Ended};

/// The size of the output buffer in bytes: more than the output of each guest whose output is checked.
const OUTPUT: usize = 16 << 20;

/// The lifetime of the suite's tokens.
const LIFETIME: Duration = Duration::from_hours(1);

/// The spec of the neighbour's grant: enough for a call every few milliseconds.
const NEIGHBOUR: &str = "{podinfo: {}, api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [demo]}], \
     limits: {requestsPerSecond: 100000, burst: 100000, logBytesPerSecond: 16Mi, deadline: 30s, cpu: 30s}}";

/// An audit that keeps its records as lines of a log.
#[derive(Default)]
pub(crate) struct Kept(Mutex<Vec<Value>>);

impl Audit for Kept {
    fn record(&self, line: &AuditRecord<'_>) {
        self.0.lock().unwrap().push(serde_json::to_value(line).unwrap());
    }

    fn limit(&self, line: &LimitRecord<'_>) {
        self.0.lock().unwrap().push(serde_json::to_value(line).unwrap());
    }
}

impl Kept {
    /// Returns the lines of one extension so far.
    pub(crate) fn of(&self, extension: &str) -> Vec<Value> {
        self.0.lock().unwrap().iter().filter(|line| line["extension"] == extension).cloned().collect()
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// The result of a call.
pub(crate) struct Ran {
    pub(crate) ended: Result<Ended, CallError>,
    pub(crate) out: String,
    pub(crate) elapsed: Duration,
}

/// One host with a neighbour in it.
pub(crate) struct Stage {
    pub(crate) server: DevCluster,
    pub(crate) audit: Arc<Kept>,
    /// The metrics of the records that `audit` gets.
    metrics: Arc<Metrics>,
    registry: Registry,
    pub(crate) volume: Mutex<Volume>,
    pub(crate) engine: Engine,
    pub(crate) cluster: ApiClient,
    runtime: Runtime,
    embedder: Runtime<Calls>,
    /// Set while attacks are called through the embedder's world.
    embedded: AtomicBool,
    neighbour: Extension,
    pub(crate) podinfo: PathBuf,
    files: (PodTree, tempfile::TempDir),
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let server = DevCluster::start(DevClusterSettings::default()).unwrap();
        server.load(objects()).unwrap();
        let (audit, mut registry) = (Arc::new(Kept::default()), Registry::default());
        let metrics = Arc::new(Metrics::new(audit.clone(), &mut registry));
        let (tree, account) = (PodTree::new().unwrap(), tempfile::tempdir().unwrap());
        let volume = tree.podinfo(LABELS).unwrap();
        std::fs::write(tree.root().join("etc/outside"), "the host's own").unwrap();
        std::fs::write(account.path().join("token"), server.token_for("demo", "ext", LIFETIME).unwrap()).unwrap();
        std::fs::write(account.path().join("ca.crt"), server.ca_pem()).unwrap();
        std::fs::write(account.path().join("namespace"), "demo").unwrap();
        let engine = Engine::new(&EngineSettings::default().instances(64)).unwrap();
        let podinfo = volume.path().to_owned();
        let embedder = builder(&engine, &metrics, &podinfo);
        let builder = builder(&engine, &metrics, &podinfo);
        let settings = ApiClientSettings::new(Endpoint::given(&server.url()).unwrap(), metrics.clone());
        let settings = settings.service_account(ServiceAccount::at(account.path()));
        let cluster = ApiClient::connect(settings).unwrap();
        let runtime = builder.cluster(cluster.clone()).build().unwrap();
        let embedder = embedder.cluster(cluster.clone()).build().unwrap();
        let neighbour = runtime.load_command_file(&guest("neighbour"), grant("neighbour", NEIGHBOUR)).await.unwrap();
        Self {
            server,
            audit,
            metrics,
            registry,
            volume: Mutex::new(volume),
            engine,
            cluster,
            runtime,
            embedder,
            embedded: AtomicBool::new(false),
            neighbour,
            podinfo,
            files: (tree, account),
        }
    }

    /// Switches to attackers for the embedder's world.
    pub(crate) fn embed(&self) {
        self.embedded.store(true, Ordering::Relaxed);
    }

    /// Loads a guest by its name, under a grant with this `spec`.
    pub(crate) async fn guest(&self, name: &str, spec: &str) -> Attacker {
        self.load(std::fs::read(guest(name)).unwrap(), spec).await.unwrap()
    }

    /// Loads a component from its text.
    pub(crate) async fn component(&self, text: &str, spec: &str) -> Result<Attacker, LoadError> {
        self.load(wat::parse_str(text).unwrap_or_else(|error| panic!("{error}")), spec).await
    }

    /// Loads what may be a component.
    pub(crate) async fn load(&self, bytes: Vec<u8>, spec: &str) -> Result<Attacker, LoadError> {
        let grant = grant("attacker", spec);
        if self.embedded.load(Ordering::Relaxed) {
            return Attacker::load(&self.embedder, bytes, grant).await;
        }
        self.runtime.load_command(bytes, grant).await.map(Attacker::Command)
    }

    /// Returns another runtime in the same host, whose API server is at this address without TLS.
    pub(crate) fn asking(&self, url: &str) -> Runtime {
        let settings = ApiClientSettings::new(Endpoint::given(url).unwrap(), self.metrics.clone());
        let builder = builder(&self.engine, &self.metrics, &self.podinfo);
        builder.cluster(ApiClient::connect(settings).unwrap()).build().unwrap()
    }

    /// Returns the runtime, in a pod that has a service account's volume.
    pub(crate) fn with_account(&self) -> Runtime {
        let builder = builder(&self.engine, &self.metrics, &self.podinfo);
        builder.service_account(self.files.1.path()).cluster(self.cluster.clone()).build().unwrap()
    }

    /// Returns a host with this client for requests outward.
    pub(crate) fn with_egress(&self, client: EgressClient) -> Runtime {
        let builder = builder(&self.engine, &self.metrics, &self.podinfo);
        builder.cluster(self.cluster.clone()).egress(client).build().unwrap()
    }

    /// Calls the neighbour once, and returns the duration of the call.
    pub(crate) async fn neighbour(&self) -> Duration {
        let (printed, begun) = (MemoryOutputPipe::new(OUTPUT), Instant::now());
        let call = Invocation::new().args(["/etc/podinfo", "v1/pods", "demo", "a"]);
        let ended = self.neighbour.run(call.stdout(printed.clone()).stderr(printed.clone())).await;
        let printed = printed.contents();
        let printed = String::from_utf8_lossy(&printed);
        assert_eq!(ended.expect("the neighbour is undisturbed").code, 0, "{printed}");
        begun.elapsed()
    }

    /// Asserts that the call ended at this limit and that the limit was recorded. Returns the limit and its number.
    pub(crate) fn limited(&self, ran: &Ran, limit: Limit) -> String {
        let error = ran.ended.as_ref().expect_err("the call is ended");
        let reached = error.reached().unwrap_or_else(|| panic!("no limit: {error:?}"));
        assert_eq!(reached.limit, limit, "{error:?}");
        self.told(limit, true);
        format!("stopped at {reached}")
    }

    /// Asserts that the audit and the metrics have this limit.
    pub(crate) fn told(&self, limit: Limit, ended: bool) {
        let lines = self.audit.of("attacker");
        let told = lines.iter().any(|line| line["limit"] == limit.name() && line["ended"] == ended);
        assert!(told, "the audit has no {limit}: {lines:?}");
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let series = format!("attache_limits_total{{extension=\"attacker\",limit=\"{limit}\",ended=\"{ended}\"}} ");
        assert!(text.contains(&series), "no {series}in\n{text}");
    }
}

/// The attacker's and the neighbour's labels.
pub(crate) const LABELS: &[(&str, &str)] = &[("labels", "app=\"web\"\nzone=\"a\""), ("annotations", "note=\"two\"")];

fn builder<D: Send>(engine: &Engine, metrics: &Arc<Metrics>, podinfo: &Path) -> RuntimeBuilder<D> {
    let pod = PodInfo::builder().volume(podinfo).build().unwrap();
    RuntimeBuilder::new().engine(engine.clone()).audit(metrics.clone()).pod_info(pod)
}

pub(crate) fn grant(name: &str, spec: &str) -> Grant {
    let text = format!("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {{name: {name}}}\nspec: {spec}\n");
    Grant::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Returns the spec of a grant that opens the pod's metadata and reads of pods in `demo`, with these limits.
pub(crate) fn opening(limits: &str) -> String {
    format!(
        "{{podinfo: {{}}, api: [{{apiGroups: [''], resources: [pods], verbs: [get, list], namespaces: [demo]}}], \
         limits: {limits}}}"
    )
}

/// Calls an extension and keeps what it prints.
pub(crate) async fn run(extension: &impl Called, arguments: &[&str]) -> Ran {
    let out = MemoryOutputPipe::new(OUTPUT);
    let call = Invocation::new().args(arguments.iter().copied()).stdout(out.clone());
    let begun = Instant::now();
    let ended = extension.called(call).await;
    Ran { ended, out: String::from_utf8_lossy(&out.contents()).into_owned(), elapsed: begun.elapsed() }
}

fn objects() -> Vec<Value> {
    let metadata = |name: &str| json!({"name": name, "namespace": "demo"});
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("ext")}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata("all"),
            "rules": [{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["*"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata("all"),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all"},
            "subjects": [{"kind": "ServiceAccount", "name": "ext", "namespace": "demo"}]}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata("a"), "stringData": {"key": "hidden"}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata("a"),
            "spec": {"containers": [{"name": "main", "image": "none"}]}}),
    ]
}
