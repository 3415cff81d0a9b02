//! What clients of the devcluster's API server rely on, each by its own plain requests.

#[path = "devcluster_api_client.rs"]
mod client;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use attache::devcluster::{DevCluster, DevClusterError, DevClusterSettings, Fault};
use bytes::Bytes;
use client::{Client, Reply};
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

struct Stage {
    cluster: DevCluster,
    client: Client,
}

impl Stage {
    fn new(change: impl FnOnce(&mut DevClusterSettings)) -> Result<Self> {
        let mut settings = DevClusterSettings::default();
        change(&mut settings);
        let cluster = DevCluster::start(settings)?;
        let client = Client::new(&cluster);
        Ok(Self { cluster, client })
    }

    async fn admin(&self, method: &str, target: &str, body: Value) -> Result<Reply> {
        self.client.ask(self.cluster.admin_token(), method, target, &body).await
    }

    /// What an accepted request answers.
    async fn done(&self, method: &str, target: &str, body: Value) -> Result<Value> {
        let reply = self.admin(method, target, body).await?;
        ensure!(reply.status.is_success(), "{method} {target}: {} {:?}", reply.status, reply.body);
        Ok(reply.json())
    }

    async fn list(&self, target: &str) -> Result<Value> {
        self.done("GET", target, Value::Null).await
    }

    async fn watch(&self, target: &str) -> Result<Watch> {
        let request =
            Request::builder().uri(target).header("authorization", format!("Bearer {}", self.cluster.admin_token()));
        let response = self.client.open(request.body(Bytes::new())?, false).await?;
        ensure!(response.status() == 200, "{target}: {}", response.status());
        Ok(Watch { body: response.into_body(), read: Vec::new() })
    }
}

/// The lines of a watch.
struct Watch {
    body: Incoming,
    read: Vec<u8>,
}

impl Watch {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Result<Option<Value>> {
        tokio::time::timeout(PATIENCE, self.line()).await.context("no event came")?
    }

    async fn line(&mut self) -> Result<Option<Value>> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => self.read.extend(frame?.into_data().unwrap_or_default()),
            }
        }
    }

    /// The next event as `TYPE NAME`.
    async fn told(&mut self) -> Result<String> {
        let event = self.next().await?.context("the watch ended")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(format!("{} {}", text(&event["type"]), text(&event["object"]["metadata"]["name"])))
    }
}

fn map(name: &str, labels: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}})
}

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

#[tokio::test]
async fn a_paged_list_shows_one_moment() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    stage
        .cluster
        .load((0..25).map(|number| map(&format!("m{number:02}"), json!({"even": (number % 2 == 0).to_string()}))))?;
    let target = format!("{MAPS}?limit=10&labelSelector=even");
    let first = stage.list(&target).await?;
    stage.done("DELETE", &format!("{MAPS}/m12"), Value::Null).await?;
    stage.done("POST", MAPS, map("m125", json!({"even": "new"}))).await?;
    let mut all: Vec<String> = names(&first).into_iter().map(str::to_owned).collect();
    let mut page = first;
    while let Some(token) = page["metadata"]["continue"].as_str() {
        page = stage.list(&format!("{target}&continue={token}")).await?;
        all.extend(names(&page).into_iter().map(str::to_owned));
    }
    let expected: Vec<String> = (0..25).map(|number| format!("m{number:02}")).collect();
    ensure!(all == expected, "{all:?}");
    Ok(())
}

#[tokio::test]
async fn an_expired_page_offers_a_way_on() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    stage.cluster.load((0..5).map(|number| map(&format!("m{number}"), json!({}))))?;
    let first = stage.list(&format!("{MAPS}?limit=2")).await?;
    let token = first["metadata"]["continue"].as_str().context("no token")?;
    stage.cluster.faults().expire_history();
    let reply = stage.admin("GET", &format!("{MAPS}?limit=2&continue={token}"), Value::Null).await?;
    ensure!(reply.status == 410 && reply.json()["reason"] == "Expired");
    let token = reply.json()["metadata"]["continue"].as_str().context("no way on")?.to_owned();
    let rest = stage.list(&format!("{MAPS}?continue={token}")).await?;
    ensure!(names(&rest) == ["m1", "m2", "m3", "m4"], "{:?}", names(&rest));
    Ok(())
}

#[tokio::test]
async fn a_watch_tells_what_enters_and_leaves_its_selection() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    let mut watch = stage.watch(&format!("{MAPS}?watch=1&labelSelector=in=yes")).await?;
    stage.done("POST", MAPS, map("outside", json!({}))).await?;
    stage.done("POST", MAPS, map("a", json!({"in": "yes"}))).await?;
    ensure!(watch.told().await? == "ADDED a");
    stage.done("PATCH", &format!("{MAPS}/a"), json!({"data": {"x": "1"}})).await?;
    ensure!(watch.told().await? == "MODIFIED a");
    let left = stage.done("PATCH", &format!("{MAPS}/a"), json!({"metadata": {"labels": {"in": null}}})).await?;
    let event = watch.next().await?.context("no event")?;
    ensure!(event["type"] == "DELETED" && event["object"]["metadata"]["labels"]["in"] == "yes", "{event}");
    ensure!(event["object"]["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"], "{event}");
    stage.done("PATCH", &format!("{MAPS}/outside"), json!({"metadata": {"labels": {"in": "yes"}}})).await?;
    ensure!(watch.told().await? == "ADDED outside");
    stage.done("DELETE", &format!("{MAPS}/outside"), Value::Null).await?;
    ensure!(watch.told().await? == "DELETED outside");
    Ok(())
}

#[tokio::test]
async fn a_watch_goes_on_from_a_revision_and_ends_in_time_with_a_bookmark() -> Result<()> {
    let stage = Stage::new(|settings| settings.bookmarks = Duration::from_millis(50))?;
    let from = stage.list(MAPS).await?["metadata"]["resourceVersion"].as_str().context("no revision")?.to_owned();
    stage.done("POST", MAPS, map("a", json!({}))).await?;
    let target = format!("{MAPS}?watch=1&resourceVersion={from}&allowWatchBookmarks=true&timeoutSeconds=3");
    let mut watch = stage.watch(&target).await?;
    ensure!(watch.told().await? == "ADDED a");
    stage.done("POST", "/api/v1/namespaces", json!({"metadata": {"name": "elsewhere"}})).await?;
    let mut newest = String::new();
    while let Some(event) = watch.next().await? {
        if event["type"] == "BOOKMARK" {
            newest = event["object"]["metadata"]["resourceVersion"].to_string();
        }
    }
    ensure!(!newest.is_empty() && newest != format!("{from:?}"), "{newest}");
    Ok(())
}

#[tokio::test]
async fn a_watch_from_a_forgotten_revision_is_told_so() -> Result<()> {
    let stage = Stage::new(|settings| settings.history = 3)?;
    for number in 0..6 {
        stage.done("POST", MAPS, map(&format!("m{number}"), json!({}))).await?;
    }
    let mut watch = stage.watch(&format!("{MAPS}?watch=1&resourceVersion=1")).await?;
    let event = watch.next().await?.context("no event")?;
    ensure!(event["type"] == "ERROR" && event["object"]["code"] == 410, "{event}");
    ensure!(watch.next().await?.is_none());
    Ok(())
}

#[tokio::test]
async fn finalizers_and_owners_hold_and_pull() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    let mut held = map("held", json!({}));
    held["metadata"]["finalizers"] = json!(["example.com/wait"]);
    let owner = stage.done("POST", MAPS, held).await?;
    let mut owned = map("owned", json!({}));
    owned["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "held", "uid": owner["metadata"]["uid"]}]);
    stage.done("POST", MAPS, owned).await?;
    let marked = stage.done("DELETE", &format!("{MAPS}/held"), Value::Null).await?;
    ensure!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
    ensure!(stage.admin("GET", &format!("{MAPS}/owned"), Value::Null).await?.status == 200);
    stage.done("PATCH", &format!("{MAPS}/held"), json!({"metadata": {"finalizers": null}})).await?;
    ensure!(stage.admin("GET", &format!("{MAPS}/held"), Value::Null).await?.status == 404);
    ensure!(stage.admin("GET", &format!("{MAPS}/owned"), Value::Null).await?.status == 404);
    Ok(())
}

#[tokio::test]
async fn a_running_pod_stops_before_it_goes() -> Result<()> {
    let stage = Stage::new(|settings| settings.pod_stop = Duration::from_millis(50))?;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                     "spec": {"nodeName": "n", "containers": [{"name": "main", "image": "x"}]}});
    stage.done("POST", pods, pod).await?;
    let mut watch = stage.watch(&format!("{pods}?watch=1")).await?;
    ensure!(watch.told().await? == "ADDED p");
    let marked = stage.done("DELETE", &format!("{pods}/p"), Value::Null).await?;
    ensure!(marked["metadata"]["deletionGracePeriodSeconds"] == 30, "{marked}");
    ensure!(watch.told().await? == "MODIFIED p");
    ensure!(watch.told().await? == "DELETED p");
    Ok(())
}

#[tokio::test]
async fn roles_open_what_they_say_and_no_more() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    let group = "rbac.authorization.k8s.io/v1";
    stage.cluster.load([
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ext"}}),
        json!({"apiVersion": group, "kind": "Role", "metadata": {"name": "ext"}, "rules": [
            {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["mine"], "verbs": ["get", "update"]},
            {"apiGroups": ["*"], "resources": ["*/status"], "verbs": ["get"]},
        ]}),
        json!({"apiVersion": group, "kind": "RoleBinding", "metadata": {"name": "ext"},
               "roleRef": {"kind": "Role", "name": "ext"},
               "subjects": [{"kind": "Group", "name": "system:serviceaccounts:default"}]}),
        map("mine", json!({})),
        map("other", json!({})),
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "m", "image": "x"}]}}}}),
    ])?;
    let token = stage.cluster.token_for("default", "ext", Duration::from_secs(60))?;
    let cases = [
        ("GET", format!("{MAPS}/mine"), 200),
        ("GET", format!("{MAPS}/other"), 403),
        ("GET", MAPS.to_owned(), 403),
        ("GET", "/api/v1/namespaces/kube-system/configmaps/mine".to_owned(), 403),
        ("DELETE", format!("{MAPS}/mine"), 403),
        ("GET", "/apis/apps/v1/namespaces/default/deployments/d/status".to_owned(), 200),
        ("GET", "/apis/apps/v1/namespaces/default/deployments/d".to_owned(), 403),
        ("GET", "/version".to_owned(), 200),
        ("GET", "/apis".to_owned(), 200),
        ("GET", "/metrics".to_owned(), 403),
    ];
    for (method, target, expected) in cases {
        let reply = stage.client.ask(&token, method, &target, &Value::Null).await?;
        ensure!(reply.status == expected, "{method} {target}: {}", reply.status);
    }
    stage.done("DELETE", &format!("/apis/{group}/namespaces/default/rolebindings/ext"), Value::Null).await?;
    let reply = stage.client.ask(&token, "GET", &format!("{MAPS}/mine"), &Value::Null).await?;
    ensure!(reply.status == 403, "a binding that is gone still binds");
    Ok(())
}

#[tokio::test]
async fn tokens_die_with_their_time_their_pod_and_their_key() -> Result<()> {
    let stage = Stage::new(|settings| settings.pod_stop = Duration::ZERO)?;
    stage.cluster.load([json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                               "spec": {"containers": [{"name": "main", "image": "x"}]}})])?;
    let status = async |token: &str| anyhow::Ok(stage.client.ask(token, "GET", "/api", &Value::Null).await?.status);
    let dead = stage.cluster.token_for("default", "default", Duration::ZERO)?;
    ensure!(status(&dead).await? == 401);
    let bound = stage.cluster.token_for_pod("default", "default", "p", Duration::from_secs(60))?;
    ensure!(status(&bound).await? == 200);
    stage.done("DELETE", "/api/v1/namespaces/default/pods/p", Value::Null).await?;
    ensure!(status(&bound).await? == 401);
    let signed = stage.cluster.token_for("default", "default", Duration::from_secs(60))?;
    ensure!(status(&signed).await? == 200);
    stage.cluster.faults().rotate_tokens()?;
    ensure!(status(&signed).await? == 401);
    ensure!(status(stage.cluster.admin_token()).await? == 200);
    let missing = stage.cluster.token_for("default", "nobody", Duration::from_secs(60));
    ensure!(matches!(missing, Err(DevClusterError::Refused { code: 404, .. })), "{missing:?}");
    Ok(())
}

#[tokio::test]
async fn a_client_certificate_says_who_asks() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    let certificate = stage.cluster.client_certificate("maria", &["system:masters"])?;
    let mut client = Client::new(&stage.cluster);
    client.certificate = Some((certificate.certificate_pem, certificate.key_pem));
    let request = Request::builder().uri("/api/v1/namespaces/default/secrets").body(Bytes::new())?;
    ensure!(client.send(request, true).await?.status == 200);
    Ok(())
}

#[tokio::test]
async fn faults_happen_as_often_as_they_are_asked_for() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    let faults = stage.cluster.faults();
    faults.next(Fault::TooManyRequests(7), MAPS, 1);
    let reply = stage.admin("GET", MAPS, Value::Null).await?;
    ensure!(reply.status == 429 && reply.headers.get("retry-after").is_some_and(|value| value == "7"));
    ensure!(stage.admin("GET", MAPS, Value::Null).await?.status == 200);
    for (fault, status) in [(Fault::Internal, 500), (Fault::Unavailable(None), 503), (Fault::Unauthorized, 401)] {
        faults.next(fault, "/", 1);
        ensure!(stage.admin("GET", MAPS, Value::Null).await?.status == status);
    }
    faults.next(Fault::Reset, "/", 1);
    ensure!(stage.admin("GET", MAPS, Value::Null).await.is_err());
    faults.always(Fault::Latency(Duration::from_millis(30)), "/");
    let start = Instant::now();
    stage.admin("GET", MAPS, Value::Null).await?;
    ensure!(start.elapsed() >= Duration::from_millis(30));
    faults.clear();
    Ok(())
}

#[tokio::test]
async fn a_restart_keeps_the_data_and_ends_the_watches() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    stage.done("POST", MAPS, map("kept", json!({}))).await?;
    let mut watch = stage.watch(&format!("{MAPS}?watch=1&fieldSelector=metadata.name=kept")).await?;
    ensure!(watch.told().await? == "ADDED kept");
    stage.cluster.faults().restart(Duration::from_millis(10))?;
    ensure!(!matches!(watch.next().await, Ok(Some(_))), "the watch outlived the server");
    ensure!(stage.admin("GET", &format!("{MAPS}/kept"), Value::Null).await?.status == 200);
    Ok(())
}

#[tokio::test]
async fn a_new_ca_is_published_and_the_old_one_no_longer_trusted() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    let old = stage.cluster.ca_pem();
    stage.cluster.faults().rotate_ca()?;
    ensure!(stage.cluster.ca_pem() != old);
    ensure!(stage.admin("GET", MAPS, Value::Null).await.is_err(), "a client with the old CA was served");
    let client = Client::new(&stage.cluster);
    let root =
        client.ask(stage.cluster.admin_token(), "GET", &format!("{MAPS}/kube-root-ca.crt"), &Value::Null).await?;
    ensure!(root.json()["data"]["ca.crt"] == stage.cluster.ca_pem().as_str());
    Ok(())
}

#[tokio::test]
async fn what_a_manifest_gets_wrong_is_refused_when_it_is_loaded() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    let pod = |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
    let container = |more: Value| {
        let mut container = json!({"name": "main", "image": "x"});
        container.as_object_mut().map(|map| map.extend(more.as_object().cloned().unwrap_or_default()));
        json!({"containers": [container]})
    };
    let cases = [
        (
            pod(container(json!({"resources": {"requests": {"memory": "100ki"}}}))),
            400,
            "unable to parse quantity's suffix",
        ),
        (pod(container(json!({"imag": "y"}))), 400, "unknown field \"spec.containers[0].imag\""),
        (pod(container(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}))), 422, "Not found: \"v\""),
        (json!({"apiVersion": "v1", "kind": "Nothing", "metadata": {"name": "x"}}), 400, "no matches for kind"),
    ];
    for (object, expected, words) in cases {
        let Err(DevClusterError::Refused { code, message, .. }) = stage.cluster.load([object]) else {
            anyhow::bail!("taken, not refused for {words}");
        };
        ensure!(code == expected && message.contains(words), "{code}: {message}");
    }
    Ok(())
}

/// Ten thousand pods and a thousand watchers: the figures are printed, the bounds are far from tight.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pods_and_many_watchers_are_served() -> Result<()> {
    const PODS: usize = 10_000;
    const WATCHERS: usize = 1_000;
    let stage = Stage::new(|_| ())?;
    let start = Instant::now();
    let pod = |number: usize| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{number:05}"), "labels": {"app": "x"}},
               "spec": {"containers": [{"name": "main", "image": "registry.invalid/x:1"}]}})
    };
    stage.cluster.load((0..PODS).map(pod))?;
    println!("{PODS} pods loaded in {:?}", start.elapsed());
    let start = Instant::now();
    let list = stage.list("/api/v1/namespaces/default/pods").await?;
    ensure!(names(&list).len() == PODS);
    println!("listed in {:?}", start.elapsed());
    let revision = list["metadata"]["resourceVersion"].as_str().context("no revision")?.to_owned();
    let target = format!("{MAPS}?watch=1&resourceVersion={revision}");
    let start = Instant::now();
    let mut watches = Vec::new();
    for _ in 0..WATCHERS {
        watches.push(stage.watch(&target).await?);
    }
    println!("{WATCHERS} watchers connected in {:?}", start.elapsed());
    let start = Instant::now();
    stage.done("POST", MAPS, map("news", json!({}))).await?;
    for watch in &mut watches {
        ensure!(watch.told().await? == "ADDED news");
    }
    println!("a change told to all of them in {:?}", start.elapsed());
    Ok(())
}
