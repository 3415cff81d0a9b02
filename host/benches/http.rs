//! The cost of a guest's request to the API server through `wasi:http` and through the typed interface, compared with
//! kube-rs without a guest, all against the same server.
//!
//! `cargo bench -p attache --bench http`. The server is the devcluster, in this process but on threads of its own.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench that cannot go on may stop")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use attache::cluster::{ApiClient, ApiClientSettings, Endpoint};
use attache::credentials::ServiceAccount;
use attache::extension::{Extension, Invocation, Runtime};
use attache::podinfo::PodInfo;
use attache::policy::Grant;
use attache::telemetry::NoAudit;
use attache_devcluster::{DevCluster, DevClusterSettings};
use attache_tests::guest;
use attache_tests::pod::PodTree;
use criterion::{Criterion, criterion_group, criterion_main};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

/// The most that a measuring guest prints, in bytes: one number for each round.
const OUTPUT: usize = 1 << 20;

/// A grant with the highest rate, because the rate is not measured.
const GRANT: &str = "
apiVersion: attache.dev/v1alpha1
kind: Grant
metadata: {name: bench}
spec:
  podinfo: {}
  api: [{apiGroups: [''], resources: [configmaps], verbs: [get], namespaces: [default]}]
  limits: {deadline: 10m, cpu: 10m, requestsPerSecond: 1000000, burst: 1000000}
";

const PLAIN: [&str; 1] = ["/api/v1/namespaces/default/configmaps/colours"];
const TYPED: [&str; 4] = ["get", "v1/configmaps", "default", "colours"];

struct Bench {
    _cluster: DevCluster,
    _tree: PodTree,
    native: Api<ConfigMap>,
    plain: Extension,
    typed: Extension,
}

impl Bench {
    async fn new() -> Self {
        let cluster = DevCluster::start(DevClusterSettings::default()).unwrap();
        let colours = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "colours"},
            "data": {"sky": "blue", "grass": "green", "sun": "yellow"}});
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "bench"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]});
        cluster.load([colours, role]).unwrap();
        let token = cluster.token_for("default", "default", Duration::from_secs(3600)).unwrap();
        let tree = PodTree::new().unwrap();
        let volume = tree.service_account(&token, &cluster.ca_pem(), "default").unwrap();
        let server = Endpoint::given(&cluster.url()).unwrap();
        let account = ServiceAccount::at(volume.path());
        let settings = ApiClientSettings::new(server, Arc::new(NoAudit)).service_account(account);
        let runtime = Runtime::builder().audit(Arc::new(NoAudit)).cluster(ApiClient::connect(settings).unwrap());
        // Rates that no ordinary host allows.
        let runtime = runtime.ceiling(Grant::parse(GRANT).unwrap().limits);
        let runtime = runtime
            .pod_info(PodInfo::builder().volume(tree.podinfo(&[("labels", "")]).unwrap().path()).build().unwrap())
            .build()
            .unwrap();
        let load = async |name| runtime.load_command_file(&guest(name), Grant::parse(GRANT).unwrap()).await.unwrap();
        let (plain, typed) = (load("bench-http").await, load("bench-calls").await);
        Self { native: native(&cluster, &token).await, _cluster: cluster, _tree: tree, plain, typed }
    }

    async fn natively(&self, calls: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..calls {
            self.native.get("colours").await.unwrap();
        }
        start.elapsed()
    }
}

/// Returns a client with the same account as the guests, so that the server does the same work.
async fn native(cluster: &DevCluster, token: &str) -> Api<ConfigMap> {
    let mut kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig()).unwrap();
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(AuthInfo { token: Some(token.to_owned().into()), ..Default::default() });
    }
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Api::namespaced(Client::try_from(config).unwrap(), "default")
}

/// Returns the time of `calls` calls, as the guest itself measures it.
async fn by_guest(extension: &Extension, calls: u64, call: &[&str]) -> Duration {
    let (out, err) = (MemoryOutputPipe::new(OUTPUT), MemoryOutputPipe::new(OUTPUT));
    let calls_text = calls.to_string();
    let arguments = ["1", &calls_text].into_iter().chain(call.iter().copied());
    let invocation = Invocation::new().args(arguments).stdout(out.clone()).stderr(err.clone());
    let outcome = extension.run(invocation).await.unwrap();
    assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&err.contents()));
    let each: f64 = String::from_utf8(out.contents().into()).unwrap().trim().parse().unwrap();
    #[allow(clippy::cast_precision_loss, reason = "fewer calls than a float counts exactly")]
    Duration::from_secs_f64(each * calls as f64 / 1e9)
}

fn get(c: &mut Criterion) {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let bench = tokio.block_on(Bench::new());
    let mut group = c.benchmark_group("one ConfigMap");
    group.bench_function("kube-rs natively", |b| b.iter_custom(|calls| tokio.block_on(bench.natively(calls))));
    group.bench_function("a guest, api.get", |b| {
        b.iter_custom(|calls| tokio.block_on(by_guest(&bench.typed, calls, &TYPED)));
    });
    group.bench_function("a guest, wasi:http", |b| {
        b.iter_custom(|calls| tokio.block_on(by_guest(&bench.plain, calls, &PLAIN)));
    });
    group.finish();
    tokio.block_on(in_turn(&bench));
}

/// Measures all three in turn, so that other load on the machine affects each. Prints the medians of the guest's extra
/// time.
async fn in_turn(bench: &Bench) {
    const TURNS: usize = 101;
    const CALLS: u64 = 50;
    let (mut typed, mut plain) = (Vec::with_capacity(TURNS), Vec::with_capacity(TURNS));
    for _ in 0..TURNS {
        let native = bench.natively(CALLS).await.as_secs_f64();
        typed.push(by_guest(&bench.typed, CALLS, &TYPED).await.as_secs_f64() / native);
        plain.push(by_guest(&bench.plain, CALLS, &PLAIN).await.as_secs_f64() / native);
    }
    let median = |mut ratios: Vec<f64>| {
        ratios.sort_by(f64::total_cmp);
        ratios[TURNS / 2]
    };
    println!(
        "one ConfigMap, medians of {TURNS} turns: api.get takes {:.3} times kube-rs's, wasi:http {:.3} times",
        median(typed),
        median(plain)
    );
}

criterion_group!(benches, get);
criterion_main!(benches);
