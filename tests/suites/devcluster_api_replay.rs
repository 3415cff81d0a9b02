//! Replays exchanges with a real kube-apiserver 1.36.2 against the devcluster and compares the answers.
//!
//! `recordings/state.jsonl` is what the real server held; a step that the recording does not show (an object that was
//! made in between) is made up for, and the resource version is driven to where it was, so that even its numbers are
//! compared. What differs by its nature is masked: times, identities, tokens, random suffixes, the server's address.

#[path = "devcluster_api/client.rs"]
mod client;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use attache_devcluster::{DevCluster, DevClusterSettings};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use client::{Client, Reply};

/// The exchanges that are known to differ, and why.
const DEVIATIONS: &[(&str, &str)] = &[
    ("015", "the documents behind the index are shorter here, so their hashes differ"),
    ("018", "there are fewer parts here whose health could be told"),
    ("020", "tokens are signed with ECDSA (ES256) here; the recorded server's key is RSA"),
    ("022", "tokens are signed with ECDSA (ES256) here; the recorded server's key is RSA"),
    ("033", "no answer is written as protobuf: a client that takes nothing else gets 406"),
];

/// At least so many have to be the same.
const GOAL: usize = 95;

struct Exchange {
    number: String,
    name: String,
    identity: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Bytes,
    status: u16,
    answer: Vec<u8>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings")
}

fn read_all() -> Result<Vec<Exchange>> {
    let index = std::fs::read_to_string(folder().join("INDEX.tsv"))?;
    index.lines().skip(1).map(read_one).collect()
}

fn read_one(line: &str) -> Result<Exchange> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [file, identity, method, target, status, ..] = columns[..] else { anyhow::bail!("a short line: {line}") };
    let request = std::fs::read_to_string(folder().join(format!("{file}.request")))?.replace("\r\n", "\n");
    let (head, body) = request.split_once("\n\n").context("a request without an end")?;
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let answer = std::fs::read(folder().join(format!("{file}.http")))?;
    let end = answer.windows(2).position(|pair| pair == b"\n\n").context("an answer without an end")?;
    Ok(Exchange {
        number: file.get(..3).unwrap_or_default().to_owned(),
        name: file.to_owned(),
        identity: identity.to_owned(),
        method: method.to_owned(),
        target: target.to_owned(),
        headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        body: body.trim_end_matches('\n').to_owned().into(),
        status: status.split(' ').next().unwrap_or_default().parse()?,
        answer: answer.get(end + 2..).unwrap_or_default().to_vec(),
    })
}

/// The cluster as it was recorded.
struct Stage {
    cluster: DevCluster,
    client: Client,
    ext: String,
    /// Identities of the recording and those that stand for them here.
    identities: BTreeMap<String, String>,
}

impl Stage {
    fn new() -> Result<Self> {
        let mut settings = DevClusterSettings::default();
        settings.pod_stop = Duration::ZERO;
        let cluster = DevCluster::start(settings)?;
        let state = std::fs::read_to_string(folder().join("state.jsonl"))?;
        let objects: Result<Vec<Value>, _> = state.lines().map(serde_json::from_str).collect();
        cluster.restore(objects?)?;
        // The recorded server's distribution opens two more paths to everybody who is known.
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

    /// Lets the cluster's own business go on until the revision is `wanted`.
    async fn drive_to(&self, wanted: u64) -> Result<()> {
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

    /// What happened before an exchange and is not among the recordings.
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

    async fn play(&mut self, exchange: &Exchange) -> Result<Verdict> {
        self.before(exchange).await?;
        let request = self.request(exchange)?;
        let http2 = exchange.name.ends_with("-h2");
        let reply = if exchange.number == "117" {
            let (reply, ()) = tokio::try_join!(self.client.send(request, http2), self.rewrite())?;
            reply
        } else if exchange.number == "009" {
            // The tag is a hash of what is served; the real one's is asked for with the tag that it gave.
            let tag = self.tag().await?;
            let mut request = request;
            request.headers_mut().insert("if-none-match", tag.parse()?);
            self.client.send(request, http2).await?
        } else {
            self.client.send(request, http2).await?
        };
        self.learn(exchange, &reply);
        Ok(self.compare(exchange, &reply))
    }

    async fn tag(&self) -> Result<String> {
        let request = Request::builder()
            .uri("/apis")
            .header("authorization", format!("Bearer {}", self.ext))
            .header("accept", "application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io");
        let reply = self.client.send(request.body(Bytes::new())?, false).await?;
        Ok(reply.headers.get("etag").context("no tag")?.to_str()?.to_owned())
    }

    /// What the recorder wrote while it watched.
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

    /// Which identity here stands for the recorded one.
    fn learn(&mut self, exchange: &Exchange, reply: &Reply) {
        let recorded: Value = serde_json::from_slice(&exchange.answer).unwrap_or_default();
        let here = reply.json();
        if let (Some(recorded), Some(here)) = (recorded["metadata"]["uid"].as_str(), here["metadata"]["uid"].as_str()) {
            self.identities.insert(recorded.to_owned(), here.to_owned());
        }
    }

    fn compare(&self, exchange: &Exchange, reply: &Reply) -> Verdict {
        let recorded = values(&exchange.answer);
        let text = String::from_utf8_lossy(&reply.body).replace(&self.cluster.address().to_string(), "127.0.0.1:6443");
        let here = values(text.as_bytes());
        let reason = |values: &[Value]| values.first().map(|value| value["reason"].clone());
        Verdict {
            status: reply.status == exchange.status,
            reason: reason(&recorded) == reason(&here),
            difference: difference("", &Value::Array(recorded), &Value::Array(here)),
        }
    }
}

struct Verdict {
    status: bool,
    reason: bool,
    difference: Option<String>,
}

impl Verdict {
    fn same(&self) -> bool {
        self.status && self.reason && self.difference.is_none()
    }

    fn show(&self, name: &str) {
        let mark = |good: bool| if good { "same" } else { "OTHER" };
        let body = mark(self.difference.is_none());
        println!("{name:<46} {:>6} {:>6} {body:>6}", mark(self.status), mark(self.reason));
    }
}

/// The revision that an exchange begins at, as far as its answer tells.
fn recorded_revision(exchange: &Exchange) -> Option<u64> {
    let told = |value: &Value| value["metadata"]["resourceVersion"].as_str()?.parse::<u64>().ok();
    match (exchange.method.as_str(), exchange.number.as_str()) {
        (_, "117") => Some(702),
        (_, "118") => Some(714),
        (_, "126") => Some(736),
        ("POST" | "PUT" | "PATCH", _) if exchange.status < 300 && !exchange.target.contains("dryRun") => {
            let answer: Value = serde_json::from_slice(&exchange.answer).ok()?;
            told(&answer).map(|revision| revision - 1)
        }
        ("GET", _) => {
            let answer: Value = serde_json::from_slice(&exchange.answer).ok()?;
            let list = answer["kind"].as_str()?.ends_with("List") || answer["kind"] == "Table";
            told(&answer).filter(|_| list && !exchange.target.ends_with("/web"))
        }
        _ => None,
    }
}

/// A body as masked values: one for JSON or YAML, one a line of a watch, the text itself for what is neither.
fn values(body: &[u8]) -> Vec<Value> {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        return vec![masked(value)];
    }
    let text = String::from_utf8_lossy(body).trim().to_owned();
    let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    match lines {
        Ok(lines) => lines.into_iter().map(masked).collect(),
        Err(_) if text.starts_with("apiVersion:") => serde_saphyr::from_str(&text).map(masked).into_iter().collect(),
        Err(_) => vec![text.into()],
    }
}

const MASKED: &[&str] = &["uid", "time", "creationTimestamp", "expirationTimestamp", "token", "buildDate"];

fn masked(mut value: Value) -> Value {
    if let Some(columns) = value["columnDefinitions"].as_array() {
        let age = columns.iter().position(|column| column["name"] == "Age");
        for row in value["rows"].as_array_mut().into_iter().flatten() {
            if let Some(cell) = age.and_then(|age| row["cells"].get_mut(age)) {
                *cell = "AGE".into();
            }
        }
    }
    mask(&mut value);
    // Looking for a field by index makes it.
    if let Some(map) = value.as_object_mut().filter(|map| map.get("columnDefinitions").is_some_and(Value::is_null)) {
        map.remove("columnDefinitions");
    }
    value
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                if MASKED.contains(&name.as_str()) && value.is_string() {
                    *value = "MASKED".into();
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(mask),
        Value::String(text) if text.starts_with("JTI=") => "JTI=MASKED".clone_into(text),
        Value::String(text) if text.starts_with("rec-g-") && text.len() == 11 => "rec-g-MASKED".clone_into(text),
        _ => {}
    }
}

/// The first place at which two values differ.
fn difference(path: &str, recorded: &Value, here: &Value) -> Option<String> {
    match (recorded, here) {
        (Value::Object(a), Value::Object(b)) => {
            let names: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let null = Value::Null;
            names.into_iter().find_map(|name| {
                let at = format!("{path}.{name}");
                match (a.get(name), b.get(name)) {
                    (None, Some(Value::Null)) | (Some(Value::Null), None) => Some(format!("{at}: null and nothing")),
                    (x, y) => difference(&at, x.unwrap_or(&null), y.unwrap_or(&null)),
                }
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(at, (a, b))| difference(&format!("{path}[{at}]"), a, b))
        }
        _ if recorded == here => None,
        _ => {
            let short = |value: &Value| value.to_string().chars().take(120).collect::<String>();
            Some(format!("{path}: recorded {}, here {}", short(recorded), short(here)))
        }
    }
}

/// The name under which `cargo test NAME` finds this suite; it is one test, whose output is its table.
const NAME: &str = "the_devcluster_answers_as_a_real_server_did";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let asked = filters.is_empty() || filters.iter().any(|filter| NAME.contains(filter.as_str()));
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{NAME}: test");
    } else if asked {
        Box::pin(replay()).await?;
    }
    Ok(())
}

async fn replay() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.drive_to(662).await?;
    let (mut same, mut total, mut unexplained) = (0_usize, 0_usize, Vec::new());
    println!("{:<46} {:>6} {:>6} {:>6}", "exchange", "status", "reason", "body");
    for exchange in read_all()? {
        let verdict = stage.play(&exchange).await.with_context(|| exchange.name.clone())?;
        total += 1;
        same += usize::from(verdict.same());
        verdict.show(&exchange.name);
        let known = DEVIATIONS.iter().find(|(number, _)| *number == exchange.number);
        match (verdict.same(), known) {
            (true, None) => {}
            (true, Some(_)) => unexplained.push(format!("{} is the same by now", exchange.name)),
            (false, Some((_, why))) => println!("    {why}"),
            (false, None) => unexplained.push(format!("{} differs", exchange.name)),
        }
        if let Some(difference) = &verdict.difference {
            println!("    first at {difference}");
        }
    }
    println!("{same} of {total} exchanges the same");
    ensure!(unexplained.is_empty(), "not as the list of deviations says: {unexplained:?}");
    ensure!(same >= GOAL, "only {same} of {total} exchanges are the same");
    Ok(())
}
