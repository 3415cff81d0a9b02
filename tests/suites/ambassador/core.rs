//! The core: whatever is asked, there is an answer, and only what was judged reaches the server.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use attache::ambassador::{Ambassador, AnswerBody, MAX_REQUEST_BODY, ScopedTokens};
use attache::gate::{Channel, Gate};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use crate::records::Records;
use crate::scripted::{Authority, Scripted, Step, answer, ok};
use crate::world::{World, client, grant, service_account};

const COLOURS: &str = "/api/v1/namespaces/demo/configmaps/colours";
const MAPS: &str = "/api/v1/namespaces/demo/configmaps";

/// All with config maps, and reading pods and their logs.
const SPEC: &str = r#"{api: [{apiGroups: [""], resources: [configmaps, pods, pods/log], verbs: ["*"], namespaces: [demo]}],
    limits: {requestsPerSecond: 1000, burst: 1000}}"#;

fn gate(spec: &str, records: &Records) -> Gate {
    Gate::new("ext", std::sync::Arc::new(grant("ext", spec)), records.audit())
}

fn ambassador(world: &World) -> Ambassador {
    Ambassador::new(Channel::WasiHttp, gate(SPEC, &world.records), Some(world.cluster()))
}

/// An ambassador before a server that does as its script says.
async fn scripted(
    script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
) -> (Scripted, Ambassador, Records) {
    let authority = Authority::new();
    let server = Scripted::tls(&authority, script).await;
    let dir = service_account("the-hosts-token", authority.pem());
    let records = Records::default();
    let cluster = client(&server.url, dir.path(), Duration::from_secs(5), &records);
    (server, Ambassador::new(Channel::WasiHttp, gate(SPEC, &records), Some(cluster)), records)
}

fn request(method: &Method, target: &str, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let start = Request::builder().method(method).uri(target);
    let request = headers.iter().fold(start, |request, (name, value)| request.header(*name, *value));
    request.body(Empty::new()).unwrap()
}

async fn get(ambassador: &Ambassador, target: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    read(ambassador.answer(request(&Method::GET, target, headers)).await).await
}

async fn read(response: Response<AnswerBody>) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn line(body: &mut AnswerBody) -> String {
    let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.expect("something comes in time");
    String::from_utf8(frame.unwrap().unwrap().into_data().unwrap().into()).unwrap()
}

#[tokio::test]
async fn what_the_grant_opens_is_answered_by_the_server() {
    let world = World::new();
    let (code, map) = get(&ambassador(&world), COLOURS, &[]).await;
    assert_eq!((code, &map["data"]["sky"]), (200, &json!("blue")));
    let record = world.records.last();
    assert_eq!((&record["way"], &record["verdict"]), (&json!("wasi-http"), &json!("allowed")));
    let (code, status) = get(&ambassador(&world), "/api/v1/namespaces/demo/configmaps/none", &[]).await;
    assert_eq!((code, &status["reason"]), (404, &json!("NotFound")));
}

#[tokio::test]
async fn writing_goes_through_with_its_body() {
    let world = World::new();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}, "data": {"a": "b"}});
    let request = Request::post(MAPS).header("content-type", "application/json");
    let request = request.body(Full::<Bytes>::from(map.to_string())).unwrap();
    let (code, created) = read(ambassador(&world).answer(request).await).await;
    assert_eq!((code, &created["data"]["a"]), (201, &json!("b")));
}

#[tokio::test]
async fn what_the_grant_does_not_open_is_forbidden_and_the_rule_is_named() {
    let world = World::new();
    let (code, status) = get(&ambassador(&world), "/api/v1/namespaces/demo/secrets/s", &[]).await;
    assert_eq!((code, &status["kind"], &status["reason"]), (403, &json!("Status"), &json!("Forbidden")));
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("it needs the rule {apiGroups: [\"\"], resources: [secrets], verbs: [get]"), "{message}");
}

#[tokio::test]
async fn an_apply_is_judged_for_what_it_may_create() {
    let world = World::new();
    let spec = r#"{api: [{apiGroups: [""], resources: [configmaps], verbs: [patch], namespaces: [demo]}]}"#;
    let patching = Ambassador::new(Channel::Proxy, gate(spec, &world.records), Some(world.cluster()));
    let new = format!("{MAPS}/new?fieldManager=me");
    let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"new"}}"#;
    let apply = async |ambassador: &Ambassador, content_type: &str| {
        let request = Request::patch(&new).header("content-type", content_type);
        read(ambassador.answer(request.body(Full::<Bytes>::from(map)).unwrap()).await).await
    };
    for content_type in
        ["application/apply-patch+yaml", "APPLICATION/apply-patch+yaml;v=1", "application/apply-patch+cbor"]
    {
        let (code, status) = apply(&patching, content_type).await;
        let message = status["message"].as_str().unwrap();
        assert!(
            code == 403 && message.contains("verbs: [create], namespaces: [demo], resourceNames: [new]"),
            "{message}"
        );
        assert_eq!(world.records.last()["apply"], true);
    }
    assert_eq!(get(&ambassador(&world), &format!("{MAPS}/new"), &[]).await.0, 404);
    assert_eq!(apply(&ambassador(&world), "application/apply-patch+yaml").await.0, 201);
}

#[tokio::test]
async fn what_has_two_readings_is_a_bad_request() {
    let world = World::new();
    let ambassador = ambassador(&world);
    for target in [
        "/api/v1/namespaces/demo/configmaps/%2e%2e/secrets",
        "/api/v1/namespaces/demo/configmaps/../secrets",
        "/api/v1/namespaces/demo%2Fconfigmaps/colours",
        "/api/v1/namespaces//demo/configmaps",
        "/api/v1/namespaces/demo/configmaps?watch=0&watch=1",
        "/api/v1/namespaces/demo/configmaps?a=%0d%0aHost:evil",
        "/api/v1/namespaces/demo/configmaps/a%0d%0ab",
        "http://kubernetes/api/v1/namespaces/demo/configmaps",
        "http://evil.example/",
    ] {
        let (code, status) = get(&ambassador, target, &[]).await;
        assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")), "{target}");
        assert_eq!(world.records.last()["verdict"], "invalid", "{target}");
    }
}

#[tokio::test]
async fn what_a_backend_reads_arrives_as_it_was_sent() {
    let authority = Authority::new();
    let server = Scripted::tls(&authority, |_, _| ok("{}")).await;
    let dir = service_account("the-hosts-token", authority.pem());
    let records = Records::default();
    let cluster = client(&server.url, dir.path(), Duration::from_secs(5), &records);
    let spec = r#"{api: [{apiGroups: [""], resources: [services/proxy, pods/proxy], verbs: [get], namespaces: [demo]},
        {apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [get], namespaces: ["*"]}]}"#;
    let ambassador = Ambassador::new(Channel::Proxy, gate(spec, &records), Some(cluster));
    let service = "/api/v1/namespaces/demo/services/s/proxy";
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    for (asked, sent) in [
        (format!("{service}/a%2fb"), None),
        (format!("{service}/my%20file.txt"), None),
        (format!("{service}/%e2%82%ac"), None),
        (format!("{service}/f(1);v=2"), None),
        (format!("{service}/x?flag"), None),
        (format!("{service}/x?sig=a+b%2bc&x=1&x=2;y"), None),
        (format!("{service}//x//"), None),
        ("/api/v1/namespaces/demo/pods/p:80/proxy/?".to_owned(), None),
        (format!("{roles}/a|b"), Some(format!("{roles}/a%7cb"))),
        (format!("{roles}/view%20(all)"), Some(format!("{roles}/view%20%28all%29"))),
    ] {
        assert_eq!(get(&ambassador, &asked, &[]).await.0, 200, "{asked}");
        let head = server.heads().pop().unwrap();
        assert!(head.starts_with(&format!("get {} http/1.1\r\n", sent.as_ref().unwrap_or(&asked))), "{head}");
    }
    let before = server.heads().len();
    for asked in [
        format!("{service}/../../../secrets"),
        format!("{service}/%2e%2e/%2e%2e/secrets"),
        format!("{service}/..%2f..%2fsecrets"),
        format!("{service}/..%252fsecrets"),
        format!("{roles}/a%2f..%2f..%2fsecrets"),
    ] {
        assert_eq!(get(&ambassador, &asked, &[]).await.0, 400, "{asked}");
    }
    assert_eq!(server.heads().len(), before);
}

#[tokio::test]
async fn a_selector_of_a_thousand_names_is_passed_on_whole() {
    let (server, ambassador, records) = scripted(|_, _| ok("{}")).await;
    let names: Vec<_> =
        (0..1000).map(|number| format!("web-7d9f8b6c5d-{number:04}-of-the-shop-in-the-north")).collect();
    let selector = names.join("%2C");
    let target = format!("/api/v1/namespaces/demo/pods?labelSelector=app%20in%20%28{selector}%29");
    assert!(target.len() > 40_000);
    assert_eq!(get(&ambassador, &target, &[]).await.0, 200);
    assert!(server.heads()[0].contains(&selector.to_lowercase()));
    let small = gate(&SPEC.replace("limits: {", "limits: {targetBytes: 8Ki, "), &records);
    let (code, status) = get(&Ambassador::new(Channel::Proxy, small, None), &target, &[]).await;
    assert_eq!(code, 414, "{status}");
    assert!(status["message"].as_str().unwrap().contains("8192 bytes"), "{status}");
    assert_eq!(
        (&records.last()["verdict"], &records.last()["reason"]),
        (&json!("invalid"), &json!("targetBytes: 8Ki"))
    );
}

#[tokio::test]
async fn odd_methods_are_refused() {
    let world = World::new();
    for method in ["OPTIONS", "TRACE", "CONNECT", "LINK", "get"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = ambassador(&world).answer(request(&method, COLOURS, &[])).await;
        assert!([400, 405].contains(&answer.status().as_u16()), "{method}: {}", answer.status());
    }
}

#[tokio::test]
async fn a_spent_rate_is_told_with_when_to_come_back() {
    let world = World::new();
    let spec = SPEC.replace("1000, burst: 1000", "1, burst: 1");
    let ambassador = Ambassador::new(Channel::WasiHttp, gate(&spec, &world.records), Some(world.cluster()));
    assert_eq!(get(&ambassador, COLOURS, &[]).await.0, 200);
    let answer = ambassador.answer(request(&Method::GET, COLOURS, &[])).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (429, "1"));
    assert_eq!(read(answer).await.1["details"]["retryAfterSeconds"], 1);
}

#[tokio::test]
async fn nothing_but_what_was_judged_reaches_the_server() {
    let (server, ambassador, _) = scripted(|_, _| ok("{}")).await;
    let headers = [
        ("accept", "application/json"),
        ("accept", "application/yaml"),
        ("if-none-match", "\"v1\""),
        ("user-agent", "curl/8.0"),
        ("x-forwarded-for", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("via", "1.1 somewhere"),
        ("cookie", "a=b"),
        ("host", "evil.example"),
        ("x-anything", "1"),
        ("te", "trailers"),
    ];
    let (code, _) = get(&ambassador, "/api/v1/namespaces/demo/pods?limit=1&&labelSelector=a%3db", &headers).await;
    assert_eq!(code, 200);
    let head = server.heads().remove(0);
    let mut lines: Vec<_> = head.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "get /api/v1/namespaces/demo/pods?limit=1&labelselector=a%3db http/1.1");
    lines.retain(|line| !line.starts_with("host: 127.0.0.1:"));
    lines.sort();
    assert_eq!(
        lines,
        [
            "accept: application/json, application/yaml",
            "authorization: bearer the-hosts-token",
            "if-none-match: \"v1\"",
            "user-agent: attache/0.1.0",
        ]
    );
}

#[tokio::test]
async fn who_asks_cannot_be_said_by_a_header() {
    let (server, ambassador, records) = scripted(|_, _| ok("{}")).await;
    for name in ["Impersonate-User", "Impersonate-Extra-Scopes", "X-Remote-User", "X-Remote-Group"] {
        let (code, status) = get(&ambassador, COLOURS, &[(name, "system:admin")]).await;
        assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")), "{name}");
        assert!(status["message"].as_str().unwrap().contains(&name.to_lowercase()), "{status}");
        assert_eq!(records.last()["verdict"], "invalid");
    }
    assert!(server.heads().is_empty());
}

#[tokio::test]
async fn upgrades_are_refused() {
    let (server, ambassador, _) = scripted(|_, _| ok("{}")).await;
    let exec = "/api/v1/namespaces/demo/pods/web/exec?command=sh&stdin=true";
    for (target, headers) in [
        (exec, &[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")][..]),
        (exec, &[("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]),
        (MAPS, &[("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA")]),
    ] {
        let (code, status) = get(&ambassador, target, headers).await;
        assert_eq!((code, &status["kind"]), (501, &json!("Status")), "{target}");
    }
    assert_eq!(get(&ambassador, exec, &[]).await.0, 403);
    assert!(server.heads().is_empty());
}

#[tokio::test]
async fn only_the_extensions_own_token_is_taken() {
    let world = World::new();
    let (own, other) = (ScopedTokens::issue().unwrap(), ScopedTokens::issue().unwrap());
    let ambassador = ambassador(&world).with_tokens(own.clone());
    let asked = async |header: &str| get(&ambassador, COLOURS, &[("authorization", header)]).await;
    assert_eq!(asked(&format!("Bearer {}", *own.expose())).await.0, 200);
    assert_eq!(get(&ambassador, COLOURS, &[]).await.0, 200);
    let wrong = format!("Bearer {}", *other.expose());
    for header in [&wrong, "Bearer ", &format!("Bearer {}", world.token), "Basic YTpi"] {
        let (code, status) = asked(header).await;
        assert_eq!((code, &status["reason"]), (401, &json!("Unauthorized")), "{header}");
    }
    assert_eq!(asked(&wrong).await.0, 401);
    let record = world.records.last();
    assert_eq!((&record["verdict"], &record["extension"]), (&json!("unauthorized"), &json!("ext")));
    let records = world.records.all();
    let text = serde_json::to_string(&records).unwrap();
    for token in [&*own.expose(), &*other.expose(), &world.token] {
        assert!(!text.contains(token), "a token is in the records");
    }
}

#[tokio::test]
async fn guessing_tokens_spends_the_rate() {
    let world = World::new();
    let spec = SPEC.replace("1000, burst: 1000", "1, burst: 3");
    let ambassador = Ambassador::new(Channel::WasiHttp, gate(&spec, &world.records), Some(world.cluster()));
    let ambassador = ambassador.with_tokens(ScopedTokens::issue().unwrap());
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(get(&ambassador, COLOURS, &[("authorization", "Bearer attache_0")]).await.0);
    }
    assert_eq!(codes, [401, 401, 401, 429, 429]);
}

#[tokio::test]
async fn a_redirect_is_handed_on_and_not_followed() {
    let (server, ambassador, _) =
        scripted(|_, _| answer("307 Temporary Redirect", "Location: https://evil.example/\r\n", "")).await;
    let answer = ambassador.answer(request(&Method::GET, COLOURS, &[])).await;
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["location"].as_bytes()),
        (307, &b"https://evil.example/"[..])
    );
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn headers_of_one_connection_are_not_handed_on() {
    let headers =
        "Connection: X-Own, keep-alive\r\nKeep-Alive: timeout=5\r\nSet-Cookie: a=b\r\nX-Own: 1\r\nAudit-Id: 7\r\n";
    let (_server, ambassador, _) = scripted(move |_, _| answer("200 OK", headers, "{}")).await;
    let answer = ambassador.answer(request(&Method::GET, COLOURS, &[])).await;
    let mut names: Vec<_> = answer.headers().keys().map(|name| name.as_str().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["audit-id", "content-length"]);
}

#[tokio::test]
async fn a_server_that_is_away_is_told_without_its_address() {
    let dir = service_account("t", Authority::new().pem());
    let records = Records::default();
    let cluster = client("https://127.0.0.1:1", dir.path(), Duration::from_secs(5), &records);
    let ambassador = Ambassador::new(Channel::WasiHttp, gate(SPEC, &records), Some(cluster));
    let (code, status) = get(&ambassador, COLOURS, &[]).await;
    assert_eq!((code, &status["message"]), (503, &json!("the API server cannot be reached")));
    let nobody = Ambassador::new(Channel::WasiHttp, gate(SPEC, &records), None);
    assert_eq!(get(&nobody, COLOURS, &[]).await.0, 503);
}

#[tokio::test]
async fn a_silent_server_is_given_up_at_the_deadline() {
    let world = World::new();
    let slow = attache_devcluster::Fault::Latency(Duration::from_secs(30));
    world.server.faults().next(slow, MAPS, 1);
    let cluster = world.cluster_within(Duration::from_millis(200));
    let ambassador = Ambassador::new(Channel::WasiHttp, gate(SPEC, &world.records), Some(cluster));
    let (code, status) = get(&ambassador, COLOURS, &[]).await;
    assert_eq!((code, &status["reason"]), (504, &json!("Timeout")));
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_a_bad_gateway() {
    let spec = SPEC.replace("limits: {", "limits: {responseBytes: 100, ");
    let world = World::new();
    let ambassador = Ambassador::new(Channel::WasiHttp, gate(&spec, &world.records), Some(world.cluster()));
    let (code, status) = get(&ambassador, "/api/v1/namespaces/demo/pods", &[]).await;
    assert_eq!((code, &status["reason"]), (502, &json!("BadGateway")), "{status}");
    assert!(status["message"].as_str().unwrap().contains("100 bytes"), "{status}");
}

#[tokio::test]
async fn a_watch_goes_on_past_the_deadline_and_the_limit() {
    let world = World::new();
    let spec = SPEC.replace("limits: {", "limits: {responseBytes: 1000, ");
    let deadline = Duration::from_millis(300);
    let ambassador =
        Ambassador::new(Channel::WasiHttp, gate(&spec, &world.records), Some(world.cluster_within(deadline)));
    let began = Instant::now();
    let mut answer = ambassador.answer(request(&Method::GET, &format!("{MAPS}?watch=1"), &[])).await;
    assert_eq!(answer.status(), 200);
    let mut seen = String::new();
    let mut made = 0..;
    while began.elapsed() < 3 * deadline || seen.len() < 3000 {
        let name = format!("made-{}", made.next().unwrap());
        world.make_config_map(&name);
        while !seen.contains(&format!("{name:?}")) {
            seen.push_str(&line(answer.body_mut()).await);
        }
    }
    // It is a watch, which leaves the places of those in flight to others.
    assert_eq!((ambassador.gate().watches(), ambassador.gate().in_flight()), (1, 0));
    drop(answer);
    assert_eq!(ambassador.gate().watches(), 0);
    assert!(world.records.last()["bytes"].as_u64().unwrap() >= 3000);
}

#[tokio::test]
async fn a_log_is_followed_past_the_deadline_and_the_limit() {
    let authority = Authority::new();
    let (mut server, records) = (
        Scripted::tls(&authority, |_, _| {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            vec![Step::Send(head), Step::Trickle(b"5\r\nline\n\r\n".to_vec(), Duration::from_millis(10))]
        })
        .await,
        Records::default(),
    );
    let dir = service_account("t", authority.pem());
    let deadline = Duration::from_millis(200);
    let cluster = client(&server.url, dir.path(), deadline, &records);
    let spec = SPEC.replace("limits: {", "limits: {responseBytes: 50, ");
    let ambassador = Ambassador::new(Channel::WasiHttp, gate(&spec, &records), Some(cluster));
    let log = "/api/v1/namespaces/demo/pods/web/log";
    let began = Instant::now();
    let mut answer = ambassador.answer(request(&Method::GET, &format!("{log}?follow=true"), &[])).await;
    let mut seen = 0;
    while began.elapsed() < 2 * deadline || seen < 100 {
        seen += line(answer.body_mut()).await.len();
    }
    drop(answer);
    server.hung_up().await;
    // Without `follow` it has an end, and so a limit.
    let answer = ambassador.answer(request(&Method::GET, &format!("{log}?follow=false"), &[])).await;
    assert!(answer.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_log_is_waited_for_as_long_as_its_reader_waits() {
    let world = World::new();
    let deadline = Duration::from_millis(200);
    let ambassador = Ambassador::new(Channel::Proxy, gate(SPEC, &world.records), Some(world.cluster_within(deadline)));
    let log = "/api/v1/namespaces/demo/pods/web/log";
    for target in [log.to_owned(), format!("{log}?follow=true")] {
        world.server.faults().next(attache_devcluster::Fault::Latency(3 * deadline), log, 1);
        let began = Instant::now();
        let answer = ambassador.answer(request(&Method::GET, &target, &[])).await;
        assert_eq!(answer.status(), 200, "{target}");
        assert!(began.elapsed() > deadline, "the server was to be slow");
    }
}

#[tokio::test]
async fn a_client_of_the_proxy_waits_for_the_servers_own_answer() {
    let world = World::new();
    let deadline = Duration::from_millis(200);
    let ambassador = Ambassador::new(Channel::Proxy, gate(SPEC, &world.records), Some(world.cluster_within(deadline)));
    world.server.faults().next(attache_devcluster::Fault::Latency(3 * deadline), COLOURS, 1);
    let began = Instant::now();
    assert_eq!(get(&ambassador, COLOURS, &[]).await.0, 200);
    assert!(began.elapsed() > deadline, "the server was to be slow");
}

#[tokio::test]
async fn a_large_body_is_passed_on_as_it_comes() {
    let (server, ambassador, _) = scripted(|_, _| ok("{}")).await;
    let text = "x".repeat(1 << 20);
    let request = Request::post(MAPS).header("content-type", "application/json");
    let (code, _) = read(ambassador.answer(request.body(Full::<Bytes>::from(text)).unwrap()).await).await;
    assert_eq!(code, 200);
    assert!(server.heads()[0].contains("content-length: 1048576\r\n"), "{}", server.heads()[0]);
}

#[tokio::test]
async fn a_body_without_an_end_is_refused() {
    let (_server, ambassador, records) = scripted(|_, _| vec![Step::Silence]).await;
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    let endless = stream::repeat_with(move || Ok::<_, Infallible>(Frame::data(piece.clone())));
    let request = Request::post(MAPS).body(StreamBody::new(endless)).unwrap();
    let (code, status) = read(ambassador.answer(request).await).await;
    assert_eq!((code, &status["reason"]), (413, &json!("RequestEntityTooLarge")));
    assert_eq!(records.last().get("status"), None);

    let announced = usize::try_from(MAX_REQUEST_BODY + 1).unwrap();
    let request = Request::post(MAPS).body(Full::<Bytes>::from(vec![0; announced])).unwrap();
    assert_eq!(read(ambassador.answer(request).await).await.0, 413);
}

#[tokio::test]
async fn a_body_that_breaks_off_or_stalls_is_refused() {
    let world = World::new();
    let cluster = world.cluster_within(Duration::from_millis(200));
    let ambassador = Ambassador::new(Channel::WasiHttp, gate(SPEC, &world.records), Some(cluster));
    let start = || Ok(Frame::data(Bytes::from_static(b"{")));
    let broken = stream::iter([start(), Err(std::io::Error::other("gone"))]);
    let request = Request::post(MAPS).body(StreamBody::new(broken)).unwrap();
    assert_eq!(read(ambassador.answer(request).await).await.0, 400);
    let stalled = stream::iter([start()]).chain(stream::pending());
    let request = Request::post(MAPS).body(StreamBody::new(stalled)).unwrap();
    assert_eq!(read(ambassador.answer(request).await).await.0, 408);
    assert_eq!(ambassador.gate().in_flight(), 0);
}
