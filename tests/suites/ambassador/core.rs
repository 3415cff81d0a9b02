//! Requests: whatever is asked, there is an answer, and only what was judged reaches the server.

use std::time::Duration;

use attache::ambassador::{Ambassador, ScopedTokens};
use attache::gate::Channel;
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;

use crate::asking::{COLOURS, MAPS, SPEC, ambassador, gate, get, read, request, scripted};
use crate::records::Records;
use crate::scripted::{Authority, Scripted, ok};
use crate::world::{World, client, service_account};

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
            "user-agent: attache/0.1.0 (ext)",
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
