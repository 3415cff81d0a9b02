//! Shared watches: the events that followers get, whatever the server does, and those that they must not get.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod following;
mod granting;
mod guests;
mod memory;
#[path = "../cluster/scripted.rs"]
#[allow(dead_code, reason = "the other suite uses the rest of it")]
mod scripted;
mod servers;
mod soak;
mod telling;
mod trouble;

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use attache::cluster::watch::{Follower, Scope, WatchError, WatchEvent, WatchSettings};
use attache::cluster::{ApiClient, ApiClientSettings, Endpoint, Payload};
use attache::credentials::ServiceAccount;
use attache::engine::{Artefacts, DEFAULT_CAPACITY};
use attache::extension::{CallError, Extension, Invocation, Outcome, Runtime};
use attache::gate::{Channel, Gate, GateError};
use attache::policy::{ApiRequest, Grant};
use attache::telemetry::{Audit, AuditRecord};
use attache_devcluster::{DevCluster, DevClusterSettings};
use attache_tests::guest;
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

const LIFETIME: Duration = Duration::from_hours(1);
/// Longer than any step here takes on a busy machine.
const SOON: Duration = Duration::from_secs(60);
/// More bytes than any guest here prints.
const OUTPUT: usize = 4 << 20;
const MAPS: &str = "/api/v1/namespaces/demo/configmaps";

/// Compiled guests, each compiled once for all tests.
static ARTEFACTS: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

/// The limits of guests that must not reach any.
const ROOMY: &str = "{deadline: 5m, cpu: 1m, requestsPerSecond: 10000, burst: 10000, watches: 2000, inFlight: 2000}";

/// Returns the usual grant.
fn all_maps() -> String {
    format!(
        r#"{{api: [{{apiGroups: [""], resources: [configmaps], verbs: ["*"], namespaces: ["*"]}}], limits: {ROOMY}}}"#
    )
}

fn grant(spec: &str) -> Grant {
    let text = format!("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {{name: tried}}\nspec: {spec}\n");
    Grant::parse(&text).unwrap()
}

/// The channel, verb, path, verdict and status of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    way: &'static str,
    verb: String,
    path: String,
    verdict: &'static str,
    status: Option<u16>,
}

/// An audit that keeps all records and wakes waiting tests.
struct Records {
    lines: Mutex<Vec<Line>>,
    changed: watch::Sender<()>,
}

impl Records {
    fn new() -> Arc<Self> {
        Arc::new(Self { lines: Mutex::default(), changed: watch::Sender::new(()) })
    }

    /// Returns the number of the host's own requests with this verb and verdict.
    fn hosts(&self, verb: &str, verdict: &str) -> usize {
        let fits = |line: &&Line| line.way == "host" && line.verb == verb && line.verdict == verdict;
        self.lines.lock().unwrap().iter().filter(fits).count()
    }

    /// Returns the number of followers that have begun.
    fn follows(&self) -> usize {
        let begun = |line: &&Line| line.way == "api" && line.verdict == "begun";
        self.lines.lock().unwrap().iter().filter(begun).count()
    }

    /// Waits until the records fit.
    async fn wait_for(&self, wanted: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        let waiting = async {
            while !wanted(self) {
                changed.changed().await.unwrap();
            }
        };
        tokio::time::timeout(SOON, waiting).await.expect("the records come to be as wanted");
    }
}

impl Audit for Records {
    fn record(&self, line: &AuditRecord<'_>) {
        self.lines.lock().unwrap().push(Line {
            way: line.way.as_str(),
            verb: line.verb.to_string(),
            path: line.path.to_string(),
            verdict: line.verdict.as_str(),
            status: line.status,
        });
        self.changed.send_replace(());
    }
}

/// A cluster, and a host in a pod of `demo` whose service account may do all with config maps.
struct World {
    server: DevCluster,
    account: TempDir,
    cluster: ApiClient,
    records: Arc<Records>,
}

impl World {
    fn new() -> Self {
        Self::keeping(WatchSettings::new().linger(Duration::ZERO))
    }

    fn keeping(watches: WatchSettings) -> Self {
        let server = DevCluster::start(DevClusterSettings::default()).unwrap();
        server.load(access(&["configmaps"])).unwrap();
        let account = account(&server);
        let records = Records::new();
        let settings = ApiClientSettings::new(Endpoint::given(&server.url()).unwrap(), records.clone())
            .service_account(ServiceAccount::at(account.path()))
            .watches(watches);
        Self { cluster: ApiClient::connect(settings).unwrap(), server, account, records }
    }

    fn with(self, names: &[&str]) -> Self {
        self.server.load(names.iter().map(|name| map(name, "1"))).unwrap();
        self
    }

    fn set(&self, name: &str, value: &str) {
        self.server.load([map(name, value)]).unwrap();
    }

    fn gate(&self, spec: &str) -> Gate {
        Gate::new("tried", Arc::new(grant(spec)), self.records.clone())
    }

    /// Follows the config maps of `demo` under a grant of all.
    fn follow(&self) -> Watcher {
        self.follow_as(&self.gate(&all_maps()), Some("demo"), &[]).unwrap().unwrap()
    }

    fn follow_as(
        &self,
        gate: &Gate,
        namespace: Option<&str>,
        query: &[(&str, &str)],
    ) -> Result<Result<Watcher, WatchError>, GateError> {
        let scope = scope("configmaps", namespace, query);
        let permit = gate.admit_follower(Channel::Api, scope.list(), scope.watch().clone())?;
        Ok(self.cluster.follow(&scope, permit).map(Watcher))
    }

    async fn delete(&self, name: &str) {
        let request = ApiRequest::parse(&Method::DELETE, &format!("{MAPS}/{name}")).unwrap();
        let permit = self.gate(&all_maps()).admit(Channel::Api, request).unwrap();
        self.cluster.fetch(permit, Payload::none()).await.unwrap();
    }

    fn write_token(&self) {
        let token = self.server.token_for("demo", "ext", LIFETIME).unwrap();
        std::fs::write(self.account.path().join("token"), token).unwrap();
    }

    fn runtime(&self) -> Runtime {
        Runtime::builder()
            .artefacts(Artefacts::open(ARTEFACTS.path(), DEFAULT_CAPACITY).unwrap())
            .cluster(self.cluster.clone())
            .audit(self.records.clone())
            .build()
            .unwrap()
    }

    /// Waits until the host has no open watch at the server.
    async fn wait_for_no_upstream(&self) {
        self.records.wait_for(|records| records.hosts("watch", "begun") == records.hosts("watch", "allowed")).await;
    }
}

/// Runs `watch-calls`. Returns its outcome and its output.
async fn run(runtime: &Runtime, spec: &str, words: &[&str]) -> (Result<Outcome, CallError>, Vec<Value>) {
    call(&runtime.load_command_file(&guest("watch-calls"), grant(spec)).await.unwrap(), words).await
}

/// Calls `watch-calls` after it is loaded.
async fn call(extension: &Extension, words: &[&str]) -> (Result<Outcome, CallError>, Vec<Value>) {
    let out = MemoryOutputPipe::new(OUTPUT);
    let call = Invocation::new().args(words.iter().copied()).stdout(out.clone()).stderr(out.clone());
    let outcome = extension.run(call).await;
    let text = String::from_utf8_lossy(&out.contents()).into_owned();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| json!(line)));
    (outcome, lines.collect())
}

fn scope(plural: &str, namespace: Option<&str>, query: &[(&str, &str)]) -> Scope {
    let path = ApiRequest::builder().resource("", "v1", plural).namespace(namespace);
    Scope::of(query.iter().fold(path, |path, (key, value)| path.query(key, value))).unwrap()
}

/// A follower whose waits have an end.
#[derive(Debug)]
struct Watcher(Follower);

impl Watcher {
    /// Returns the next events on this suite's objects, as `+NAME=VALUE`, `-NAME`, `resync` and `synced`.
    async fn read(&mut self) -> Result<Vec<String>, WatchError> {
        tokio::time::timeout(SOON, self.0.changed()).await.expect("something happens");
        // The cluster's own map in each namespace does not count here.
        let own = |event: &String| !event.contains("kube-root-ca.crt");
        Ok(self.0.read(1000)?.iter().map(told).filter(own).collect())
    }

    /// Returns all events up to this one.
    async fn until(&mut self, last: &str) -> Vec<String> {
        let mut seen = Vec::new();
        while !seen.iter().any(|event| event == last) {
            seen.extend(self.read().await.unwrap());
        }
        seen
    }

    /// Returns the error that ends the follower.
    async fn ended(&mut self) -> WatchError {
        loop {
            if let Err(error) = self.read().await {
                return error;
            }
        }
    }
}

/// Returns the beginning of a value, short enough for the message of a failed test.
fn short(value: &str) -> &str {
    value.get(..12).unwrap_or(value)
}

fn told(event: &WatchEvent) -> String {
    let read = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap();
    match event {
        WatchEvent::Resync => "resync".into(),
        WatchEvent::Synced => "synced".into(),
        WatchEvent::Applied(object) => {
            let object = read(object.json());
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            format!("+{}={}", text(&object["metadata"]["name"]), short(&text(&object["data"]["value"])))
        }
        WatchEvent::Deleted(object) => {
            format!("-{}", read(object.json())["metadata"]["name"].as_str().unwrap())
        }
    }
}

fn account(server: &DevCluster) -> TempDir {
    let dir = TempDir::new().unwrap();
    let token = server.token_for("demo", "ext", LIFETIME).unwrap();
    for (file, content) in [("token", token), ("ca.crt", server.ca_pem()), ("namespace", "demo".into())] {
        std::fs::write(dir.path().join(file), content).unwrap();
    }
    dir
}

/// Returns the account `ext`, which may do all with these resources in all namespaces.
fn access(resources: &[&str]) -> [Value; 3] {
    let rules = json!([{"apiGroups": [""], "resources": resources, "verbs": ["*"]}]);
    let rules = if resources.is_empty() { json!([]) } else { rules };
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ext", "namespace": "demo"}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "ext"},
            "rules": rules}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "ext"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ext"},
            "subjects": [{"kind": "ServiceAccount", "name": "ext", "namespace": "demo"}]}),
    ]
}

/// Returns a config map of `demo`.
fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": value},
        "metadata": {"name": name, "namespace": "demo", "labels": {"value": value.get(..value.len().min(20))}}})
}
