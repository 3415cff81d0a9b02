//! The devcluster in the state of the recorded server, and the replay of one exchange.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use attache_devcluster::{DevCluster, DevClusterSettings};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::recording::{Exchange, folder, recorded_revision};
use crate::verdict::Verdict;

/// The cluster in its recorded state.
pub(crate) struct Stage {
    cluster: DevCluster,
    client: Client,
    ext: String,
    /// The UIDs here, by the UIDs of the recording.
    identities: BTreeMap<String, String>,
}

impl Stage {
    pub(crate) fn new() -> Result<Self> {
        let mut settings = DevClusterSettings::default();
        settings.pod_stop = Duration::ZERO;
        let cluster = DevCluster::start(settings)?;
        let state = std::fs::read_to_string(folder().join("state.jsonl"))?;
        let objects: Result<Vec<Value>, _> = state.lines().map(serde_json::from_str).collect();
        cluster.restore(objects?)?;
        // The recorded server's distribution opens two more paths to all authenticated users.
        cluster.load([
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:recorded"},
                   "rules": [{"nonResourceURLs": ["/.well-known", "/.well-known/*"], "verbs": ["get"]}]}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "system:recorded"},
                   "roleRef": {"kind": "ClusterRole", "name": "system:recorded"},
                   "subjects": [{"kind": "Group", "name": "system:authenticated"}]}),
        ])?;
        let ext = cluster.token_for("demo", "ext", Duration::from_mins(10))?;
        let client = Client::new(&cluster);
        Ok(Self { cluster, client, ext, identities: BTreeMap::new() })
    }

    async fn admin(&self, method: &str, target: &str, body: &Value) -> Result<Reply> {
        self.client.ask(self.cluster.admin_token(), method, target, body).await
    }

    async fn revision(&self) -> Result<u64> {
        let list = self.admin("GET", "/api/v1/namespaces/kube-public/configmaps", &Value::Null).await?.json();
        Ok(list["metadata"]["resourceVersion"].as_str().context("no revision")?.parse()?)
    }

    /// Writes leases until the revision is `wanted`.
    pub(crate) async fn drive_to(&self, wanted: u64) -> Result<()> {
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
        let lease =
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "clock"}, "spec": {}});
        while self.revision().await? < wanted {
            let reply = self.admin("POST", leases, &lease).await?;
            if reply.status == 409 {
                let tick = json!({"spec": {"leaseTransitions": self.revision().await?}});
                self.admin("PATCH", &format!("{leases}/clock"), &tick).await?;
            }
        }
        Ok(())
    }

    async fn as_recorder(&self, method: &str, target: &str, body: &Value) -> Result<Reply> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("authorization", format!("Bearer {}", self.ext))
            .header("content-type", if method == "PATCH" { "application/merge-patch+json" } else { "application/json" })
            .header("user-agent", "recorder/1.0");
        self.client.send(request.body(body.to_string().into())?, false).await
    }

    /// Makes the changes before an exchange that are not among the recordings.
    async fn before(&self, exchange: &Exchange) -> Result<()> {
        let maps = "/api/v1/namespaces/demo/configmaps";
        let map = |name: &str, data: Value| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"set": "rec"}}, "data": data});
        match exchange.number.as_str() {
            "047" => {
                let recorded: Value = serde_json::from_slice(&exchange.answer)?;
                self.as_recorder("POST", maps, &map("rec-big", recorded["data"].clone())).await?;
            }
            "067" => _ = self.as_recorder("POST", maps, &map("rec-warn", json!({}))).await?,
            "106" => {
                let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "rec-none"}, "spec": {"ports": [{"port": 80}]}});
                self.admin("POST", "/api/v1/namespaces/demo/services", &service).await?;
            }
            "122" => {
                self.drive_to(733).await?;
                self.cluster.faults().expire_history();
            }
            "126" => {
                let list = self.admin("GET", &format!("{maps}?labelSelector=set=rec"), &Value::Null).await?.json();
                for item in list["items"].as_array().context("no items")? {
                    let name = item["metadata"]["name"].as_str().unwrap_or_default();
                    if name != "rec-a" {
                        self.admin("DELETE", &format!("{maps}/{name}"), &Value::Null).await?;
                    }
                }
            }
            _ => {}
        }
        match recorded_revision(exchange) {
            Some(revision) => self.drive_to(revision).await,
            None => Ok(()),
        }
    }

    fn request(&self, exchange: &Exchange) -> Result<Request<Bytes>> {
        let mut request = Request::builder().method(exchange.method.as_str()).uri(&exchange.target);
        let token = match exchange.identity.as_str() {
            "ext" => Some(self.ext.as_str()),
            "admin" => Some(self.cluster.admin_token()),
            "bad" => Some("not-a-token"),
            _ => None,
        };
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in exchange.headers.iter().filter(|(name, _)| name != "host" && name != "authorization") {
            request = request.header(name, value);
        }
        let body = if exchange.body.starts_with(b"(3300123 bytes)") {
            Bytes::from(vec![b' '; 3_300_123])
        } else {
            let mut text = String::from_utf8(exchange.body.to_vec())?;
            for (recorded, here) in &self.identities {
                text = text.replace(recorded, here);
            }
            text.into()
        };
        Ok(request.body(body)?)
    }

    pub(crate) async fn play(&mut self, exchange: &Exchange) -> Result<Verdict> {
        self.before(exchange).await?;
        let request = self.request(exchange)?;
        let http2 = exchange.name.ends_with("-h2");
        let reply = if exchange.number == "117" {
            let (reply, ()) = tokio::try_join!(self.client.send(request, http2), self.rewrite())?;
            reply
        } else if exchange.number == "009" {
            // The tag is a hash of the served types, so the recorded tag is replaced by the one from here.
            let tag = self.tag().await?;
            let mut request = request;
            request.headers_mut().insert("if-none-match", tag.parse()?);
            self.client.send(request, http2).await?
        } else {
            self.client.send(request, http2).await?
        };
        self.learn(exchange, &reply);
        Ok(Verdict::of(exchange, &reply, &self.cluster.address().to_string()))
    }

    async fn tag(&self) -> Result<String> {
        let request = Request::builder()
            .uri("/apis")
            .header("authorization", format!("Bearer {}", self.ext))
            .header("accept", "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io");
        let reply = self.client.send(request.body(Bytes::new())?, false).await?;
        Ok(reply.headers.get("etag").context("no tag")?.to_str()?.to_owned())
    }

    /// Makes the writes of the recorder during its watch.
    async fn rewrite(&self) -> Result<()> {
        let maps = "/api/v1/namespaces/demo/configmaps";
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rec-w", "labels": {"set": "rec"}}, "data": {"n": "0"}});
        let made = self.as_recorder("POST", maps, &map).await?;
        ensure!(made.status == 201, "rec-w: {:?}", made.body);
        for number in 1..=7 {
            if number == 3 {
                self.drive_to(706).await?;
            }
            self.as_recorder("PATCH", &format!("{maps}/rec-w"), &json!({"data": {"n": number.to_string()}})).await?;
        }
        self.as_recorder("DELETE", &format!("{maps}/rec-w"), &json!({})).await?;
        Ok(())
    }

    /// Records the UID here that stands for the recorded one.
    fn learn(&mut self, exchange: &Exchange, reply: &Reply) {
        let recorded: Value = serde_json::from_slice(&exchange.answer).unwrap_or_default();
        let here = reply.json();
        if let (Some(recorded), Some(here)) = (recorded["metadata"]["uid"].as_str(), here["metadata"]["uid"].as_str()) {
            self.identities.insert(recorded.to_owned(), here.to_owned());
        }
    }
}
