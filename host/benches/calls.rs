//! The cost of a guest's request to the API server, compared with kube-rs without a guest against the same server.
//!
//! `cargo bench -p attache --bench calls`. The server is the devcluster, in this process but on threads of its own.

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
use kube::config::{KubeConfigOptions, Kubeconfig};
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

struct Bench {
    _cluster: DevCluster,
    _tree: PodTree,
    native: Api<ConfigMap>,
    extension: Extension,
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
            .pod_info(PodInfo::builder().volume(tree.podinfo(&[("labels", "")]).unwrap().path()).build().unwrap());
        let grant = Grant::parse(GRANT).unwrap();
        let extension = runtime.build().unwrap().load_command_file(&guest("bench-calls"), grant).await.unwrap();
        let mut kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig()).unwrap();
        // The same account for both, so that the server does the same work.
        for user in &mut kubeconfig.auth_infos {
            user.auth_info = Some(kube::config::AuthInfo { token: Some(token.clone().into()), ..Default::default() });
        }
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let native = Api::namespaced(Client::try_from(config).unwrap(), "default");
        Self { _cluster: cluster, _tree: tree, native, extension }
    }

    async fn natively(&self, calls: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..calls {
            self.native.get("colours").await.unwrap();
        }
        start.elapsed()
    }

    /// Returns the time of `calls` calls, as the guest itself measures it.
    async fn by_guest(&self, calls: u64, call: &str) -> Duration {
        let out = MemoryOutputPipe::new(OUTPUT);
        let calls_text = calls.to_string();
        let arguments = ["1", &calls_text, call, "v1/configmaps", "default", "colours"];
        let err = MemoryOutputPipe::new(OUTPUT);
        let invocation = Invocation::new().args(arguments).stdout(out.clone()).stderr(err.clone());
        let outcome = self.extension.run(invocation).await.unwrap();
        assert_eq!(outcome.code, 0, "{}", String::from_utf8_lossy(&err.contents()));
        let each: f64 = String::from_utf8(out.contents().into()).unwrap().trim().parse().unwrap();
        #[allow(clippy::cast_precision_loss, reason = "fewer calls than a float counts exactly")]
        Duration::from_secs_f64(each * calls as f64 / 1e9)
    }
}

fn get(c: &mut Criterion) {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let bench = tokio.block_on(Bench::new());
    let mut group = c.benchmark_group("get of a ConfigMap");
    group.bench_function("kube-rs natively", |b| b.iter_custom(|calls| tokio.block_on(bench.natively(calls))));
    for (name, call) in [("from a guest", "get"), ("from a guest, parsed there", "get-value")] {
        group.bench_function(name, |b| b.iter_custom(|calls| tokio.block_on(bench.by_guest(calls, call))));
    }
    group.finish();
    tokio.block_on(in_pairs(&bench));
}

/// Measures both ways in turn, so that other load on the machine affects both. Prints the median of the guest's extra
/// time.
async fn in_pairs(bench: &Bench) {
    const PAIRS: usize = 201;
    const CALLS: u64 = 50;
    let mut ratios = Vec::with_capacity(PAIRS);
    let mut more = Vec::with_capacity(PAIRS);
    for _ in 0..PAIRS {
        let native = bench.natively(CALLS).await.as_secs_f64();
        let guest = bench.by_guest(CALLS, "get").await.as_secs_f64();
        ratios.push(guest / native);
        more.push((guest - native) / 50.0 * 1e6);
    }
    ratios.sort_by(f64::total_cmp);
    more.sort_by(f64::total_cmp);
    let middle = PAIRS / 2;
    println!(
        "get of a ConfigMap, median of {PAIRS} pairs: a guest's takes {:.3} times kube-rs's, {:+.1} µs",
        ratios[middle], more[middle]
    );
}

criterion_group!(benches, get);
criterion_main!(benches);
