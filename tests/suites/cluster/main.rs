//! The client of the API server, against scripted servers and the devcluster.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

mod answering;
mod audit_logs;
mod connecting;
mod credentials;
mod devcluster;
mod discovering;
mod hostile;
mod scripted;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attache::cluster::{ApiClient, ApiClientSettings, Endpoint, Payload};
use attache::credentials::ServiceAccount;
use attache::gate::{Channel, Gate, Permit};
use attache::policy::{ApiRequest, Grant};
use attache::telemetry::{Audit, AuditRecord};
use http::Method;
use tempfile::TempDir;

/// The path, the status and the bytes of a record.
type Line = (String, Option<u16>, u64);

/// An audit that keeps all records.
#[derive(Default)]
struct Records(Mutex<Vec<Line>>);

impl Records {
    fn lines(&self) -> Vec<Line> {
        self.0.lock().unwrap().clone()
    }
}

impl Audit for Records {
    fn record(&self, line: &AuditRecord<'_>) {
        self.0.lock().unwrap().push((line.path.to_string(), line.status, line.bytes));
    }
}

/// A client, a gate that allows all verbs on pods and config maps, and the records of both.
struct Client {
    cluster: ApiClient,
    gate: Gate,
    records: Arc<Records>,
}

/// The most bytes that an answer to [`Client`] may have.
const LIMIT: usize = 1000;

impl Client {
    fn of(settings: impl FnOnce(Arc<dyn Audit>) -> ApiClientSettings) -> Self {
        let records = Arc::new(Records::default());
        let cluster = ApiClient::connect(settings(records.clone())).unwrap();
        Self { cluster, gate: gate(records.clone(), LIMIT), records }
    }

    /// Makes a client without TLS, and so without a token.
    fn plain(url: &str) -> Self {
        Self::of(|audit| ApiClientSettings::new(Endpoint::given(url).unwrap(), audit))
    }

    /// Makes a client with token and CA from this directory.
    fn pod(url: &str, dir: &Path) -> Self {
        Self::of(|audit| pod_settings(url, dir, audit))
    }

    fn permit(&self, method: &Method, target: &str) -> Permit {
        self.gate.admit(Channel::Api, ApiRequest::parse(method, target).unwrap()).unwrap()
    }

    fn get(&self) -> Permit {
        self.permit(&Method::GET, POD)
    }
}

/// The path of a pod.
const POD: &str = "/api/v1/namespaces/demo/pods/p";
/// The path of the pods.
const PODS: &str = "/api/v1/namespaces/demo/pods";

fn gate(audit: Arc<dyn Audit>, limit: usize) -> Gate {
    let grant = format!(
        r#"{{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {{name: test}}, spec: {{
            api: [{{apiGroups: [""], resources: [pods, configmaps], verbs: ["*"], namespaces: ["*"]}}],
            limits: {{responseBytes: "{limit}"}}}}}}"#
    );
    Gate::new("test", Arc::new(Grant::parse(&grant).unwrap()), audit)
}

fn pod_settings(url: &str, dir: &Path, audit: Arc<dyn Audit>) -> ApiClientSettings {
    let server = Endpoint::given(url).unwrap();
    ApiClientSettings::new(server, audit).service_account(ServiceAccount::at(dir))
}

/// Makes a directory like the service-account volume.
fn service_account(token: &str, ca: &str) -> TempDir {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("token"), token).unwrap();
    std::fs::write(dir.path().join("ca.crt"), ca).unwrap();
    std::fs::write(dir.path().join("namespace"), "demo").unwrap();
    dir
}

/// Returns a payload with a short deadline.
fn soon() -> Payload {
    Payload::none().within(Duration::from_millis(400))
}

/// Returns an error and its causes, as the binary prints them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
