//! Guests that call the API server by plain HTTP.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;
use std::time::Duration;

use attache::engine::{Artefacts, DEFAULT_CAPACITY, Engine, EngineSettings};
use attache::extension::{CallError, Extension, Invocation, LoadError, Outcome, Runtime, RuntimeBuilder};
use attache_built::languages::{self, Example};
use attache_tests::guest;
use serde_json::{Value, json};
use tempfile::TempDir;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use crate::world::{World, grant};

/// More than any guest here prints, in bytes.
const OUTPUT: usize = 1 << 20;

/// The rules of a grant with all verbs on config maps, and reads of pods and their logs.
pub(crate) const API: &str =
    r#"api: [{apiGroups: [""], resources: [configmaps, pods, pods/log], verbs: ["*"], namespaces: [demo]}]"#;

const MAPS: &str = "/api/v1/namespaces/demo/configmaps";
const COLOURS: &str = "/api/v1/namespaces/demo/configmaps/colours";

/// One engine, and one compilation of each guest, for all tests.
static ENGINE: LazyLock<(Engine, TempDir)> = LazyLock::new(|| {
    let settings = EngineSettings::default().instances(64).memory_ceiling(128 << 20).optimise(false);
    let folder = tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir();
    (Engine::new(&settings).unwrap(), folder.unwrap())
});

/// Returns a host in the pod of this world.
pub(crate) fn host(world: &World) -> RuntimeBuilder {
    alone(world).cluster(world.cluster())
}

/// Returns a host in the pod of this world, without an API server.
pub(crate) fn alone(world: &World) -> RuntimeBuilder {
    let (engine, folder) = &*ENGINE;
    Runtime::builder()
        .engine(engine.clone())
        .artefacts(Artefacts::open(folder.path(), DEFAULT_CAPACITY).unwrap())
        .service_account(world.dir.path())
        .audit(world.records.audit())
}

/// Returns a guest under a grant called `ext` with this spec, whose limits are wide.
pub(crate) async fn load(host: RuntimeBuilder, name: &str, spec: &str) -> Result<Extension, LoadError> {
    let spec = format!("{{{spec}, limits: {{deadline: 30s, cpu: 20s, requestsPerSecond: 1000, burst: 1000}}}}");
    host.build().unwrap().load_command_file(&guest(name), grant("ext", &spec)).await
}

pub(crate) async fn run(extension: &Extension, arguments: &[&str]) -> (Result<Outcome, CallError>, String) {
    let out = MemoryOutputPipe::new(OUTPUT);
    let call =
        Invocation::new().args(arguments.iter().copied()).stdout(out.clone()).stderr(wasmtime_wasi::cli::stderr());
    let outcome = extension.run(call).await;
    (outcome, String::from_utf8(out.contents().into()).unwrap())
}

/// Runs the guest `http-calls`, and returns the lines that it prints.
pub(crate) async fn call(extension: &Extension, arguments: &[&str]) -> Vec<Value> {
    let (outcome, out) = run(extension, arguments).await;
    assert_eq!(outcome.unwrap().code, 0, "{out}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs the guest like [`call`], and returns its only line.
pub(crate) async fn called(extension: &Extension, arguments: &[&str]) -> Value {
    call(extension, arguments).await.pop().expect("a line")
}

/// Returns the body of an answer, as JSON.
pub(crate) fn object(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap_or(Value::Null)
}

#[tokio::test]
async fn code_that_was_written_for_a_container_runs_unchanged() {
    let world = World::new();
    let extension = load(host(&world), "seed-client", &format!("credentials: scoped, {API}")).await.unwrap();
    let (outcome, out) = run(&extension, &[]).await;
    outcome.unwrap();
    assert_eq!(out, "the CA begins with -----BEGIN CERTIFICATE-----\nstatus 200\npod web\n");
    let record = world.records.last();
    assert_eq!((&record["way"], &record["resource"]), (&json!("wasi-http"), &json!("pods")));
}

#[tokio::test]
async fn so_does_code_in_python() {
    let Some(guest) = Example::CONTAINER_PYTHON.ready().unwrap() else { return };
    let world = World::new();
    // Compiling an interpreter takes the better part of a minute, so it is kept from one run of the tests to the next.
    let kept = Artefacts::open(&languages::folder().join("artefacts"), DEFAULT_CAPACITY).unwrap();
    let spec = format!("{{credentials: scoped, {API}, limits: {{memory: 128Mi, deadline: 1m, cpu: 30s}}}}");
    let runtime = host(&world).artefacts(kept).build().unwrap();
    let extension = runtime.load_command_file(&guest, grant("ext", &spec)).await.unwrap();
    let (outcome, out) = run(&extension, &[]).await;
    assert_eq!(outcome.unwrap().code, 0, "{out}");
    assert_eq!(out, "the CA begins with -----BEGIN CERTIFICATE-----\nstatus 200\npod web\n");
    let record = world.records.last();
    assert_eq!((&record["way"], &record["resource"]), (&json!("wasi-http"), &json!("pods")));
}

#[tokio::test]
async fn every_name_of_the_server_reaches_the_gate() {
    let world = World::new();
    let variables = [("KUBERNETES_SERVICE_HOST", "10.96.0.1"), ("KUBERNETES_SERVICE_PORT", "443")];
    let host = host(&world).variables(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let extension = load(host, "http-calls", API).await.unwrap();
    let own = world.server.url();
    for (scheme, authority) in [
        ("https", "kubernetes"),
        ("https", "kubernetes.default"),
        ("https", "kubernetes.default.svc"),
        ("https", "KUBERNETES.default.svc.cluster.local:443"),
        ("https", "10.96.0.1:443"),
        ("https", own.trim_start_matches("https://")),
        ("http", "localhost:8001"),
        ("http", "127.0.0.1:8001"),
    ] {
        let answer = called(&extension, &["GET", scheme, authority, COLOURS]).await;
        assert_eq!((&answer["status"], &object(&answer)["data"]["sky"]), (&json!(200), &json!("blue")), "{authority}");
    }
}

#[tokio::test]
async fn the_grant_decides_and_says_so_as_the_server_would() {
    let world = World::new();
    let extension = load(host(&world), "http-calls", API).await.unwrap();
    let answer = called(&extension, &["GET", "https", "kubernetes", "/api/v1/namespaces/demo/secrets/s"]).await;
    assert_eq!((&answer["status"], &object(&answer)["reason"]), (&json!(403), &json!("Forbidden")));
    assert!(object(&answer)["message"].as_str().unwrap().contains("it needs the rule"), "{answer}");
    let answer = called(&extension, &["GET", "https", "kubernetes", "/api/v1/namespaces/demo/pods/none"]).await;
    assert_eq!((&answer["status"], &object(&answer)["reason"]), (&json!(404), &json!("NotFound")));
}

#[tokio::test]
async fn writing_goes_through() {
    let world = World::new();
    let extension = load(host(&world), "http-calls", API).await.unwrap();
    let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"},"data":{"a":"b"}}"#;
    let json_type = ["--header", "content-type", "application/json"];
    let create = [&["POST", "https", "kubernetes", MAPS, "--body", map][..], &json_type].concat();
    assert_eq!(called(&extension, &create).await["status"], 201);
    let new = format!("{MAPS}/new");
    let merge = ["--header", "content-type", "application/merge-patch+json"];
    let patch = [&["PATCH", "https", "kubernetes", &new, "--body", r#"{"data":{"a":"c"}}"#][..], &merge];
    assert_eq!(object(&called(&extension, &patch.concat()).await)["data"]["a"], "c");
    assert_eq!(called(&extension, &["DELETE", "https", "kubernetes", &new]).await["status"], 200);
}

#[tokio::test]
async fn what_has_two_readings_is_refused_before_the_server_hears_of_it() {
    let world = World::new();
    let extension = load(host(&world), "http-calls", API).await.unwrap();
    for path in [
        "/api/v1/namespaces/demo/configmaps/%2e%2e/secrets",
        "/api/v1/namespaces/demo/configmaps/../secrets",
        "/api/v1/namespaces/demo%2Fconfigmaps/colours",
        "/api/v1/namespaces//demo/configmaps",
        "/api/v1/namespaces/demo/configmaps?watch=0&watch=1",
        "/api/v1/namespaces/demo/configmaps?a=%0d%0aHost:evil",
        "//evil.example/api/v1/namespaces/demo/configmaps",
        "/api/v1/namespaces/demo/configmaps\\..\\secrets",
    ] {
        let answer = called(&extension, &["GET", "https", "kubernetes", path]).await;
        let refused = answer["status"] == 400 || answer["error"].is_string();
        assert!(refused, "{path}: {answer}");
    }
    for path in ["http://evil.example/", "*", "evil", "/api v1", "/api\r\nHost: evil", "/\u{0}"] {
        let answer = called(&extension, &["GET", "https", "kubernetes", path]).await;
        assert!(answer["error"].is_string(), "{path:?}: {answer}");
    }
    for method in ["CONNECT", "TRACE", "OPTIONS", "get", "LINK", "GET / HTTP/1.1"] {
        let answer = called(&extension, &[method, "https", "kubernetes", COLOURS]).await;
        assert!(answer["error"].is_string() || answer["status"] == 405, "{method}: {answer}");
    }
    assert!(world.records.all().iter().all(|record| record["verdict"] == "invalid"), "{:?}", world.records.all());
}

#[tokio::test]
async fn headers_that_are_not_a_guests_are_refused() {
    let world = World::new();
    let extension = load(host(&world), "http-calls", API).await.unwrap();
    let with = async |name: &str, value: &str| {
        called(&extension, &["GET", "https", "kubernetes", COLOURS, "--header", name, value]).await
    };
    for name in ["Impersonate-User", "impersonate-group", "X-Remote-User", "x-remote-extra-scopes"] {
        let answer = with(name, "system:masters").await;
        assert_eq!((&answer["status"], &object(&answer)["kind"]), (&json!(403), &json!("Status")), "{name}");
    }
    for (name, value) in
        [("connection", "upgrade"), ("upgrade", "websocket"), ("transfer-encoding", "chunked"), ("host", "x")]
    {
        let answer = with(name, value).await;
        assert!(answer["error"].as_str().unwrap().contains("Forbidden"), "{name}: {answer}");
    }
    for value in ["a\r\nImpersonate-User: b", "a\nb", "a\u{0}"] {
        let answer = with("x-any", value).await;
        assert!(answer["error"].as_str().unwrap().contains("InvalidSyntax"), "{answer}");
    }
    let exec = "/api/v1/namespaces/demo/pods/web/exec?command=sh";
    assert_eq!(called(&extension, &["POST", "https", "kubernetes", exec]).await["status"], 403);
}

#[tokio::test]
async fn a_watch_comes_line_by_line() {
    let world = World::new();
    let extension = load(host(&world), "http-calls", API).await.unwrap();
    let path = format!("{MAPS}?watch=1");
    let arguments = ["GET", "https", "kubernetes", &path, "--lines", "5"];
    let watching = call(&extension, &arguments);
    // Things happen, one after the other, for as long as the guest watches.
    let happening = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for number in 0.. {
            ticks.tick().await;
            world.make_config_map(&format!("made-{number}"));
        }
    };
    let lines = tokio::select! {
        lines = watching => lines,
        () = happening => unreachable!("it has no end"),
    };
    let event: Value = serde_json::from_str(lines[0]["line"].as_str().unwrap()).unwrap();
    assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!("ConfigMap")));
    assert_eq!(lines.last().unwrap()["status"], 200);
    assert!(lines.len() >= 6, "{lines:?}");
    // Hanging up ends it at the server too.
    let record = world.records.last();
    assert_eq!((&record["verb"], &record["status"]), (&json!("watch"), &json!(200)));
}

#[tokio::test]
async fn a_log_is_followed() {
    let world = World::new();
    let extension = load(host(&world), "http-calls", API).await.unwrap();
    let log = "/api/v1/namespaces/demo/pods/web/log?follow=true";
    let lines = call(&extension, &["GET", "https", "kubernetes", log, "--lines", "3"]).await;
    assert_eq!(lines[..3], ["one", "two", "three"].map(|text| json!({"line": text})));
}

#[tokio::test]
async fn a_watch_ends_with_the_run() {
    let world = World::new();
    let spec = format!("{{{API}, limits: {{deadline: 500ms}}}}");
    let extension =
        host(&world).build().unwrap().load_command_file(&guest("http-calls"), grant("ext", &spec)).await.unwrap();
    let path = format!("{MAPS}?watch=1");
    let (outcome, _) = run(&extension, &["GET", "https", "kubernetes", &path, "--lines", "1000"]).await;
    assert!(matches!(outcome, Err(CallError::Deadline { .. })), "{outcome:?}");
    let record = world.records.last();
    assert_eq!((&record["verb"], &record["status"]), (&json!("watch"), &json!(200)));
}

#[tokio::test]
async fn the_guests_own_timeouts_count() {
    let world = World::new();
    let extension = load(host(&world), "http-calls", API).await.unwrap();
    let slow = attache_devcluster::Fault::Latency(Duration::from_secs(20));
    world.server.faults().next(slow, COLOURS, 1);
    let answer = called(&extension, &["GET", "https", "kubernetes", COLOURS, "--first-byte", "200"]).await;
    assert_eq!(answer["error"], "ErrorCode::ConnectionReadTimeout");
    let path = format!("{MAPS}?watch=1");
    let answer =
        called(&extension, &["GET", "https", "kubernetes", &path, "--between", "200", "--lines", "1000"]).await;
    assert!(answer["error"].as_str().unwrap().contains("read timeout"), "{answer}");
}

#[tokio::test]
async fn a_body_without_an_end_is_cut_and_told() {
    let world = World::new();
    let extension = load(host(&world), "http-calls", API).await.unwrap();
    let answer = called(&extension, &["POST", "https", "kubernetes", MAPS, "--endless"]).await;
    assert_eq!((&answer["status"], &object(&answer)["reason"]), (&json!(413), &json!("RequestEntityTooLarge")));
    let answer = called(&extension, &["POST", "https", "kubernetes", MAPS, "--stalled", "--first-byte", "200"]).await;
    assert_eq!(answer["error"], "ErrorCode::ConnectionReadTimeout");
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_handed_on() {
    let world = World::new();
    let spec = format!("{{{API}, limits: {{responseBytes: 100}}}}");
    let extension =
        host(&world).build().unwrap().load_command_file(&guest("http-calls"), grant("ext", &spec)).await.unwrap();
    let answer = called(&extension, &["GET", "https", "kubernetes", MAPS]).await;
    assert_eq!((&answer["status"], &object(&answer)["reason"]), (&json!(502), &json!("BadGateway")));
}

#[tokio::test]
async fn a_component_that_imports_outgoing_http_needs_a_grant_for_it() {
    let world = World::new();
    let Err(LoadError::MissingGrant(lacks)) = load(host(&world), "http-calls", "env: [A]").await else {
        panic!("it loads")
    };
    assert!(lacks.len() == 1 && lacks[0].contains("wasi:http/outgoing-handler"), "{lacks:?}");
    assert!(lacks[0].contains("under `api:`, or a destination under `egress:`"), "{lacks:?}");
}

#[tokio::test]
async fn the_measuring_guest_prints_a_time_for_each_round() {
    let world = World::new();
    let extension = load(host(&world), "bench-http", API).await.unwrap();
    let (outcome, out) = run(&extension, &["2", "3", COLOURS]).await;
    assert_eq!(outcome.unwrap().code, 0, "{out}");
    let times: Vec<f64> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert!(times.len() == 2 && times.iter().all(|time| *time > 0.0), "{times:?}");
    assert_eq!(world.records.all().len(), 6);
}
