//! The cost of following: guests that share one watch, a list of ten thousand pods, and `get` from the host's copy.
//!
//! `cargo bench -p attache --bench watch` is a program that prints figures. With `-- --quick` it does less of
//! everything, to check that it runs. The server is the devcluster, in this process but on threads of its own. The
//! server's memory is part of the process's memory, and so of both columns of a memory comparison.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot go on may stop")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use attache::cluster::watch::{Follower, Scope, WatchSettings};
use attache::cluster::{ApiClient, ApiClientSettings, Endpoint};
use attache::credentials::ServiceAccount;
use attache::extension::{Extension, Invocation, Outcome, Runtime};
use attache::gate::{Channel, Gate};
use attache::podinfo::PodInfo;
use attache::policy::{ApiRequest, Grant};
use attache::telemetry::{Audit, AuditRecord, NoAudit};
use attache_devcluster::{DevCluster, DevClusterSettings};
use attache_tests::guest;
use attache_tests::pod::PodTree;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

/// The most that a measuring guest prints, in bytes.
const OUTPUT: usize = 1 << 20;
/// The number of objects in a page of every list.
const PAGE: u32 = 500;

/// A grant with wide limits, because the limits are not measured.
const GRANT: &str = "
apiVersion: attache.dev/v1alpha1
kind: Grant
metadata: {name: bench}
spec:
  podinfo: {}
  api: [{apiGroups: [''], resources: [configmaps, pods], verbs: [get, list, watch], namespaces: [default]}]
  limits: {deadline: 10m, cpu: 10m, requestsPerSecond: 1000000, burst: 1000000, watches: 100000, inFlight: 100000,
           instances: 1000, responseBytes: 64Mi, memory: 256Mi, logBytesPerSecond: 16Mi}
";

/// Counts the started watches: the host's own, and the followers.
#[derive(Default)]
struct Begun {
    upstreams: AtomicUsize,
    followers: AtomicUsize,
}

impl Audit for Begun {
    fn record(&self, line: &AuditRecord<'_>) {
        if line.verdict.as_str() == "begun" {
            let of = if line.way == Channel::Host { &self.upstreams } else { &self.followers };
            of.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Bench {
    server: DevCluster,
    _tree: PodTree,
    token: String,
    cluster: ApiClient,
    runtime: Runtime,
    begun: Arc<Begun>,
}

impl Bench {
    fn new() -> Self {
        let server = DevCluster::start(DevClusterSettings::default()).unwrap();
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "bench"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]});
        server.load([role, map("colours", "blue")]).unwrap();
        let token = server.token_for("default", "default", Duration::from_secs(3600)).unwrap();
        let tree = PodTree::new().unwrap();
        let volume = tree.service_account(&token, &server.ca_pem(), "default").unwrap();
        let begun = Arc::new(Begun::default());
        let settings = ApiClientSettings::new(Endpoint::given(&server.url()).unwrap(), begun.clone())
            .service_account(ServiceAccount::at(volume.path()))
            .watches(WatchSettings::new().linger(Duration::ZERO));
        let cluster = ApiClient::connect(settings).unwrap();
        let podinfo = tree.podinfo(&[("labels", "")]).unwrap();
        let runtime = Runtime::builder()
            .audit(begun.clone())
            .cluster(cluster.clone())
            .pod_info(PodInfo::builder().volume(podinfo.path()).build().unwrap());
        // Rates that no ordinary host allows.
        let runtime = runtime.ceiling(Grant::parse(GRANT).unwrap().limits);
        Self { server, token, cluster, runtime: runtime.build().unwrap(), begun, _tree: tree }
    }

    async fn load(&self, name: &str) -> Extension {
        self.runtime.load_command_file(&guest(name), Grant::parse(GRANT).unwrap()).await.unwrap()
    }

    fn follow(&self, gate: &Gate) -> Follower {
        let path = ApiRequest::builder().resource("", "v1", "configmaps").namespace(Some("default"));
        let scope = Scope::of(path).unwrap();
        let permit = gate.admit_follower(Channel::Api, scope.list(), scope.watch().clone()).unwrap();
        self.cluster.follow(&scope, permit).unwrap()
    }

    async fn native(&self) -> Api<Pod> {
        let mut kubeconfig = Kubeconfig::from_yaml(&self.server.kubeconfig()).unwrap();
        for user in &mut kubeconfig.auth_infos {
            let token = Some(self.token.clone().into());
            user.auth_info = Some(kube::config::AuthInfo { token, ..Default::default() });
        }
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Api::namespaced(Client::try_from(config).unwrap(), "default")
    }
}

fn map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}})
}

/// Returns a pod of about the size of real ones.
fn pod(number: usize) -> Value {
    let labels: serde_json::Map<String, Value> =
        (0..8).map(|label| (format!("example.com/label-{label}"), json!(format!("value-{number}")))).collect();
    let variables: Vec<_> =
        (0..20).map(|variable| json!({"name": format!("VARIABLE_{variable}"), "value": "x".repeat(40)})).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("pod-{number:05}"), "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "registry.example.com/app:1.0", "env": variables}]}})
}

/// Runs a guest once. Returns the outcome and the output.
async fn run(extension: &Extension, words: &[&str]) -> (Outcome, String) {
    let out = MemoryOutputPipe::new(OUTPUT);
    let call = Invocation::new().args(words.iter().copied()).stdout(out.clone()).stderr(out.clone());
    let outcome = extension.run(call).await.unwrap();
    (outcome, String::from_utf8_lossy(&out.contents()).into_owned())
}

/// Returns a field of this process's memory, in bytes.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or_default() * 1024
}

/// Runs `work`. Returns its result, and the growth of the process's peak memory meanwhile.
async fn peak<T>(work: impl Future<Output = T>) -> (T, u64) {
    // 5 resets the peak (proc_pid_clear_refs(5)).
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS");
    let done = work.await;
    (done, memory("VmHWM").saturating_sub(before))
}

/// Measures guests that follow one collection: the time until a change reaches the last of them.
async fn guests(bench: &Bench, number: usize) {
    let extension = bench.load("watch-calls").await;
    let (upstreams, followers) = (&bench.begun.upstreams, &bench.begun.followers);
    upstreams.store(0, Ordering::Relaxed);
    followers.store(0, Ordering::Relaxed);
    let last = format!("zz-last-{number}");
    let mut running = JoinSet::new();
    for _ in 0..number {
        let (extension, last) = (extension.clone(), last.clone());
        running.spawn(async move { run(&extension, &["picture", "v1/configmaps", "default", "-", "-", &last]).await });
    }
    while followers.load(Ordering::Relaxed) < number {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Time for the last guest to read its replay.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    bench.server.load([map(&last, "1")]).unwrap();
    let made = begun.elapsed();
    while let Some(done) = running.join_next().await {
        assert_eq!(done.unwrap().0.code, 0);
    }
    let upstreams = upstreams.load(Ordering::Relaxed);
    println!(
        "{number:>5} guests: {upstreams} upstream watch; {:?} from a change ({made:?} to make it) to the last guest's end",
        begun.elapsed()
    );
}

/// Measures followers without guests: the cost of one, and the time until a change reaches the last of them.
async fn followers(bench: &Bench, number: usize) {
    let gate = Gate::new("bench", Arc::new(Grant::parse(GRANT).unwrap()), Arc::new(NoAudit));
    let mut first = bench.follow(&gate);
    first.filled().await.unwrap();
    let before = memory("VmRSS");
    let mut all: Vec<_> = (0..number).map(|_| bench.follow(&gate)).collect();
    for follower in &mut all {
        while !follower.read(1024).unwrap().is_empty() {}
    }
    let each = memory("VmRSS").saturating_sub(before) / number as u64;
    let mut waiting = JoinSet::new();
    for mut follower in all {
        waiting.spawn(async move {
            follower.changed().await;
            let told = follower.read(16).unwrap().len();
            (Instant::now(), told, follower)
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    bench.server.load([map("colours", &format!("{number}"))]).unwrap();
    let mut last = begun;
    while let Some(done) = waiting.join_next().await {
        let (at, told, _follower) = done.unwrap();
        assert_eq!(told, 1);
        last = last.max(at);
    }
    let figures = bench.cluster.watch_figures();
    println!(
        "{number:>5} followers: {} upstream watch; {:?} from a change to the last; about {each} bytes each",
        figures.upstreams,
        last - begun
    );
}

async fn listing(bench: &Bench, number: usize) {
    bench.server.load((0..number).map(pod)).unwrap();
    let native = bench.native().await;
    let counted = async || {
        let (mut count, mut parameters) = (0, ListParams::default().limit(PAGE));
        loop {
            let page = native.list(&parameters).await.unwrap();
            count += page.items.len();
            match page.metadata.continue_.filter(|cursor| !cursor.is_empty()) {
                Some(cursor) => parameters = parameters.continue_token(&cursor),
                None => return count,
            }
        }
    };
    let extension = bench.load("bench-calls").await;
    let words = ["1", "1", "count", "v1/pods", "default"];
    // One run before, so that connections, caches and arenas exist for both.
    assert_eq!(counted().await, number);
    run(&extension, &words).await;
    let (_, natively) = peak(counted()).await;
    let ((outcome, _), ours) = peak(run(&extension, &words)).await;
    println!(
        "list of {number} pods in pages of {PAGE}: peak {} KiB more, {} KiB of it the guest's own; kube-rs natively {} KiB more",
        ours / 1024,
        outcome.memory / 1024,
        natively / 1024
    );
}

async fn copies(bench: &Bench, rounds: &str, calls: &str) {
    let extension = bench.load("bench-calls").await;
    for what in ["get-copy", "get"] {
        let words = [rounds, calls, what, "v1/configmaps", "default", "colours"];
        let (_, printed) = run(&extension, &words).await;
        let mut figures: Vec<f64> = printed.lines().filter_map(|line| line.parse().ok()).collect();
        figures.sort_by(f64::total_cmp);
        let median = figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN);
        println!("{what:>8} of a config map from a guest: {:.2} µs", median / 1000.0);
    }
}

#[tokio::main]
async fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let bench = Bench::new();
    let crowds: &[usize] = if quick { &[1, 20] } else { &[1, 100, 1000] };
    for number in crowds {
        guests(&bench, *number).await;
        followers(&bench, *number).await;
    }
    followers(&bench, if quick { 500 } else { 10_000 }).await;
    copies(&bench, if quick { "3" } else { "30" }, if quick { "50" } else { "1000" }).await;
    listing(&bench, if quick { 600 } else { 10_000 }).await;
}
