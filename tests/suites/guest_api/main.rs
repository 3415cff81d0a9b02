//! The Kubernetes API as guests meet it: real guests, run under grants, against the devcluster.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod asking;
mod examples;
mod languages;
mod opening;
mod pages;
mod raw;
mod refusals;
mod subresources;
mod writing;

use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use attache::cluster::{ApiClient, ApiClientSettings, Endpoint};
use attache::credentials::ServiceAccount;
use attache::engine::{Artefacts, DEFAULT_CAPACITY};
use attache::extension::{CallError, Invocation, Outcome, Runtime};
use attache::podinfo::PodInfo;
use attache::policy::Grant;
use attache::telemetry::{Audit, AuditRecord};
use attache_devcluster::{DevCluster, DevClusterSettings};
use attache_tests::guest;
use attache_tests::pod::PodTree;
use serde_json::{Value, json};
use tempfile::TempDir;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

const LIFETIME: Duration = Duration::from_hours(1);
/// More than any guest here prints, in bytes.
const OUTPUT: usize = 4 << 20;

/// Compiled guests, kept while the tests run: each is compiled once.
static ARTEFACTS: LazyLock<TempDir> = LazyLock::new(|| TempDir::new().unwrap());

/// The spec of the grant of most guests here: all resources and verbs in the namespace `demo`.
const DEMO: &str = r#"{api: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"], namespaces: [demo]}]}"#;

/// The compared fields of one request's audit record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    extension: String,
    way: &'static str,
    verb: String,
    path: String,
    verdict: &'static str,
    status: Option<u16>,
}

/// An audit that keeps its records.
#[derive(Default)]
struct Records(Mutex<Vec<Line>>);

impl Audit for Records {
    fn record(&self, line: &AuditRecord<'_>) {
        self.0.lock().unwrap().push(Line {
            extension: line.extension.into(),
            way: line.way.as_str(),
            verb: line.verb.to_string(),
            path: line.path.to_string(),
            verdict: line.verdict.as_str(),
            status: line.status,
        });
    }
}

/// A cluster, and a host in a pod of `demo` whose service account may do everything in `demo` but read secrets.
struct Stage {
    server: DevCluster,
    runtime: Runtime,
    records: Arc<Records>,
    _account: TempDir,
    _pod: PodTree,
}

impl Stage {
    fn new() -> Self {
        Self::keeping(ARTEFACTS.path())
    }

    /// Keeps compiled guests in this folder.
    fn keeping(artefacts: &Path) -> Self {
        let server = DevCluster::start(DevClusterSettings::default()).unwrap();
        server.load(access()).unwrap();
        let token = server.token_for("demo", "ext", LIFETIME).unwrap();
        let account = account(&token, &server.ca_pem());
        let records = Arc::new(Records::default());
        let endpoint = Endpoint::given(&server.url()).unwrap();
        let settings = ApiClientSettings::new(endpoint, records.clone());
        let settings = settings.service_account(ServiceAccount::at(account.path()));
        let variables = [("POD_NAME", "web-0"), ("POD_NAMESPACE", "demo")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        let pod = PodTree::new().unwrap();
        let volume = pod.podinfo(&[("labels", "tier=\"web\"\n")]).unwrap();
        let runtime = Runtime::builder()
            .pod_info(PodInfo::builder().volume(volume.path()).variables(variables.clone()).build().unwrap())
            .artefacts(Artefacts::open(artefacts, DEFAULT_CAPACITY).unwrap())
            .cluster(ApiClient::connect(settings).unwrap())
            .variables(variables)
            .audit(records.clone())
            .build()
            .unwrap();
        Self { server, runtime, records, _account: account, _pod: pod }
    }

    /// Loads objects as the cluster's admin.
    fn with(self, objects: impl IntoIterator<Item = Value>) -> Self {
        self.server.load(objects).unwrap();
        self
    }

    /// Runs a guest under a grant of this `spec`. Returns its outcome and its output.
    async fn run(&self, name: &str, spec: &str, arguments: &[&str]) -> (Result<Outcome, CallError>, String) {
        self.run_file(&guest(name), spec, arguments).await
    }

    async fn run_file(&self, file: &Path, spec: &str, arguments: &[&str]) -> (Result<Outcome, CallError>, String) {
        let text = format!("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {{name: tried}}\nspec: {spec}\n");
        let extension = self.runtime.load_command_file(file, Grant::parse(&text).unwrap()).await.unwrap();
        let out = MemoryOutputPipe::new(OUTPUT);
        let call = Invocation::new().args(arguments.iter().copied()).stdout(out.clone()).stderr(out.clone());
        let outcome = extension.run(call).await;
        (outcome, String::from_utf8_lossy(&out.contents()).into_owned())
    }

    /// Makes one call of `api-writes`.
    async fn call(&self, spec: &str, words: &[&str]) -> Value {
        let (outcome, out) = self.run("api-writes", spec, words).await;
        assert_eq!(outcome.unwrap().code, 0, "{words:?}: {out}");
        serde_json::from_str(&out).unwrap()
    }

    /// Makes one call of `api-writes` under [`DEMO`]. Panics if the call fails.
    async fn done(&self, words: &[&str]) -> Value {
        let answer = self.call(DEMO, words).await;
        assert!(answer.get("ok").is_some(), "{words:?}: {answer}");
        answer["ok"].clone()
    }

    /// Makes one call of `api-writes` under [`DEMO`]. Panics if the call succeeds.
    async fn refused(&self, words: &[&str]) -> Value {
        let answer = self.call(DEMO, words).await;
        assert!(answer.get("error").is_some(), "{words:?}: {answer}");
        answer
    }

    fn lines(&self) -> Vec<Line> {
        self.records.0.lock().unwrap().clone()
    }

    /// Returns the records of the guests' requests, without those of the host.
    fn asked(&self) -> Vec<(String, String)> {
        let lines = self.lines().into_iter().filter(|line| line.way == "api");
        lines.map(|line| (line.verb, line.path)).collect()
    }
}

fn account(token: &str, ca: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (file, content) in [("token", token), ("ca.crt", ca), ("namespace", "demo")] {
        std::fs::write(dir.path().join(file), content).unwrap();
    }
    dir
}

fn access() -> [Value; 5] {
    let metadata = |name: &str| json!({"name": name, "namespace": "demo"});
    let rule =
        |groups: &[&str], resources: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": ["*"]});
    let groups = ["apps", "batch", "policy", "example.com", "coordination.k8s.io"];
    let core = [
        "namespaces",
        "configmaps",
        "pods",
        "pods/log",
        "pods/status",
        "pods/eviction",
        "events",
        "services",
        "serviceaccounts/token",
    ];
    [
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}}),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("ext")}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata("ext"),
            "rules": [rule(&[""], &core), rule(&groups, &["*"])]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata("ext"),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "ext"},
            "subjects": [{"kind": "ServiceAccount", "name": "ext", "namespace": "demo"}]}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata("hidden"), "stringData": {"a": "b"}}),
    ]
}

/// Returns a config map of `demo`.
fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "demo"}, "data": data})
}

/// Returns the CRD of `widgets.example.com`, with a status and a scale.
fn widgets() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wg"]},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": {
                "status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
            }}],
        },
    })
}
