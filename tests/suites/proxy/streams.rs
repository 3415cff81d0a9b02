//! Answers are passed on as they arrive, and unchanged.

use std::process::{Command, Stdio};

use attache_tests::attache;
use serde_json::{Value, json};

use crate::http1::At;
use crate::world::{Proxy, World, refused};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn a_watch_passes_each_event_as_it_happens() {
    let world = World::new();
    let proxy = world.open();
    let (_, list) = proxy.at.get(MAPS);
    let list: Value = serde_json::from_str(&list).unwrap();
    let version = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut watch = proxy.at.send(&format!("GET {MAPS}?watch=true&resourceVersion={version}"), &[], b"");
    for name in ["one", "two"] {
        world.config_map(name, &json!({}));
        let event: Value = serde_json::from_slice(&watch.chunk().expect("an event")).unwrap();
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(name)));
    }
    // It is recorded when its reader leaves, and holds its place until then.
    drop(watch);
    let record = world.record(|record| record["verb"] == "watch" && record["verdict"] == "allowed");
    assert!(record["bytes"].as_u64().unwrap() > 100 && record["status"] == 200, "{record}");
}

#[test]
fn a_watch_is_not_ended_by_the_size_of_an_answer() {
    let world = World::new();
    let spec = crate::world::ALL.replace("inFlight", "responseBytes: 4Ki, inFlight");
    let proxy = world.start(&["--port=0", "--grant", world.grant("small", &spec).to_str().unwrap()]);
    let mut watch = proxy.at.send(&format!("GET {MAPS}?watch=1"), &[], b"");
    let data = json!({"text": "x".repeat(3000)});
    for name in ["a", "b", "c"] {
        world.config_map(name, &data);
        let mut seen = String::new();
        while !seen.contains(&format!("\"name\":\"{name}\"")) {
            seen.push_str(&String::from_utf8(watch.chunk().expect("an event")).unwrap());
        }
    }
    let (status, told) = proxy.at.get(MAPS);
    assert!(status == 502 && told.contains("4096 bytes"), "{status} {told}");
}

#[test]
fn compressed_and_binary_answers_pass_unchanged() {
    let world = World::new();
    for number in 0..100 {
        world.config_map(&format!("map-{number}"), &json!({"text": "x".repeat(2000)}));
    }
    let proxy = world.open();
    for (accept, encoding) in [
        ("application/json", "gzip"),
        ("application/json", "identity"),
        ("application/vnd.kubernetes.protobuf, application/json", "gzip"),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "gzip"),
    ] {
        let (accept, encoding) = (format!("Accept: {accept}"), format!("Accept-Encoding: {encoding}"));
        let headers = [accept.as_str(), encoding.as_str()];
        let server = At::Tls(world.cluster.address().to_string(), world.cluster.ca_pem());
        let token = format!("Authorization: Bearer {}", world.cluster.admin_token());
        let ask = || server.send(&format!("GET {MAPS}"), &[headers[0], headers[1], &token], b"");
        let direct = ask();
        let passed = proxy.at.send(&format!("GET {MAPS}"), &headers, b"");
        for name in ["content-type", "content-encoding", "vary"] {
            assert_eq!(passed.header(name), direct.header(name), "{headers:?}");
        }
        // A table has the age of each object in seconds, which may change between two requests.
        let bytes = passed.bytes();
        assert!(bytes == direct.bytes() || bytes == ask().bytes(), "{headers:?}");
    }
}

#[test]
fn a_body_reaches_the_server_as_it_was_sent() {
    let world = World::new();
    let proxy = world.open();
    let patch = br#"{"data":{"k":"v"}}"#;
    world.config_map("changed", &json!({}));
    let content = ["Content-Type: application/merge-patch+json"];
    let answer = proxy.at.send(&format!("PATCH {MAPS}/changed"), &content, patch);
    assert_eq!(answer.status, 200);
    let changed: Value = serde_json::from_slice(&answer.bytes()).unwrap();
    assert_eq!(changed["data"]["k"], "v");
    let large = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"x": "y".repeat(900_000)}});
    let made =
        proxy.at.send(&format!("POST {MAPS}"), &["Content-Type: application/json"], large.to_string().as_bytes());
    assert_eq!(made.status, 201);
    assert!(made.bytes().len() > 900_000);
}

#[test]
fn what_is_refused_before_it_was_sent_whole_is_told_all_the_same() {
    let world = World::new();
    let proxy = world.start(&["--port=0", "--read-only"]);
    let large = vec![b' '; 16 << 20];
    for line in [format!("POST {MAPS}"), "POST /api/v1/namespaces/default/pods/p/exec".into()] {
        let answer = proxy.at.send(&line, &[], &large);
        assert_eq!((answer.status, answer.header("connection")), (403, Some("close")), "{line}");
        assert!(answer.text().len() > 20, "{line}");
    }
}

#[test]
fn it_serves_while_the_server_is_away() {
    let world = World::new();
    let file = world.folder.path().to_str().unwrap();
    let mut command = Command::new(attache());
    command.env_clear().args(["proxy", "--port=0", "--read-only", "--audit=none", "--service-account", file]);
    // Nothing listens on port 1.
    command.args(["--api-server", "https://127.0.0.1:1"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let (status, told) = Proxy::start(&mut command).at.get(MAPS);
    assert_eq!(status, 503, "{told}");
    // Errors of local files are reported before anything starts.
    std::fs::write(world.path("ca.crt"), "no certificate").unwrap();
    let told = refused(command.stderr(Stdio::piped()));
    assert!(told.contains("ca.crt"), "{told}");
}
