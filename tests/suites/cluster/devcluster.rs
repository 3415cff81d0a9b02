//! The client against a whole API server: TLS, tokens, RBAC, discovery, and faults.

use std::time::Duration;

use attache::cluster::{ClusterError, Payload, ResolveError, ServerStatus, Unavailable};
use attache_devcluster::{DevCluster, DevClusterSettings, Fault};
use http::{HeaderValue, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Client, chain, gate, service_account};

const LIFETIME: Duration = Duration::from_hours(1);
const COLOURS: &str = "/api/v1/namespaces/demo/configmaps/colours";
const MAPS: &str = "/api/v1/namespaces/demo/configmaps";
/// More bytes than any answer here has.
const ROOM: usize = 1 << 20;

/// A cluster in which the account `ext` may do all with config maps of `demo`, and a client in a pod of that account.
struct World {
    server: DevCluster,
    dir: TempDir,
    client: Client,
}

impl World {
    fn new() -> Self {
        let server = DevCluster::start(DevClusterSettings::default()).unwrap();
        server.load(objects()).unwrap();
        let token = server.token_for("demo", "ext", LIFETIME).unwrap();
        let dir = service_account(&token, &server.ca_pem());
        let mut client = Client::pod(&server.url(), dir.path());
        client.gate = gate(client.records.clone(), ROOM);
        Self { server, dir, client }
    }

    async fn get(&self, target: &str) -> Result<Value, ClusterError> {
        let permit = self.client.permit(&Method::GET, target);
        let answer = self.client.cluster.fetch(permit, Payload::none().within(Duration::from_secs(20))).await?;
        Ok(serde_json::from_slice(&answer.bytes).unwrap())
    }

    fn write_token(&self) {
        let token = self.server.token_for("demo", "ext", LIFETIME).unwrap();
        std::fs::write(self.dir.path().join("token"), token).unwrap();
    }
}

fn objects() -> [Value; 4] {
    let metadata = |name: &str| json!({"name": name, "namespace": "demo"});
    [
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata("ext")}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata("maps"),
            "rules": [{"apiGroups": ["", "example.com"], "resources": ["configmaps", "widgets"], "verbs": ["*"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata("maps"),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maps"},
            "subjects": [{"kind": "ServiceAccount", "name": "ext", "namespace": "demo"}]}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("colours"), "data": {"sky": "blue"}}),
    ]
}

fn widgets() -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

fn refused(answer: Result<Value, ClusterError>) -> ServerStatus {
    match answer {
        Err(ClusterError::Refused(status)) => *status,
        other => panic!("expected a refusal: {other:?}"),
    }
}

#[tokio::test]
async fn a_pod_reads_what_its_account_may_and_is_told_what_not() {
    let world = World::new();
    assert_eq!(world.get(COLOURS).await.unwrap()["data"]["sky"], "blue");
    let missing = refused(world.get("/api/v1/namespaces/demo/configmaps/none").await);
    assert_eq!((missing.code, missing.reason.as_str()), (404, "NotFound"));
    let forbidden = refused(world.get("/api/v1/namespaces/demo/pods/p").await);
    assert_eq!((forbidden.code, forbidden.reason.as_str()), (403, "Forbidden"));
    assert!(forbidden.message.contains("system:serviceaccount:demo:ext"), "{forbidden}");
    let body: Value = serde_json::from_slice(&forbidden.body.unwrap()).unwrap();
    assert_eq!(body["kind"], "Status");
    let statuses: Vec<_> = world.client.records.lines().iter().map(|line| line.1).collect();
    assert_eq!(statuses, [Some(200), Some(404), Some(403)]);
}

#[tokio::test]
async fn writing_carries_its_body_and_content_type() {
    let world = World::new();
    let permit = world.client.permit(&Method::PATCH, COLOURS);
    let merge = HeaderValue::from_static("application/merge-patch+json");
    let patch = Payload::of(merge, r#"{"data":{"grass":"green"}}"#);
    world.client.cluster.fetch(permit, patch).await.unwrap();
    assert_eq!(world.get(COLOURS).await.unwrap()["data"]["grass"], "green");
}

#[tokio::test]
async fn tokens_rotate_and_the_client_goes_on() {
    let world = World::new();
    world.get(COLOURS).await.unwrap();
    for _ in 0..3 {
        world.server.faults().rotate_tokens().unwrap();
        assert_eq!(refused(world.get(COLOURS).await).code, 401, "the file still has the old token");
        world.write_token();
        world.get(COLOURS).await.unwrap();
        world.server.faults().rotate_tokens().unwrap();
        world.write_token();
        world.get(COLOURS).await.unwrap();
    }
}

#[tokio::test]
async fn the_ca_rotates_and_the_client_goes_on() {
    let world = World::new();
    world.get(COLOURS).await.unwrap();
    for _ in 0..3 {
        world.server.faults().rotate_ca().unwrap();
        world.server.faults().reset_connections();
        std::fs::write(world.dir.path().join("ca.crt"), world.server.ca_pem()).unwrap();
        world.get(COLOURS).await.unwrap();
    }
}

#[tokio::test]
async fn a_ca_that_has_rotated_away_is_not_trusted() {
    let world = World::new();
    world.get(COLOURS).await.unwrap();
    world.server.faults().rotate_ca().unwrap();
    world.server.faults().reset_connections();
    // A request that is quicker than the reset still gets its answer. The next request uses a new connection.
    let mut answers = 0..100;
    let error = loop {
        match world.get(COLOURS).await {
            Err(error) => break error,
            Ok(_) => assert!(answers.next().is_some(), "the old connection is never reset"),
        }
    };
    let path = world.dir.path().join("ca.crt");
    assert!(chain(&error).contains(&format!("is not trusted by {}", path.display())), "{}", chain(&error));
}

#[tokio::test]
async fn a_server_that_restarts_is_found_again() {
    let World { server, dir: _dir, client } = World::new();
    let get = async || {
        let permit = client.permit(&Method::GET, COLOURS);
        client.cluster.fetch(permit, Payload::none().within(Duration::from_secs(20))).await
    };
    get().await.unwrap();
    // It blocks while the server is away, as it would block this test's only thread.
    let server = tokio::task::spawn_blocking(move || {
        server.faults().restart(Duration::ZERO).unwrap();
        server
    });
    let server = server.await.unwrap();
    get().await.unwrap();
    // From a thread of no runtime: only there does it wait until nothing is served any more.
    std::thread::spawn(move || server.shutdown()).join().unwrap();
    let error = get().await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(Unavailable::ConnectionRefused { .. })), "{error:?}");
}

#[tokio::test]
async fn a_bad_day_is_got_over_within_the_deadline() {
    let world = World::new();
    let faults = world.server.faults();
    for fault in [
        Fault::Reset,
        Fault::TooManyRequests(1),
        Fault::Unavailable(Some(1)),
        Fault::Latency(Duration::from_millis(50)),
    ] {
        faults.next(fault, MAPS, 1);
        world.get(COLOURS).await.unwrap();
    }
    for (fault, code) in [(Fault::Internal, 500), (Fault::Unavailable(None), 503), (Fault::Unauthorized, 401)] {
        faults.next(fault, MAPS, 1);
        assert_eq!(refused(world.get(COLOURS).await).code, code);
    }
    world.get(COLOURS).await.unwrap();
}

#[tokio::test]
async fn a_watch_streams_as_things_happen_until_it_is_dropped() {
    let world = World::new();
    let listed = world.get(MAPS).await.unwrap();
    let version = listed["metadata"]["resourceVersion"].as_str().unwrap();
    let target = format!("{MAPS}?watch=1&resourceVersion={version}");
    let permit = world.client.permit(&Method::GET, &target);
    let payload = Payload::none().within(Duration::from_secs(30));
    let (head, mut body) = world.client.cluster.send(permit, payload).await.unwrap().into_parts();
    assert_eq!(head.status, 200);
    let new = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new", "namespace": "demo"}});
    world.server.load([new]).unwrap();
    let event: Value = serde_json::from_slice(&body.next().await.unwrap().unwrap()).unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("new")));
    drop(body);
    let (path, status, bytes) = world.client.records.lines().pop().unwrap();
    assert!(path == MAPS && status == Some(200) && bytes > 100, "{bytes}");
}

#[tokio::test]
async fn a_crd_that_appears_is_found_by_every_name() {
    let world = World::new();
    let cluster = &world.client.cluster;
    assert_eq!(cluster.resolve("deploy").await.unwrap().full_name(), "deployments.v1.apps");
    assert!(cluster.discovery().await.unwrap().find("", "v1", "configmaps").unwrap().namespaced);
    world.server.load([widgets()]).unwrap();
    for name in ["widgets", "Widget", "wd", "widget.example.com", "widgets.v1.example.com", "example.com/wd"] {
        assert_eq!(cluster.resolve(name).await.unwrap().full_name(), "widgets.v1.example.com", "{name}");
    }
    let unknown = cluster.resolve("gadgets").await.unwrap_err();
    assert!(matches!(unknown, ClusterError::Name(ResolveError::Unknown { .. })), "{unknown:?}");
}
