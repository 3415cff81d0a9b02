//! Discovery from a real server's documents, kept and refreshed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use attache::cluster::{ApiClientSettings, ClusterError, Discovery, Endpoint, ResolveError, ResourceInfo, Unavailable};

use super::Client;
use super::scripted::{Scripted, Step, answer, ok};

/// Returns the recorded answer of a kube-apiserver v1.36.2, sent as it came but for the framing of its body.
fn recorded(name: &str) -> Vec<Step> {
    let path = format!("{}/recordings/{name}.http", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let (head, body) = text.split_once("\n\n").unwrap();
    let (status, headers) = head.split_once('\n').unwrap();
    let framing = |line: &&str| !line.starts_with("Transfer-Encoding") && !line.starts_with("Content-Length");
    let kept: Vec<_> = headers.lines().filter(framing).chain([""]).collect();
    let headers = kept.join("\r\n");
    if status.contains("304") {
        return vec![Step::Send(format!("{status}\r\n{headers}\r\n").into_bytes())];
    }
    answer(status.trim_start_matches("HTTP/1.1 "), &headers, body)
}

fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

/// Answers like the recorded server to a client that accepts aggregated discovery.
fn aggregated(head: &str) -> Vec<Step> {
    match path(head) {
        "/api" => recorded("006-api-aggregated"),
        "/apis" if head.contains("if-none-match") => recorded("009-apis-aggregated-304"),
        "/apis" => recorded("007-apis-aggregated"),
        other => panic!("asked for {other}"),
    }
}

/// Answers like the recorded server to a client that accepts plain JSON, with two of its groups; the other documents
/// are missing.
fn plain(head: &str) -> Vec<Step> {
    match path(head) {
        "/api" => recorded("004-api"),
        "/apis" => recorded("005-apis"),
        "/api/v1" => recorded("010-api-v1"),
        "/apis/apps/v1" => recorded("012-apis-apps-v1"),
        "/apis/batch/v1" => recorded("014-apis-batch-v1"),
        _ => answer("503 Service Unavailable", "Content-Type: text/plain\r\n", "service unavailable"),
    }
}

fn full_name(discovery: &Discovery, name: &str) -> String {
    discovery.resolve(name).map(ResourceInfo::full_name).unwrap()
}

#[tokio::test]
async fn a_real_servers_aggregated_discovery_resolves_every_usual_name() {
    let server = Scripted::plain(|_, head| aggregated(head)).await;
    let client = Client::plain(&server.url);
    let discovery = client.cluster.discovery().await.unwrap();
    let table = [
        ("po", "pods.v1."),
        ("Pod", "pods.v1."),
        ("cm", "configmaps.v1."),
        ("ConfigMap", "configmaps.v1."),
        ("ns", "namespaces.v1."),
        ("no", "nodes.v1."),
        ("sa", "serviceaccounts.v1."),
        ("svc", "services.v1."),
        ("pvc", "persistentvolumeclaims.v1."),
        ("ev", "events.v1."),
        ("events.events.k8s.io", "events.v1.events.k8s.io"),
        ("deploy", "deployments.v1.apps"),
        ("apps/deploy", "deployments.v1.apps"),
        ("deployments.v1.apps", "deployments.v1.apps"),
        ("StatefulSet", "statefulsets.v1.apps"),
        ("ds", "daemonsets.v1.apps"),
        ("rs", "replicasets.v1.apps"),
        ("job", "jobs.v1.batch"),
        ("cj", "cronjobs.v1.batch"),
        ("hpa", "horizontalpodautoscalers.v2.autoscaling"),
        ("hpa.v1.autoscaling", "horizontalpodautoscalers.v1.autoscaling"),
        ("ing", "ingresses.v1.networking.k8s.io"),
        ("netpol", "networkpolicies.v1.networking.k8s.io"),
        ("pdb", "poddisruptionbudgets.v1.policy"),
        ("Role", "roles.v1.rbac.authorization.k8s.io"),
        ("roles.rbac", "roles.v1.rbac.authorization.k8s.io"),
        ("sc", "storageclasses.v1.storage.k8s.io"),
        ("pc", "priorityclasses.v1.scheduling.k8s.io"),
        ("crd", "customresourcedefinitions.v1.apiextensions.k8s.io"),
        ("Lease", "leases.v1.coordination.k8s.io"),
    ];
    for (name, expected) in table {
        assert_eq!(full_name(&discovery, name), expected, "{name}");
    }
    let pods = discovery.resolve("pods").unwrap();
    assert!(pods.namespaced && pods.preferred && pods.categories == ["all"], "{pods:?}");
    assert!(pods.subresources.iter().any(|part| part.name == "log") && pods.verbs.iter().any(|verb| verb == "watch"));
    assert!(!discovery.resolve("nodes").unwrap().namespaced);
    assert_eq!(discovery.types().len(), 68);
    for of in discovery.types() {
        assert_eq!(discovery.resolve(&of.full_name()), Ok(of));
    }
}

#[tokio::test]
async fn a_group_that_makes_no_path_is_reported_as_that_and_not_asked_for() {
    let list = r#"{"kind":"APIGroupList","groups":[{"name":"..","versions":[{"version":"v1"}]}]}"#;
    let server = Scripted::plain(move |_, head| match path(head) {
        "/api" => ok(r#"{"kind":"APIVersions","versions":[]}"#),
        "/apis" => ok(list),
        other => panic!("asked for {other}"),
    })
    .await;
    let client = Client::plain(&server.url);
    let error = client.cluster.find("..", "v1", "things").await.unwrap_err();
    let said = "\"things\": the API group ../v1 does not answer: the host cannot ask the API server for this";
    assert_eq!(error.to_string(), said);
    assert!(matches!(error, ClusterError::Name(ResolveError::Down { .. })), "{error:?}");
}

#[tokio::test]
async fn discovery_is_asked_for_once_and_recorded_as_the_hosts() {
    let server = Scripted::plain(|_, head| aggregated(head)).await;
    let client = Client::plain(&server.url);
    let (first, second) = tokio::join!(client.cluster.discovery(), client.cluster.discovery());
    assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
    client.cluster.resolve("pods").await.unwrap();
    let paths: Vec<_> = server.heads().iter().map(|head| path(head).to_owned()).collect();
    assert_eq!(paths, ["/api", "/apis"]);
    assert!(server.heads()[0].contains("as=apigroupdiscoverylist"));
    let recorded: Vec<_> = client.records.lines().into_iter().map(|(path, status, _)| (path, status)).collect();
    assert_eq!(recorded, [("/api".to_owned(), Some(200)), ("/apis".to_owned(), Some(200))]);
}

#[tokio::test]
async fn an_unknown_name_asks_again_with_the_tag_and_not_twice_in_a_second() {
    let server = Scripted::plain(|_, head| aggregated(head)).await;
    let client = Client::plain(&server.url);
    for _ in 0..5 {
        let error = client.cluster.resolve("novelties").await.unwrap_err();
        assert!(matches!(error, ClusterError::Name(ResolveError::Unknown { .. })), "{error:?}");
    }
    let asked: Vec<_> =
        server.heads().iter().map(|head| (path(head).to_owned(), head.contains("if-none-match"))).collect();
    // The recorded server has an ETag for /api too, but this script always answers in full.
    let first = [("/api".to_owned(), false), ("/apis".to_owned(), false)];
    assert_eq!(asked[..2], first);
    assert!(asked.len() <= 4, "{asked:?}");
    full_name(&client.cluster.discovery().await.unwrap(), "deploy");
}

#[tokio::test]
async fn a_type_that_appears_is_found() {
    const NEW: &str = r#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"example.com"},"versions":[{"version":"v1",
        "resources":[{"resource":"widgets","responseKind":{"kind":"Widget"},"scope":"Namespaced","shortNames":["wd"]}]}]}]}"#;
    let there = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&there);
    let script = move |_: usize, head: &str| match path(head) {
        "/apis" if seen.load(Ordering::SeqCst) => ok(NEW),
        _ => aggregated(&head.to_lowercase()),
    };
    let server = Scripted::plain(script).await;
    let client = Client::plain(&server.url);
    assert_eq!(client.cluster.resolve("deploy").await.unwrap().plural, "deployments");
    there.store(true, Ordering::SeqCst);
    assert_eq!(client.cluster.resolve("wd").await.unwrap().full_name(), "widgets.v1.example.com");
    assert!(client.cluster.resolve("deploy").await.is_err());
}

#[tokio::test]
async fn plain_discovery_is_enough_and_a_broken_group_hides_no_other() {
    let server = Scripted::plain(|_, head| plain(head)).await;
    let client = Client::plain(&server.url);
    let discovery = client.cluster.discovery().await.unwrap();
    for (name, expected) in [("po", "pods.v1."), ("deploy", "deployments.v1.apps"), ("cj", "cronjobs.v1.batch")] {
        assert_eq!(full_name(&discovery, name), expected);
    }
    assert!(discovery.resolve("hpa").is_err());
}

#[tokio::test]
async fn a_group_whose_name_makes_no_path_hides_no_other_and_is_no_rate_that_is_spent() {
    const ODD: &str = r#"{"kind":"APIGroupList","groups":[
        {"name":"a%2fb","versions":[{"groupVersion":"a%2fb/v1","version":"v1"}]},
        {"name":"x y","versions":[{"groupVersion":"x y/v1","version":"v1"}]},
        {"name":"batch","versions":[{"groupVersion":"batch/v1","version":"v1"}]}]}"#;
    let server = Scripted::plain(|_, head| if path(head) == "/apis" { ok(ODD) } else { plain(head) }).await;
    let client = Client::plain(&server.url);
    let discovery = client.cluster.discovery().await.unwrap();
    assert_eq!(full_name(&discovery, "cj"), "cronjobs.v1.batch");
    assert!(server.heads().iter().all(|head| !head.contains("a%2fb")), "it is not asked for");
}

#[tokio::test]
async fn both_forms_say_the_same_of_the_same_types() {
    let whole = Scripted::plain(|_, head| aggregated(head)).await;
    let parts = Scripted::plain(|_, head| plain(head)).await;
    let whole = Client::plain(&whole.url).cluster.discovery().await.unwrap();
    let parts = Client::plain(&parts.url).cluster.discovery().await.unwrap();
    assert!(parts.types().len() > 20);
    for of in parts.types() {
        let mut other = whole.find(&of.group, &of.version, &of.plural).unwrap().clone();
        let mut of = of.clone();
        of.subresources.sort_unstable();
        other.subresources.sort_unstable();
        assert_eq!(of, other);
    }
}

#[tokio::test]
async fn documents_that_make_no_sense_are_an_error_that_names_them() {
    for body in ["", "[]", "{}", r#"{"kind":"Pod"}"#, r#"{"kind":"APIGroupDiscoveryList","items":[7]}"#] {
        let server = Scripted::plain(move |_, _| ok(body)).await;
        let error = Client::plain(&server.url).cluster.discovery().await.unwrap_err();
        assert!(super::chain(&error).starts_with("the discovery document /api cannot be read: "), "{error:?}");
        assert_eq!(error.guest_text(), "the API server's discovery cannot be read");
    }
}

#[tokio::test]
async fn a_refusal_of_discovery_is_handed_on_and_forgotten() {
    let server = Scripted::plain(|n, head| match n {
        0 => answer("403 Forbidden", "", "no"),
        _ => aggregated(head),
    })
    .await;
    let client = Client::plain(&server.url);
    assert!(matches!(client.cluster.discovery().await, Err(ClusterError::Refused(status)) if status.code == 403));
    client.cluster.discovery().await.unwrap();
}

#[tokio::test]
async fn many_who_ask_a_server_that_hangs_wait_for_it_once() {
    let server = Scripted::plain(|_, _| vec![Step::Silence]).await;
    let url = Endpoint::given(&server.url).unwrap();
    let deadline = Duration::from_secs(1);
    let client = Client::of(|audit| ApiClientSettings::new(url, audit).deadline(deadline));
    let others = async {
        server.asked(1).await;
        futures::future::join_all((0..50).map(|_| client.cluster.discovery())).await
    };
    let (first, others) = tokio::join!(client.cluster.discovery(), others);
    let late = |result: &Result<_, _>| matches!(result, Err(ClusterError::Unavailable(Unavailable::Deadline { .. })));
    assert!(late(&first) && others.iter().all(late));
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn a_server_without_a_core_group_is_one_of_custom_resources() {
    let missing = || answer("404 Not Found", "Content-Type: text/plain\r\n", "404 page not found");
    let server = Scripted::plain(move |_, head| if path(head) == "/api" { missing() } else { aggregated(head) }).await;
    let discovery = Client::plain(&server.url).cluster.discovery().await.unwrap();
    assert_eq!(full_name(&discovery, "deploy"), "deployments.v1.apps");
    assert!(discovery.resolve("configmaps").is_err());
    // Where there is neither, this is no API server.
    let server = Scripted::plain(move |_, _| missing()).await;
    let error = Client::plain(&server.url).cluster.discovery().await.unwrap_err();
    assert!(matches!(&error, ClusterError::Refused(status) if status.code == 404), "{error:?}");
}

/// The groups of a server with an aggregated API, which comes first.
const GROUPS: &str = r#"{"kind":"APIGroupList","groups":[
    {"name":"metrics.k8s.io","versions":[{"groupVersion":"metrics.k8s.io/v1beta1","version":"v1beta1"}]},
    {"name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}]}]}"#;
const METRICS: &str = "/apis/metrics.k8s.io/v1beta1";
const NODES: &str = r#"{"kind":"APIResourceList","resources":[{"name":"nodes","kind":"NodeMetrics","verbs":["get"]}]}"#;

/// Answers in plain documents, and `broken` for the aggregated API.
fn with_metrics(head: &str, broken: Vec<Step>) -> Vec<Step> {
    match path(head) {
        "/apis" => ok(GROUPS),
        METRICS => broken,
        _ => plain(head),
    }
}

fn asked_for_metrics(server: &Scripted) -> usize {
    server.heads().iter().filter(|head| path(head) == METRICS).count()
}

#[tokio::test]
async fn a_group_that_never_answers_costs_nobody_else_anything() {
    let server = Scripted::plain(|_, head| with_metrics(head, vec![Step::Silence])).await;
    let client = Client::plain(&server.url);
    for (name, expected) in [("po", "pods.v1."), ("deploy", "deployments.v1.apps")] {
        assert_eq!(client.cluster.resolve(name).await.unwrap().full_name(), expected);
    }
    assert_eq!(asked_for_metrics(&server), 1, "it is still asked for");
    for error in [
        client.cluster.resolve("nodes.metrics.k8s.io").await.unwrap_err(),
        client.cluster.resolve("metrics.k8s.io/v1beta1/nodes").await.unwrap_err(),
        client.cluster.find("metrics.k8s.io", "v1beta1", "nodes").await.unwrap_err(),
    ] {
        let text = error.guest_text();
        assert!(text.contains("the API group metrics.k8s.io/v1beta1 does not answer"), "{text}");
    }
    let unknown = client.cluster.resolve("gadgets").await.unwrap_err().to_string();
    assert!(unknown.contains("\"gadgets\"; it may be one of metrics.k8s.io/v1beta1"), "{unknown}");
}

#[tokio::test]
async fn a_group_that_refuses_is_named_with_its_reason_and_left_alone_for_as_long_as_it_says() {
    let refused = || answer("503 Service Unavailable", "Retry-After: 30\r\nContent-Type: text/plain\r\n", "no backend");
    let server = Scripted::plain(move |_, head| with_metrics(head, refused())).await;
    let client = Client::plain(&server.url);
    assert_eq!(client.cluster.resolve("pods").await.unwrap().full_name(), "pods.v1.");
    for _ in 0..3 {
        let error = client.cluster.resolve("nodes.metrics.k8s.io").await.unwrap_err();
        assert!(error.guest_text().contains("metrics.k8s.io/v1beta1 does not answer: no backend"), "{error}");
    }
    assert_eq!(asked_for_metrics(&server), 1);
    let missing: Vec<_> =
        client.cluster.discovery().await.unwrap().missing().iter().map(attache::cluster::MissingGroup::name).collect();
    assert_eq!(missing, ["metrics.k8s.io/v1beta1"]);
}

#[tokio::test]
async fn a_group_that_the_server_could_not_reach_is_asked_for_by_whoever_needs_it() {
    const STALE: &str = r#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"metrics.k8s.io"},
        "versions":[{"version":"v1beta1","freshness":"Stale"}]}]}"#;
    let server = Scripted::plain(|_, head| match path(head) {
        "/apis" => ok(STALE),
        METRICS => ok(NODES),
        _ => aggregated(head),
    })
    .await;
    let client = Client::plain(&server.url);
    assert_eq!(client.cluster.resolve("pods").await.unwrap().full_name(), "pods.v1.");
    assert_eq!(asked_for_metrics(&server), 0);
    let found = client.cluster.find("metrics.k8s.io", "v1beta1", "nodes").await.unwrap().unwrap();
    assert_eq!((found.full_name().as_str(), found.preferred), ("nodes.v1beta1.metrics.k8s.io", true));
    assert!(client.cluster.discovery().await.unwrap().missing().is_empty());
}

#[tokio::test]
async fn documents_without_an_end_are_cut_and_their_groups_alone_are_missing() {
    let server = Scripted::plain(|_, head| {
        let head_of = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"resources\":[";
        let endless = vec![Step::Send(head_of.into()), Step::Repeat(vec![b' '; 1 << 16])];
        with_metrics(head, endless)
    })
    .await;
    let client = Client::plain(&server.url);
    assert_eq!(client.cluster.resolve("pods").await.unwrap().full_name(), "pods.v1.");
    let error = client.cluster.resolve("nodes.metrics.k8s.io").await.unwrap_err();
    assert!(
        error.guest_text().contains("metrics.k8s.io/v1beta1 does not answer: the answer is larger than"),
        "{error}"
    );
}
