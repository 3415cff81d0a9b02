//! What it takes to follow a collection: one follower or a thousand, guests, a long list, and a read from the host's copy.
//!
//! `cargo bench -p attache --features devcluster --bench watch`. A plain program: criterion measures one thing many times,
//! and here a change meets a thousand at once. The server is the devcluster, on threads of its own; where memory is
//! measured, the measuring is done in a process apart from it, which this one starts.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a bench that cannot go on may stop")]
#![allow(clippy::cast_precision_loss, reason = "numbers that are printed with few digits")]

use attache::cluster::watch::{Followed, Follower, Scope, WatchSettings};
use attache::cluster::{Cluster, ClusterSettings, Endpoint};
use attache::credentials::ServiceAccount;
use attache::devcluster::{DevCluster, DevClusterSettings};
use attache::engine::{Engine, EngineSettings};
use attache::extension::{Extension, Invocation, Runtime};
use attache::gate::{Gate, Way};
use attache::policy::{ApiRequest, Grant};
use attache::telemetry::NoAudit;
use attache_tests::guest;
use attache_tests::pod::PodTree;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

/// How many follow.
const CROWDS: [usize; 3] = [1, 100, 1000];
/// Changes whose way to the last follower is measured.
const CHANGES: usize = 50;
/// Pods of the long list.
const PODS: usize = 10_000;
/// The most that a guest prints, in bytes.
const OUTPUT: usize = 1 << 20;

/// Nothing here is limited but by what is measured.
const GRANT: &str = "
apiVersion: attache.dev/v1alpha1
kind: Grant
metadata: {name: bench}
spec:
  api: [{apiGroups: [''], resources: [configmaps, pods], verbs: [get, list, watch], namespaces: [default]}]
  limits: {deadline: 10m, cpu: 10m, requestsPerSecond: 1000000, burst: 1000000, watches: 100000, instances: 2000,
           responseBytes: 64Mi, memory: 256Mi}
";

/// What a process needs to speak to the server of another: URL, service-account directory, and the text of a kubeconfig.
const URL: &str = "ATTACHE_BENCH_URL";
const ACCOUNT: &str = "ATTACHE_BENCH_ACCOUNT";
const KUBECONFIG: &str = "ATTACHE_BENCH_KUBECONFIG";

#[tokio::main]
async fn main() {
    // `cargo test --benches` asks every bench for a quick pass; there is nothing quick here.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    if let Some(part) = std::env::args().nth(1).filter(|part| part.starts_with("part-")) {
        return in_part(&part).await;
    }
    let server = DevCluster::start(DevClusterSettings::default()).unwrap();
    let tree = PodTree::new().unwrap();
    let account = furnish(&server, &tree);
    for crowd in CROWDS {
        followers(&server, &account, crowd).await;
    }
    for crowd in CROWDS {
        guests(&server, &account, crowd).await;
    }
    copy_beside_server(&server, &account).await;
    server.load((0..PODS).map(pod)).unwrap();
    for part in ["part-native", "part-guest", "part-copy"] {
        let program = std::env::current_exe().unwrap();
        let ended = Command::new(program)
            .arg(part)
            .env(URL, server.url())
            .env(ACCOUNT, &account)
            .env(KUBECONFIG, server.kubeconfig())
            .status();
        assert!(ended.unwrap().success(), "{part}");
    }
}

/// An account that may read everything, as a pod has it.
fn furnish(server: &DevCluster, tree: &PodTree) -> std::path::PathBuf {
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "bench"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]});
    server.load([role, config_map("colours", "blue")]).unwrap();
    let token = server.token_for("default", "default", Duration::from_secs(3600)).unwrap();
    tree.service_account(&token, &server.ca_pem(), "default").unwrap().path().to_owned()
}

fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"bench": "yes"}},
        "data": {"value": value}})
}

/// A pod as clusters have them: some 3 KiB, most of it said by the server itself.
fn pod(number: usize) -> Value {
    let container = |name: &str| {
        json!({"name": name, "image": format!("registry.example.com/team/{name}:1.2.{number}"),
        "env": (0..8).map(|n| json!({"name": format!("SETTING_{n}"), "value": "a value of some length"})).collect::<Vec<_>>(),
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}})
    };
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("web-{number:05}"), "labels": {"app": "web"}},
        "spec": {"containers": [container("web"), container("proxy")]}})
}

fn cluster(url: &str, account: &Path) -> Cluster {
    let watches = WatchSettings { bytes: 512 << 20, linger: Duration::from_millis(1) };
    let settings = ClusterSettings {
        service_account: Some(ServiceAccount::at(account)),
        watches,
        ..ClusterSettings::new(Endpoint::given(url).unwrap(), Arc::new(NoAudit))
    };
    Cluster::connect(settings).unwrap()
}

fn follow(cluster: &Cluster, gate: &Gate, plural: &str) -> Follower {
    let collection = ApiRequest::builder().resource("", "v1", plural).namespace(Some("default"));
    let scope = Scope::of(collection).unwrap();
    let permit = gate.admit_follower(Way::Api, scope.list(), scope.watch().clone()).unwrap();
    cluster.follow(&scope, permit).unwrap()
}

fn gate() -> Gate {
    Gate::new("bench", Arc::new(Grant::parse(GRANT).unwrap()), Arc::new(NoAudit))
}

/// Followers in the host, each a task: what a change takes to the last of them, and what each holds.
async fn followers(server: &DevCluster, account: &Path, crowd: usize) {
    let (cluster, gate) = (cluster(&server.url(), account), gate());
    let (told, mut heard) = mpsc::unbounded_channel();
    let first = follow(&cluster, &gate, "configmaps");
    let before = Memory::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..crowd {
        tasks.spawn(tell_changes(follow(&cluster, &gate, "configmaps"), told.clone()));
    }
    for _ in 0..crowd {
        heard.recv().await.unwrap();
    }
    let each = (Memory::now().resident - before.resident) * 1024 / i64::try_from(crowd).unwrap();
    let mut times = Vec::with_capacity(CHANGES);
    for change in 0..CHANGES {
        let began = Instant::now();
        server.load([config_map("colours", &format!("{crowd}-{change}"))]).unwrap();
        for _ in 0..crowd {
            heard.recv().await.unwrap();
        }
        times.push(began.elapsed());
    }
    times.sort();
    let figures = cluster.watch_figures();
    println!(
        "{crowd} followers: {figures:?}; from a change to the last: median {:.2} ms, worst {:.2} ms; {each} bytes each",
        millis(times[CHANGES / 2]),
        millis(times[CHANGES - 1])
    );
    tasks.shutdown().await;
    drop(first);
}

/// Says when a follower has seen the replay, and when it has seen a change.
async fn tell_changes(mut follower: Follower, told: mpsc::UnboundedSender<()>) {
    let mut synced = false;
    loop {
        follower.changed().await;
        for change in follower.read(100).unwrap() {
            synced |= matches!(change, Followed::Synced);
            if synced && matches!(change, Followed::Synced | Followed::Applied(_)) {
                told.send(()).unwrap();
            }
        }
    }
}

fn extension_of(server_url: &str, account: &Path) -> (Runtime, Cluster) {
    let instances = u32::try_from(CROWDS[CROWDS.len() - 1]).unwrap() + 10;
    let engine = Engine::new(&EngineSettings::default().instances(instances)).unwrap();
    let cluster = cluster(server_url, account);
    let runtime = Runtime::builder().engine(engine).audit(Arc::new(NoAudit)).cluster(cluster.clone());
    (runtime.build().unwrap(), cluster)
}

async fn load(runtime: &Runtime) -> Extension {
    runtime.load_file(&guest("bench-calls"), Grant::parse(GRANT).unwrap()).await.unwrap()
}

/// Guests that follow until an object of the name `end` is there: from that change to the end of the last guest.
async fn guests(server: &DevCluster, account: &Path, crowd: usize) {
    let (runtime, cluster) = extension_of(&server.url(), account);
    let extension = load(&runtime).await;
    let before = Memory::now();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..crowd {
        let extension = extension.clone();
        running.spawn(async move {
            extension.run(Invocation::new().args(["1", "1", "follow", "v1/configmaps", "default"])).await
        });
    }
    while cluster.watch_figures().followers < crowd {
        tokio::task::yield_now().await;
    }
    let each = (Memory::now().resident - before.resident) / i64::try_from(crowd).unwrap();
    let upstreams = cluster.watch_figures().upstreams;
    let began = Instant::now();
    server.load([config_map("end", "now")]).unwrap();
    while let Some(ended) = running.join_next().await {
        assert_eq!(ended.unwrap().unwrap().code, 0);
    }
    let took = millis(began.elapsed());
    println!(
        "{crowd} guests: {upstreams} upstream; from a change to the end of the last: {took:.2} ms; {each} KiB each"
    );
    server.load([config_map("end", "before")]).unwrap();
    let gone = ApiRequest::parse(&http::Method::DELETE, "/api/v1/namespaces/default/configmaps/end").unwrap();
    admin(server, gone).await;
}

/// Makes one request as the cluster's admin.
async fn admin(server: &DevCluster, request: ApiRequest) {
    let tree = PodTree::new().unwrap();
    let volume = tree.service_account(server.admin_token(), &server.ca_pem(), "default").unwrap();
    let text = GRANT.replace("verbs: [get, list, watch]", "verbs: [delete]");
    let gate = Gate::new("bench", Arc::new(Grant::parse(&text).unwrap()), Arc::new(NoAudit));
    let permit = gate.admit(Way::Api, request).unwrap();
    cluster(&server.url(), volume.path()).fetch(permit, attache::cluster::Payload::none()).await.unwrap();
}

/// `get` from the host's copy beside `get` from the server, as a guest measures them.
async fn copy_beside_server(server: &DevCluster, account: &Path) {
    let (runtime, _cluster) = extension_of(&server.url(), account);
    let extension = load(&runtime).await;
    for (call, calls) in [("get-copy", "5000"), ("get", "200")] {
        let words = ["21", calls, call, "v1/configmaps", "default", "colours"];
        let mut rounds: Vec<f64> =
            printed(&extension, &words).await.lines().map(|line| line.trim().parse().unwrap()).collect();
        rounds.sort_by(f64::total_cmp);
        println!("{call}: median {:.2} µs, best {:.2} µs", rounds[rounds.len() / 2] / 1e3, rounds[0] / 1e3);
    }
}

async fn printed(extension: &Extension, words: &[&str]) -> String {
    let (out, err) = (MemoryOutputPipe::new(OUTPUT), MemoryOutputPipe::new(OUTPUT));
    let call = Invocation::new().args(words.iter().copied()).stdout(out.clone()).stderr(err.clone());
    let outcome = extension.run(call).await.unwrap();
    assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&err.contents()));
    String::from_utf8(out.contents().into()).unwrap()
}

/// One way to have [`PODS`] pods, in a process of its own; prints how far memory rose.
async fn in_part(part: &str) {
    let (url, account) = (std::env::var(URL).unwrap(), std::env::var_os(ACCOUNT).unwrap());
    let account = Path::new(&account);
    match part {
        "part-native" => {
            let api = native().await;
            api.list(&ListParams::default().limit(1)).await.unwrap();
            rise("kube-rs natively, a page at a time", list_natively(&api)).await;
        }
        "part-guest" => {
            let (runtime, _cluster) = extension_of(&url, account);
            let extension = load(&runtime).await;
            let few = ["1", "1", "list", "v1/configmaps", "default"];
            printed(&extension, &few).await;
            let all = ["1", "1", "list", "v1/pods", "default"];
            rise("a guest and its host, a page at a time", async { _ = printed(&extension, &all).await }).await;
        }
        _ => {
            let (cluster, gate) = (cluster(&url, account), gate());
            let mut warm = follow(&cluster, &gate, "configmaps");
            warm.filled().await.unwrap();
            let mut pods = None;
            rise("the host's copy of all", async {
                let mut follower = follow(&cluster, &gate, "pods");
                follower.filled().await.unwrap();
                pods = Some(follower);
            })
            .await;
            println!("  of which objects and their keeping: {} KiB", cluster.watch_figures().bytes / 1024);
        }
    }
}

async fn rise(what: &str, work: impl Future<Output = ()>) {
    let (before, began) = (Memory::now(), Instant::now());
    work.await;
    let after = Memory::now();
    let (peak, kept) = (after.peak - before.resident, after.resident - before.resident);
    println!("{PODS} pods, {what}: peak +{peak} KiB, afterwards +{kept} KiB, {:.0} ms", millis(began.elapsed()));
}

async fn native() -> Api<Pod> {
    let kubeconfig = Kubeconfig::from_yaml(&std::env::var(KUBECONFIG).unwrap()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Api::namespaced(Client::try_from(config).unwrap(), "default")
}

async fn list_natively(api: &Api<Pod>) {
    let (mut cursor, mut count) = (None::<String>, 0);
    loop {
        let page = ListParams { continue_token: cursor, ..ListParams::default().limit(500) };
        let list = api.list(&page).await.unwrap();
        count += list.items.len();
        cursor = list.metadata.continue_.filter(|token| !token.is_empty());
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(count, PODS);
}

/// Memory of this process in KiB, from `/proc/self/status`.
struct Memory {
    resident: i64,
    peak: i64,
}

impl Memory {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Self { resident: field("VmRSS:"), peak: field("VmHWM:") }
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}
