//! The stage of a test: a namespace of its own in an API server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use attache_devcluster::{DevCluster, DevClusterSettings};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::kubeconfig;

/// The variable that names the kubeconfig of the server to test.
const KUBECONFIG: &str = "ATTACHE_TEST_KUBECONFIG";

/// The longest that anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The interval of retries for changes without a notification, such as a new right.
const AGAIN: Duration = Duration::from_millis(50);

/// The field manager of writes for which a test names no other.
pub(crate) const SOMEBODY: &str = "suite";

pub(crate) struct Stage {
    pub(crate) client: Client,
    token: String,
    pub(crate) namespace: String,
    /// Ends with the stage, if it is the stage's own.
    _cluster: Option<DevCluster>,
}

/// Runs `test` in a new namespace, which is deleted even if the test fails.
pub(crate) async fn play(test: impl AsyncFnOnce(&Stage) -> Result<()>) -> Result<()> {
    let mut stage = Stage::open()?;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "attache-test-"}});
    let made = stage.done("POST", "/api/v1/namespaces", namespace).await?;
    made["metadata"]["name"].as_str().context("a namespace without a name")?.clone_into(&mut stage.namespace);
    let outcome = test(&stage).await;
    let left = stage.ask("DELETE", &format!("/api/v1/namespaces/{}", stage.namespace), Value::Null).await?;
    outcome?;
    ensure!(left.status.is_success(), "the namespace stays: {:?}", left.body);
    Ok(())
}

impl Stage {
    fn open() -> Result<Self> {
        if let Some(file) = std::env::var_os(KUBECONFIG) {
            let (client, token) = kubeconfig::client(Path::new(&file))?;
            return Ok(Self { client, token, namespace: String::new(), _cluster: None });
        }
        let cluster = DevCluster::start(DevClusterSettings::default())?;
        // The way that another server is found, so that it is gone without one too.
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("config"), cluster.kubeconfig())?;
        let (client, token) = kubeconfig::client(&folder.path().join("config"))?;
        Ok(Self { client, token, namespace: String::new(), _cluster: Some(cluster) })
    }

    /// Returns a collection of the core group in the test's namespace.
    pub(crate) fn core(&self, plural: &str) -> String {
        format!("/api/v1/namespaces/{}/{plural}", self.namespace)
    }

    /// Returns a collection of `group/version` in the test's namespace.
    pub(crate) fn group(&self, version: &str, plural: &str) -> String {
        format!("/apis/{version}/namespaces/{}/{plural}", self.namespace)
    }

    pub(crate) fn maps(&self) -> String {
        self.core("configmaps")
    }

    pub(crate) async fn ask(&self, method: &str, target: &str, body: Value) -> Result<Reply> {
        self.client.ask(&self.token, method, target, &body).await
    }

    /// Returns the answer to a request. Fails if the server refuses the request.
    pub(crate) async fn done(&self, method: &str, target: &str, body: Value) -> Result<Value> {
        let reply = self.ask(method, target, body).await?;
        ensure!(reply.status.is_success(), "{method} {target}: {} {:?}", reply.status, reply.body);
        Ok(reply.json())
    }

    pub(crate) async fn list(&self, target: &str) -> Result<Value> {
        self.done("GET", target, Value::Null).await
    }

    /// Returns `CODE REASON` of a refused request, and its `Status`.
    pub(crate) async fn refused(&self, method: &str, target: &str, body: Value) -> Result<(String, Value)> {
        told(&self.ask(method, target, body).await?)
    }

    /// Sends a patch of this media type, such as `strategic-merge-patch+json`.
    pub(crate) async fn patch(&self, kind: &str, target: &str, patch: Value) -> Result<Reply> {
        self.patch_with(kind, target, &patch.to_string()).await
    }

    /// Sends a patch of this media type, with a body of this text.
    pub(crate) async fn patch_with(&self, kind: &str, target: &str, body: &str) -> Result<Reply> {
        let media = format!("application/{kind}");
        self.client.ask_as(&self.token, "PATCH", target, &media, body.to_owned()).await
    }

    pub(crate) async fn watch(&self, target: &str) -> Result<Watch> {
        let request = self.signed(Request::builder().uri(target));
        Watch::open(&self.client, target, request.body(Bytes::new())?).await
    }

    /// Returns the request with the credentials of the stage's own user.
    pub(crate) fn signed(&self, request: http::request::Builder) -> http::request::Builder {
        if self.token.is_empty() {
            return request;
        }
        request.header("authorization", format!("Bearer {}", self.token))
    }

    /// Asks until the answer is `wanted`: rights take effect in their own time.
    pub(crate) async fn until<T: PartialEq + std::fmt::Debug>(
        &self,
        wanted: T,
        ask: impl AsyncFn() -> Result<T>,
    ) -> Result<()> {
        let end = tokio::time::Instant::now() + PATIENCE;
        let mut again = tokio::time::interval(AGAIN);
        loop {
            again.tick().await;
            let found = ask().await?;
            if found == wanted {
                return Ok(());
            }
            ensure!(tokio::time::Instant::now() < end, "it stays {found:?}, and does not become {wanted:?}");
        }
    }

    /// Returns a service account with a token of its own.
    pub(crate) async fn account(&self, name: &str) -> Result<String> {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        self.done("POST", &self.core("serviceaccounts"), account).await?;
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
        let answer = self.done("POST", &self.core(&format!("serviceaccounts/{name}/token")), request).await?;
        Ok(answer["status"]["token"].as_str().context("no token")?.to_owned())
    }
}

/// Returns `CODE REASON` of a refusal, and its `Status`.
pub(crate) fn told(reply: &Reply) -> Result<(String, Value)> {
    let status = reply.json();
    ensure!(status["kind"] == "Status", "{} and no Status: {:?}", reply.status, reply.body);
    let reason = status["reason"].as_str().unwrap_or_default();
    Ok((format!("{} {reason}", reply.status.as_u16()), status))
}

/// The lines of a watch.
pub(crate) struct Watch {
    body: Incoming,
    read: Vec<u8>,
}

impl Watch {
    pub(crate) async fn open(client: &Client, target: &str, request: Request<Bytes>) -> Result<Self> {
        let response = client.open(request, false).await?;
        ensure!(response.status() == 200, "{target}: {}", response.status());
        Ok(Self { body: response.into_body(), read: Vec::new() })
    }

    /// Returns the next event, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>> {
        let line = tokio::time::timeout(PATIENCE, self.line()).await.context("no event came")??;
        Ok(line.map(|line| serde_json::from_slice(&line)).transpose()?)
    }

    /// Returns the next line with its line break, or `None` at the end.
    pub(crate) async fn line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.read.drain(..=end).collect()));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => self.read.extend(frame?.into_data().unwrap_or_default()),
            }
        }
    }

    /// Returns the next event as `TYPE NAME`.
    pub(crate) async fn told(&mut self) -> Result<String> {
        let event = self.next().await?.context("the watch ended")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(format!("{} {}", text(&event["type"]), text(&event["object"]["metadata"]["name"])))
    }
}

pub(crate) fn map(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}})
}

/// Returns a deployment that makes no pods.
pub(crate) fn deployment(name: &str, containers: &[&str]) -> Value {
    let containers: Vec<Value> =
        containers.iter().map(|name| json!({"name": name, "image": "registry.invalid/x:1"})).collect();
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}},
    }})
}

/// Returns the names of a list's objects without the bundle of the CA, which a real server has in each namespace.
pub(crate) fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names = items.iter().filter_map(|item| item["metadata"]["name"].as_str());
    names.filter(|name| *name != "kube-root-ca.crt").collect()
}
