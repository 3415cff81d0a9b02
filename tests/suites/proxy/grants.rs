//! Grants: which one holds for whom.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use serde_json::{Value, json};

use crate::http1::At;
use crate::world::{ALL, World, refused};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MAP: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"made"}}"#;
const READS: &str = "{api: [{apiGroups: [''], resources: [configmaps], verbs: [get, list], namespaces: [default]}]}";

fn make(at: &At, path: &str) -> (u16, String) {
    let answer = at.send(&format!("POST {path}"), &["Content-Type: application/json"], MAP.as_bytes());
    (answer.status, answer.text())
}

#[test]
fn without_a_grant_nothing_starts_and_a_small_one_is_shown() {
    let world = World::new();
    let told = refused(&mut world.command(&["--port=0"]));
    for words in ["--grant FILE", "--read-only", "apiVersion: attache.dev/v1alpha1", "verbs: [get, list, watch]"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let (_, yaml) = told.split_once("A small grant:").unwrap();
    let yaml: String = yaml.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
    attache::policy::Grant::parse(&yaml).expect("what is shown is a grant");
}

#[test]
fn what_a_grant_does_not_open_is_a_status_that_names_the_rule() {
    let world = World::new();
    let grant = world.grant("reads", READS);
    let proxy = world.start(&["--port=0", "--grant", grant.to_str().unwrap()]);
    assert_eq!(proxy.at.get(MAPS).0, 200);
    for discovery in ["/api", "/apis", "/api/v1", "/apis/apps/v1", "/openapi/v2", "/openapi/v3", "/version", "/livez"] {
        assert_eq!(proxy.at.get(discovery).0, 200, "{discovery}");
    }
    let (status, text) = make(&proxy.at, MAPS);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &told["kind"], &told["reason"]), (403, &json!("Status"), &json!("Forbidden")));
    let rule = "{apiGroups: [\"\"], resources: [configmaps], verbs: [create], namespaces: [default]}";
    assert!(told["message"].as_str().unwrap().contains(rule), "{told}");
    assert_eq!(proxy.at.get("/metrics").0, 403);
}

#[test]
fn read_only_alone_reads_all_but_secrets() {
    let world = World::new();
    let proxy = world.start(&["--port=0", "--read-only"]);
    for path in [MAPS, "/api/v1/nodes", "/apis/apps/v1/deployments", "/api/v1/namespaces/kube-system"] {
        assert_eq!(proxy.at.get(path).0, 200, "{path}");
    }
    assert_eq!(proxy.at.get("/api/v1/namespaces/default/secrets").0, 403);
    assert_eq!(make(&proxy.at, MAPS).0, 403);
}

#[test]
fn read_only_leaves_of_a_grant_what_reads() {
    let world = World::new();
    let grant = world.grant("all", ALL);
    let proxy = world.start(&["--port=0", "--read-only=true", "--grant", grant.to_str().unwrap()]);
    assert_eq!((proxy.at.get(MAPS).0, make(&proxy.at, MAPS).0, proxy.at.get("/api/v1/nodes").0), (200, 403, 403));
}

#[test]
fn each_prefix_has_its_own_grant_its_own_limits_and_its_own_name() {
    let world = World::new();
    let reader = world.grant("reader", READS);
    let writer = world.grant("writer", &ALL.replace("10000", "1"));
    let (reader, writer) = (format!("/reader={}", reader.display()), format!("/writer/={}", writer.display()));
    let proxy = world.start(&["--port=0", "--grant", &reader, "--grant", &writer]);
    assert_eq!(make(&proxy.at, &format!("/writer{MAPS}")).0, 201);
    assert_eq!(make(&proxy.at, &format!("/reader{MAPS}")).0, 403);
    let spent = proxy.at.send(&format!("GET /writer{MAPS}"), &[], b"");
    assert_eq!((spent.status, spent.header("retry-after")), (429, Some("1")));
    for path in [format!("/reader{MAPS}/made"), "/reader/api".into(), "/reader/version".into()] {
        assert_eq!(proxy.at.get(&path).0, 200, "{path}");
    }
    // Neither a longer word nor a way up leads into another's place.
    for (path, status) in [
        (MAPS, 404),
        ("/readers/api", 404),
        ("/", 404),
        ("/reader/%2e%2e/writer/api", 400),
        ("/reader/../writer/api", 301),
    ] {
        assert_eq!(proxy.at.get(path).0, status, "{path}");
    }
    let made = world.record(|record| record["verb"] == "create" && record["verdict"] == "allowed");
    assert_eq!((&made["extension"], &made["path"]), (&json!("writer"), &json!(MAPS)));
    let denied = world.record(|record| record["verb"] == "create" && record["verdict"] == "denied");
    assert_eq!(denied["extension"], "reader");
}

#[test]
fn a_prefix_of_the_apis_own_narrows_each_spelling_of_a_request() {
    let world = World::new();
    world.cluster.load([json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a-b"}})]).unwrap();
    let main = world.grant("main", &ALL.replace("[default]", "['*']"));
    let narrow = world.grant(
        "narrow",
        "{api: [{apiGroups: [''], resources: [configmaps], verbs: [get], namespaces: [a-b], resourceNames: [open]}]}",
    );
    let narrow = format!("/api/v1/namespaces/a-b/={}", narrow.display());
    let flags = ["--reject-paths=^$", "--grant", main.to_str().unwrap(), "--grant", &narrow];
    let proxy = world.start(&[&["--port=0"][..], &flags[..]].concat());
    assert_eq!(proxy.at.get(MAPS).0, 200);
    assert_eq!(proxy.at.get("/api/v1/namespaces/a-b/configmaps/open").0, 404, "the narrow grant lets that through");
    for line in [
        "GET /api/v1/namespaces/a-b/configmaps",
        "GET /api/v1/namespaces/a%2Db/configmaps",
        "GET /api/v1/namespaces/%61-b/configmaps/",
        "GET /%61pi/v1/n%61mespaces/a-b/configmaps",
        "GET /api/v1/watch/namespaces/a-b/configmaps",
        "GET /api/v1/watch/namespaces/a%2db/configmaps",
        "GET /api/v1/w%61tch/namespaces/a-b/configmaps/x",
        "GET /api/v1/namespaces/a-b/configmaps?watch=1",
        "GET /api/v1/proxy/namespaces/a-b/services/s/x",
        "GET /api/v1/namespaces/a-b/services/s/proxy/x",
        "GET /api/v1/configmaps?fieldSelector=metadata.namespace%3Da-b",
        "GET /api/v1/configmaps?fieldSelector=metadata.namespace%3D%3Da-b,metadata.name!=x&watch=true",
        "DELETE /api/v1/configmaps?fieldSelector=metadata.namespace=a-b",
        "DELETE /api/v1/namespaces/a%2Db",
        "GET /api/v1/namespaces?fieldSelector=metadata.name%3Da-b",
        "POST /api/v1/namespaces/a%2Db/configmaps",
    ] {
        let answer = proxy.at.send(line, &["Content-Type: application/json"], MAP.as_bytes());
        assert_eq!(answer.status, 403, "{line}");
    }
    for line in [
        "GET /api/v1/namespaces/a-b%2fconfigmaps",
        "GET /api/v1/namespaces/a-b;x/configmaps",
        "GET /api/v1/namespaces/A-B/configmaps",
        "POST /api/v1/namespaces//a-b/configmaps",
        "POST /api/v1/namespaces/./a-b/configmaps",
        "POST /api/v1/namespaces/x/../a-b/configmaps",
        "GET /api/v1/namespaces/%2e/a-b/configmaps",
        "GET /api/v1/namespaces/a%252Db/configmaps",
        "GET /api/v1/namespaces/a-b/configmaps#x",
    ] {
        assert_eq!(proxy.at.send(line, &[], b"").status, 400, "{line}");
    }
    assert_eq!(proxy.at.send("GET /API/v1/namespaces/a-b/configmaps", &[], b"").status, 403);
    proxy.terminate();
    assert_eq!(proxy.code(), Some(0));
    let records = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    let lines: Vec<Value> = records.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let by = |extension: &str, verdict: &str| {
        lines.iter().filter(|line| line["extension"] == extension && line["verdict"] == verdict).collect::<Vec<_>>()
    };
    assert_eq!((by("narrow", "denied").len(), by("main", "denied").len()), (16, 1));
    assert!(by("main", "allowed").iter().all(|line| line["path"] == MAPS), "{lines:?}");
}

#[test]
fn a_prefix_that_tells_no_requests_apart_is_refused() {
    let world = World::new();
    let grant = world.grant("one", READS);
    for prefix in ["/api/v1/watch/namespaces/a", "/api/v1/namespaces/a/services/s/proxy/admin", "/a%2fb", "/a/../b"] {
        let placed = format!("{prefix}={}", grant.display());
        let told = refused(&mut world.command(&["--grant", &placed]));
        assert!(told.contains("tells no requests apart"), "{prefix}: {told}");
    }
}

#[test]
fn one_watch_too_many_is_told_when_to_come_back() {
    let world = World::new();
    let grant = world.grant("one", &ALL.replace("inFlight", "watches: 1, inFlight"));
    let proxy = world.start(&["--port=0", "--grant", grant.to_str().unwrap()]);
    let first = proxy.at.send(&format!("GET {MAPS}?watch=1"), &[], b"");
    let second = proxy.at.send(&format!("GET {MAPS}?watch=1"), &[], b"");
    assert_eq!((first.status, second.status, second.header("retry-after")), (200, 429, Some("1")));
    let told: Value = serde_json::from_str(&second.text()).unwrap();
    assert_eq!((&told["details"]["retryAfterSeconds"], &told["reason"]), (&json!(1), &json!("TooManyRequests")));
    let message = told["message"].as_str().unwrap();
    assert!(message.starts_with("as many watches are open as the grant allows (1)"), "{message}");
}

#[test]
fn each_socket_has_its_own_grant() {
    let world = World::new();
    let (one, two) = (world.path("one.sock"), world.path("two.sock"));
    // One that a killed proxy has left behind.
    drop(std::os::unix::net::UnixListener::bind(&one).unwrap());
    let reader = format!("unix:{}={}", one.display(), world.grant("reader", READS).display());
    let writer = format!("unix:{}={}", two.display(), world.grant("writer", ALL).display());
    let proxy = world.start(&["--grant", &reader, "--grant", &writer, "--socket-mode=0660"]);
    let second = proxy.next();
    assert!(matches!((&proxy.at, &second), (At::Unix(first), At::Unix(second)) if *first == one && *second == two));
    assert_eq!(
        (make(&proxy.at, MAPS).0, make(&second, MAPS).0, proxy.at.get(&format!("{MAPS}/made")).0),
        (403, 201, 200)
    );
    assert_eq!(std::fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o660);
    proxy.terminate();
    assert_eq!(proxy.code(), Some(0));
    assert!(!one.exists() && !two.exists());
}

#[test]
fn a_file_that_is_no_socket_is_never_removed() {
    let world = World::new();
    let file = world.path("precious");
    std::fs::write(&file, "kept").unwrap();
    let told = refused(&mut world.command(&["--read-only", "--unix-socket", file.to_str().unwrap()]));
    assert!(told.contains("precious"), "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");
}

#[test]
fn all_callers_together_keep_to_the_rate_of_the_whole_proxy() {
    let world = World::new();
    let [one, two] = ["one", "two"].map(|name| format!("/{name}={}", world.grant(name, ALL).display()));
    let rate = ["--requests-per-second=1", "--burst=8"];
    let proxy = world.start(&[&["--port=0", "--grant", &one, "--grant", &two], &rate[..]].concat());
    let began = Instant::now();
    let asked = (0..20).flat_map(|_| ["/one/version", "/two/version"]).map(|path| proxy.at.get(path).0);
    let let_through = asked.filter(|status| *status == 200).count();
    let at_most = 8 + 1 + usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!((1..=at_most).contains(&let_through), "{let_through} of 40, {at_most} at most");
}

#[test]
fn two_grants_of_one_name_or_one_place_are_refused() {
    let world = World::new();
    let (one, two) = (world.grant("one", READS), world.grant("two", READS));
    let (one, two) = (one.to_str().unwrap(), two.to_str().unwrap());
    assert!(refused(&mut world.command(&["--grant", one, "--grant", two])).contains("this place"));
    let placed = format!("/a={one}");
    assert!(refused(&mut world.command(&["--grant", one, "--grant", &placed])).contains("\"one\""));
}

#[test]
fn a_socket_in_place_of_the_port_is_for_its_user_alone() {
    let world = World::new();
    let socket = world.path("api.sock");
    let proxy = world.start(&["--read-only", "--unix-socket", socket.to_str().unwrap()]);
    assert_eq!(proxy.at.get(MAPS).0, 200);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn prefixes_and_files_are_as_kubectl_proxys() {
    let world = World::new();
    let www = world.path("www");
    std::fs::create_dir_all(www.join("sub")).unwrap();
    std::fs::write(www.join("index.html"), "<p>front</p>").unwrap();
    std::fs::write(www.join("sub/a.js"), "x".repeat(200_000)).unwrap();
    let (pipe, kind) = (www.join("pipe"), rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, rustix::fs::Mode::RUSR, 0).unwrap();
    let www = www.to_str().unwrap();
    let proxy = world.start(&["--port=0", "--read-only", "--api-prefix=/custom", "--www", www, "--www-prefix=/my/"]);
    assert_eq!(proxy.at.get("/custom/version").0, 200);
    assert_eq!(proxy.at.get("/version").0, 404);
    let front = proxy.at.send("GET /my/", &[], b"");
    assert_eq!(front.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(front.text(), "<p>front</p>");
    assert_eq!(proxy.at.get("/my/sub/a.js"), (200, "x".repeat(200_000)));
    assert_eq!(proxy.at.send("POST /my/", &[], b"x").status, 405);
    for (path, to) in [("/my", "/my/"), ("/my/sub", "/my/sub/"), ("/my/../token", "/token")] {
        let answer = proxy.at.send(&format!("GET {path}"), &[], b"");
        assert_eq!((answer.status, answer.header("location")), (301, Some(to)), "{path}");
    }
    for path in ["/my/none", "/my/pipe", "/my/sub/", "/token", "/my/%2e%2e/token", "/my/..%2ftoken"] {
        assert_eq!(proxy.at.get(path).0, 404, "{path}");
    }
    let narrowed = world.start(&["--port=0", "--read-only", "--api-prefix=/api/"]);
    assert_eq!((narrowed.at.get("/api/v1").0, narrowed.at.get("/apis").0), (200, 404));
}

#[test]
fn an_ipv6_address_is_served_and_accepted() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let world = World::new();
    let proxy = world.start(&["--port=0", "--read-only", "--address=::1"]);
    let At::Tcp(address) = &proxy.at else { panic!("a port") };
    assert_eq!(proxy.at.send("GET /version", &[&format!("Host: {address}")], b"").status, 200);
}
