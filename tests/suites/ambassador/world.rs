//! A cluster with an account that may do much in the namespace `demo`, and the pod of that account.

use std::path::Path;
use std::time::Duration;

use attache::cluster::{ApiClient, ApiClientSettings, Endpoint};
use attache::credentials::ServiceAccount;
use attache::policy::Grant;
use attache_devcluster::{DevCluster, DevClusterSettings};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::records::Records;

const LIFETIME: Duration = Duration::from_hours(1);

/// The annotation from which the devcluster answers a pod's log.
const LOG: &str = "devcluster.attache.dev/log";

/// Returns a grant of this name with this spec, in YAML's flow style.
pub(crate) fn grant(name: &str, spec: &str) -> Grant {
    let text = format!("{{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {{name: {name}}}, spec: {spec}}}");
    Grant::parse(&text).unwrap()
}

/// Returns the service-account volume of a pod.
pub(crate) fn service_account(token: &str, ca: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("token"), token).unwrap();
    std::fs::write(dir.path().join("ca.crt"), ca).unwrap();
    std::fs::write(dir.path().join("namespace"), "demo").unwrap();
    dir
}

/// Returns a client of the server at `url` in a pod with this service-account volume. Calls without a deadline get
/// `deadline`.
pub(crate) fn client(url: &str, dir: &Path, deadline: Duration, records: &Records) -> ApiClient {
    let server = Endpoint::given(url).unwrap();
    let settings = ApiClientSettings::new(server, records.audit()).service_account(ServiceAccount::at(dir));
    ApiClient::connect(settings.deadline(deadline)).unwrap()
}

pub(crate) struct World {
    pub(crate) server: DevCluster,
    pub(crate) dir: TempDir,
    pub(crate) token: String,
    pub(crate) records: Records,
}

impl World {
    pub(crate) fn new() -> Self {
        let server = DevCluster::start(DevClusterSettings::default()).unwrap();
        server.load(objects()).unwrap();
        let token = server.token_for("demo", "ext", LIFETIME).unwrap();
        let dir = service_account(&token, &server.ca_pem());
        Self { server, dir, token, records: Records::default() }
    }

    pub(crate) fn cluster(&self) -> ApiClient {
        self.cluster_within(Duration::from_secs(20))
    }

    pub(crate) fn cluster_within(&self, deadline: Duration) -> ApiClient {
        client(&self.server.url(), self.dir.path(), deadline, &self.records)
    }

    pub(crate) fn make_config_map(&self, name: &str) {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "demo"}});
        self.server.load([map]).unwrap();
    }
}

fn objects() -> [Value; 5] {
    let metadata = |name: &str| json!({"name": name, "namespace": "demo"});
    let resources = ["configmaps", "pods", "pods/log"];
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("ext")}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata("much"),
            "rules": [{"apiGroups": [""], "resources": resources, "verbs": ["*"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata("much"),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "much"},
            "subjects": [{"kind": "ServiceAccount", "name": "ext", "namespace": "demo"}]}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("colours"), "data": {"sky": "blue"}}),
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web", "namespace": "demo", "annotations": {LOG: "one\ntwo\nthree\n"}},
            "spec": {"containers": [{"name": "main", "image": "registry.example/web:1"}]}}),
    ]
}
