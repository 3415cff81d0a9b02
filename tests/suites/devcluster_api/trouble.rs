//! Abilities of the devcluster alone: faults on demand, short lifetimes, many clients.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use attache_devcluster::{DevCluster, DevClusterError, DevClusterSettings, Fault};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::stage::{Watch, map, names};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub(crate) struct Stage {
    cluster: DevCluster,
    client: Client,
}

impl Stage {
    pub(crate) fn new(change: impl FnOnce(&mut DevClusterSettings)) -> Result<Self> {
        let mut settings = DevClusterSettings::default();
        change(&mut settings);
        let cluster = DevCluster::start(settings)?;
        let client = Client::new(&cluster);
        Ok(Self { cluster, client })
    }

    pub(crate) async fn admin(&self, method: &str, target: &str, body: Value) -> Result<Reply> {
        self.client.ask(self.cluster.admin_token(), method, target, &body).await
    }

    /// Sends a request of the administrator with a media type of the caller's choice.
    pub(crate) async fn admin_as(&self, method: &str, target: &str, media: &str, body: String) -> Result<Reply> {
        self.client.ask_as(self.cluster.admin_token(), method, target, media, body).await
    }

    /// Returns the answer to a request. Fails if the server refuses the request.
    pub(crate) async fn done(&self, method: &str, target: &str, body: Value) -> Result<Value> {
        let reply = self.admin(method, target, body).await?;
        ensure!(reply.status.is_success(), "{method} {target}: {} {:?}", reply.status, reply.body);
        Ok(reply.json())
    }

    pub(crate) async fn list(&self, target: &str) -> Result<Value> {
        self.done("GET", target, Value::Null).await
    }

    async fn watch(&self, target: &str) -> Result<Watch> {
        let request =
            Request::builder().uri(target).header("authorization", format!("Bearer {}", self.cluster.admin_token()));
        Watch::open(&self.client, target, request.body(Bytes::new())?).await
    }
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
async fn tokens_die_with_their_time_their_pod_and_their_key() -> Result<()> {
    let stage = Stage::new(|settings| settings.pod_stop = Duration::ZERO)?;
    stage.cluster.load([json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                               "spec": {"containers": [{"name": "main", "image": "x"}]}})])?;
    let status = async |token: &str| anyhow::Ok(stage.client.ask(token, "GET", "/api", &Value::Null).await?.status);
    let dead = stage.cluster.token_for("default", "default", Duration::ZERO)?;
    ensure!(status(&dead).await? == 401);
    let bound = stage.cluster.token_for_pod("default", "default", "p", Duration::from_mins(1))?;
    ensure!(status(&bound).await? == 200);
    stage.done("DELETE", "/api/v1/namespaces/default/pods/p", Value::Null).await?;
    ensure!(status(&bound).await? == 401);
    let signed = stage.cluster.token_for("default", "default", Duration::from_mins(1))?;
    ensure!(status(&signed).await? == 200);
    stage.cluster.faults().rotate_tokens()?;
    ensure!(status(&signed).await? == 401);
    ensure!(status(stage.cluster.admin_token()).await? == 200);
    let missing = stage.cluster.token_for("default", "nobody", Duration::from_mins(1));
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

#[tokio::test]
async fn an_announced_ca_is_published_beside_the_one_in_force() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    let old = stage.cluster.ca_pem();
    stage.cluster.faults().announce_ca()?;
    let both = stage.cluster.ca_pem();
    ensure!(both.starts_with(&old) && both.len() > old.len());
    let published = stage.list(&format!("{MAPS}/kube-root-ca.crt")).await?;
    ensure!(published["data"]["ca.crt"] == both.as_str());
    // A client that trusts both is served before and after. A client that trusts only the old one is not.
    let patient = Client::new(&stage.cluster);
    let asked = async |client: &Client| {
        let reply = client.ask(stage.cluster.admin_token(), "GET", MAPS, &Value::Null).await;
        reply.is_ok_and(|reply| reply.status == 200)
    };
    ensure!(asked(&patient).await && asked(&stage.client).await);
    stage.cluster.faults().rotate_ca()?;
    ensure!(asked(&patient).await && !asked(&stage.client).await);
    ensure!(both.ends_with(&stage.cluster.ca_pem()), "another CA than the one announced");
    Ok(())
}

#[tokio::test]
async fn a_restart_may_bring_a_new_ca_on_the_same_port() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    stage.done("POST", MAPS, map("kept", json!({}))).await?;
    let (url, old) = (stage.cluster.url(), stage.cluster.ca_pem());
    stage.cluster.restart()?;
    ensure!(stage.admin("GET", &format!("{MAPS}/kept"), Value::Null).await?.status == 200);
    stage.cluster.restart_with_new_ca()?;
    ensure!(stage.cluster.url() == url && stage.cluster.ca_pem() != old);
    ensure!(stage.admin("GET", MAPS, Value::Null).await.is_err(), "the old CA is still in use");
    let client = Client::new(&stage.cluster);
    let reply = client.ask(stage.cluster.admin_token(), "GET", &format!("{MAPS}/kept"), &Value::Null).await?;
    ensure!(reply.status == 200, "the data is lost");
    Ok(())
}

const PODS: &str = "/api/v1/namespaces/default/pods";

fn talker(log: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "talker", "annotations": {
            "devcluster.attache.dev/log": log,
            "devcluster.attache.dev/log.side": "aside\n",
            "devcluster.attache.dev/previous-log.side": "before\n",
        }},
        "spec": {"containers": [{"name": "main", "image": "x"}, {"name": "side", "image": "x"}]},
        "status": {"phase": "Running"}})
}

#[tokio::test]
async fn a_pod_logs_what_its_manifest_says() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    stage.cluster.load([talker("2026-01-01T00:00:00Z one\n2026-01-01T00:00:10Z two\nthree\n")])?;
    let table = [
        ("container=main", 200, "one\ntwo\nthree\n"),
        ("container=main&tailLines=1", 200, "three\n"),
        ("container=main&limitBytes=5", 200, "one\nt"),
        ("container=main&sinceTime=2026-01-01T00:00:05Z&tailLines=2", 200, "two\nthree\n"),
        ("container=main&sinceSeconds=3600", 200, "three\n"),
        ("container=main&timestamps=true&limitBytes=24", 200, "2026-01-01T00:00:00Z one"),
        ("container=side", 200, "aside\n"),
        ("container=side&previous=true", 200, "before\n"),
        (
            "container=main&previous=true",
            400,
            "previous terminated container \\\"main\\\" in pod \\\"talker\\\" not found",
        ),
        ("", 400, "a container name must be specified for pod talker, choose one of: [main side]"),
        ("container=none", 400, "container none is not valid for pod talker"),
        ("container=main&sinceTime=2026-01-01T00:00:05Z&sinceSeconds=5", 422, "at most one of"),
    ];
    for (query, status, expected) in table {
        let reply = stage.admin("GET", &format!("{PODS}/talker/log?{query}"), Value::Null).await?;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        let fits = if status == 200 { text == expected } else { text.contains(expected) };
        ensure!(reply.status == status && fits, "{query}: {} {text}", reply.status);
    }
    Ok(())
}

#[tokio::test]
async fn a_log_that_is_followed_grows_with_its_annotation_and_ends_with_its_pod() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    stage.cluster.load([talker("one\ntwo\n")])?;
    let mut log = stage.watch(&format!("{PODS}/talker/log?container=main&follow=true&tailLines=1")).await?;
    let mut line = async || anyhow::Ok(log.line().await?.map(|line| String::from_utf8_lossy(&line).into_owned()));
    ensure!(line().await?.as_deref() == Some("two\n"));
    let grown = json!({"metadata": {"annotations": {"devcluster.attache.dev/log": "one\ntwo\nthree\n"}}});
    stage.done("PATCH", &format!("{PODS}/talker"), grown).await?;
    ensure!(line().await?.as_deref() == Some("three\n"));
    stage.done("PATCH", &format!("{PODS}/talker/status"), json!({"status": {"phase": "Succeeded"}})).await?;
    ensure!(line().await?.is_none(), "it outlives the pod");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_shut_down_tells_the_last_events_first() -> Result<()> {
    let stage = Stage::new(|_| ())?;
    let mut watch = stage.watch(&format!("{MAPS}?watch=true&fieldSelector=metadata.name%3Dlast")).await?;
    stage.done("POST", MAPS, map("last", json!({}))).await?;
    stage.done("DELETE", &format!("{MAPS}/last"), Value::Null).await?;
    let Stage { cluster, client } = stage;
    let token = cluster.admin_token().to_owned();
    let gone = std::thread::spawn(move || cluster.shutdown());
    let mut told = Vec::new();
    while let Some(event) = watch.next().await? {
        told.push(event["type"].as_str().unwrap_or_default().to_owned());
    }
    ensure!(told == ["ADDED", "DELETED"], "{told:?}");
    tokio::task::spawn_blocking(move || gone.join()).await?.map_err(|_| anyhow::anyhow!("the server's end"))?;
    ensure!(client.ask(&token, "GET", MAPS, &Value::Null).await.is_err(), "it still serves");
    Ok(())
}
