//! Idle sessions: their guests cost no CPU time.

use std::time::Duration;

use attache::cluster::{ApiClient, ApiClientSettings, Endpoint};
use attache::credentials::ServiceAccount;
use attache::engine::Engine;
use attache::extension::{Invocation, SessionSettings};
use attache::telemetry::NoAudit;
use attache_devcluster::{DevCluster, DevClusterSettings};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use wasmtime_wasi::cli::AsyncStdinStream;

use super::{Service, answer, go_on, host, load_by, within, work};

/// The time that is looked at: a timer of a millisecond or a follower that polls would show a thousand times in it.
const PAUSE: Duration = Duration::from_secs(2);

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "demo"},
        "spec": {"containers": [{"name": "main", "image": "none"}]}})
}

fn objects() -> Vec<Value> {
    let metadata = |name: &str| json!({"name": name, "namespace": "demo"});
    vec![
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("ext")}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata("pods"),
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata("pods"),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "pods"},
            "subjects": [{"kind": "ServiceAccount", "name": "ext", "namespace": "demo"}]}),
        pod("first"),
    ]
}

/// Returns an API server, and a client of it with a service account's rights.
fn cluster() -> (DevCluster, tempfile::TempDir, ApiClient) {
    let server = DevCluster::start(DevClusterSettings::default()).unwrap();
    server.load(objects()).unwrap();
    let account = tempfile::tempdir().unwrap();
    let token = server.token_for("demo", "ext", Duration::from_hours(1)).unwrap();
    std::fs::write(account.path().join("token"), token).unwrap();
    std::fs::write(account.path().join("ca.crt"), server.ca_pem()).unwrap();
    std::fs::write(account.path().join("namespace"), "demo").unwrap();
    let settings = ApiClientSettings::new(Endpoint::given(&server.url()).unwrap(), std::sync::Arc::new(NoAudit))
        .service_account(ServiceAccount::at(account.path()));
    let client = ApiClient::connect(settings).unwrap();
    (server, account, client)
}

/// Returns the number of times that this thread's runtime went to sleep, and the number of epochs.
fn counted(engine: &Engine) -> (u64, u64) {
    (Handle::current().metrics().worker_park_count(0), engine.epochs())
}

/// Waits in an idle runtime. Returns the number of times that it woke up meanwhile, and the number of epochs.
async fn pause(engine: &Engine) -> (u64, u64) {
    let before = counted(engine);
    tokio::time::sleep(PAUSE).await;
    let after = counted(engine);
    (after.0 - before.0, after.1 - before.1)
}

#[tokio::test]
async fn what_a_session_keeps_between_calls_wakes_nobody() {
    let (server, _account, client) = cluster();
    let runtime = host().cluster(client).build().unwrap();
    let engine = runtime.engine().clone();
    let extension = load_by(&runtime, within("{deadline: 1m, cpu: 10s}")).await.unwrap();
    let (_ours, theirs) = tokio::io::duplex(64);
    let call = Invocation::new().stdin(AsyncStdinStream::new(theirs));
    let mut session = extension.session_with(SessionSettings::new(), call, Service::default()).await.unwrap();
    for what in ["timer", "watch", "input"] {
        assert_eq!(answer(go_on(&mut session, &format!("keep {what}")).await), format!("kept a {what}"));
        assert_eq!(answer(go_on(&mut session, &format!("ready {what}")).await), "false", "{what}");
    }
    // The watch begins with what there is, and its connection with what servers say first.
    while answer(go_on(&mut session, "ready watch").await) == "false" {
        tokio::task::yield_now().await;
    }
    pause(&engine).await;
    let (woken, epochs) = pause(&engine).await;
    assert!(woken <= 10 && epochs <= 1, "woken {woken} times, {epochs} epochs, while nobody called");
    // What was kept is alive.
    assert_eq!(answer(go_on(&mut session, "ready timer").await), "false");
    assert_eq!(answer(go_on(&mut session, "ready watch").await), "true");
    // A call makes epochs pass and wakes the runtime: the counts above could have been others.
    let before = counted(&engine);
    answer(work(&extension, "churn").await);
    answer(go_on(&mut session, "sleep 20").await);
    let after = counted(&engine);
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
    drop(server);
}

/// A collection does not belong to a call: it serves later calls too.
#[tokio::test]
async fn what_a_call_opened_serves_the_next_one() {
    let (_server, _account, client) = cluster();
    let runtime = host().cluster(client).build().unwrap();
    let extension = load_by(&runtime, within("{deadline: 1m}")).await.unwrap();
    let mut session = extension.session(Service::default()).await.unwrap();
    assert_eq!(answer(go_on(&mut session, "open").await), "opened");
    for _ in 0..2 {
        assert!(answer(go_on(&mut session, "get first").await).ends_with(" bytes"));
    }
    assert!(go_on(&mut session, "get second").await.unwrap().value.is_err());
}
