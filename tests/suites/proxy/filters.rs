//! The filter over the wire, and requests that the ambassador refuses independent of the filter.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::behind::{Server, answer};
use crate::http1::At;
use crate::world::{ALL, Proxy, World, refused, within};

const POD: &str = "/api/v1/namespaces/default/pods/p";

fn proxy(world: &World, flags: &[&str]) -> Proxy {
    let grant = world.grant("all", ALL);
    world.start(&[&["--port=0", "--grant", grant.to_str().unwrap()], flags].concat())
}

/// Sends a request with this `Host`. Returns the status and the text.
fn ask(proxy: &Proxy, line: &str, host: &str) -> (u16, String) {
    let answer = proxy.at.send(line, &[&format!("Host: {host}")], b"");
    (answer.status, answer.text())
}

#[test]
fn by_default_this_machine_may_ask_and_ways_round_the_server_are_rejected() {
    let world = World::new();
    let proxy = proxy(&world, &[]);
    for host in ["localhost", "127.0.0.1:8001", "[::1]:8001", "[::1]"] {
        assert_eq!(ask(&proxy, "GET /version", host).0, 200, "{host}");
    }
    for (line, host) in [
        ("GET /version", "evil.example"),
        ("GET /version", "localhost.evil.example:8001"),
        (&format!("POST {POD}/exec?command=ls"), "localhost"),
        (&format!("POST {POD}/attach"), "localhost"),
        (&format!("POST {POD}/portforward"), "localhost"),
        (&format!("POST {POD}/p%6frtforward"), "localhost"),
        (&format!("GET {POD}/proxy/metrics"), "localhost"),
        ("GET /api/v1/namespaces/default/services/s:80/proxy/", "localhost"),
        ("GET /api/v1/nodes/n/proxy/logs", "localhost"),
        ("GET /api/v1/proxy/nodes/n", "localhost"),
    ] {
        let (what, flag) = match host {
            "localhost" => ("path is rejected", "--reject-paths"),
            _ => ("host is not accepted", "--accept-hosts"),
        };
        let (status, text) = ask(&proxy, line, host);
        let said = format!("Forbidden by the proxy, its {what} by the filter ({flag})\n");
        assert_eq!((status, &*text), (403, &*said), "{line}");
        // A mapping would be read as a `Status` without a message.
        assert!(serde_saphyr::from_str::<Value>(&text).unwrap().is_string(), "{text}");
    }
    let record = world.record(|record| record["path"].as_str().unwrap().ends_with("/exec"));
    assert_eq!((&record["verdict"], &record["way"]), (&"denied".into(), &"proxy".into()), "{record}");
    assert_eq!(record["reason"], "its path is rejected by the filter (--reject-paths)");
}

#[test]
fn the_flags_of_kubectl_proxy_mean_what_they_mean_there() {
    let world = World::new();
    let flags = [
        "--accept-paths=^/api/v1/namespaces/default/,/version",
        "--reject-paths=secrets",
        "--reject-methods=POST,DELETE",
        "--accept-hosts=.*",
    ];
    let proxy = proxy(&world, &flags);
    let maps = "/api/v1/namespaces/default/configmaps";
    for (line, status) in [
        (format!("GET {maps}"), 200),
        ("GET /version".into(), 200),
        ("GET /apis".into(), 403),
        ("GET /api/v1/namespaces/default/secrets".into(), 403),
        (format!("POST {maps}"), 403),
        (format!("DELETE {maps}/none"), 403),
        (format!("PUT {maps}/none"), 400),
    ] {
        assert_eq!(ask(&proxy, &line, "evil.example").0, status, "{line}");
    }
}

#[test]
fn an_empty_list_or_entry_is_no_pattern_that_fits_all() {
    let world = World::new();
    let exec = format!("POST {POD}/exec?command=ls");
    for (flags, line, told) in [
        (&["--reject-paths="][..], &*exec, "is not granted"),
        (&["--reject-paths=/attach,"], &exec, "is not granted"),
        (&["--reject-paths=^/version,"], "GET /version", "path is rejected"),
        (&["--reject-paths=^/nothing,"], "GET /version", "gitVersion"),
        (&["--reject-methods="], "GET /version", "gitVersion"),
        (&["--reject-methods=POST,"], "GET /version", "gitVersion"),
        (&["--accept-paths="], "GET /version", "path is not accepted by the filter (--accept-paths)"),
        (&["--accept-paths=^/apis,"], "GET /version", "path is not accepted"),
        (&["--accept-hosts="], "GET /version", "host is not accepted"),
    ] {
        let proxy = proxy(&world, flags);
        let (_, text) = ask(&proxy, line, "localhost");
        assert!(text.contains(told), "{flags:?} {line}: {text}");
    }
    let (status, text) = ask(&proxy(&world, &["--accept-hosts=^localhost$,"]), "GET /version", "evil.example");
    assert!(status == 403 && text.contains("host is not accepted"), "{text}");
}

#[test]
fn without_a_filter_the_grant_is_still_asked() {
    let world = World::new();
    let proxy = proxy(&world, &["--disable-filter"]);
    assert_eq!(ask(&proxy, "GET /version", "evil.example").0, 200);
    let (status, text) = ask(&proxy, &format!("POST {POD}/exec?command=ls"), "evil.example");
    assert!(status == 403 && text.contains("pods/exec"), "`*` never covers what hands out power: {text}");
}

#[test]
fn who_asks_and_what_is_asked_cannot_be_said_twice() {
    let world = World::new();
    let proxy = proxy(&world, &[]);
    let maps = "/api/v1/namespaces/default/configmaps";
    for (line, header, status) in [
        (format!("GET {maps}"), "Impersonate-User: admin", 403),
        (format!("GET {maps}"), "X-Remote-User: admin", 403),
        (format!("GET {maps}"), "Authorization: Bearer stolen", 401),
        (format!("GET {maps}"), "Upgrade: websocket", 501),
        (format!("GET {maps}/..%2fsecrets"), "A: b", 400),
        (format!("DELETE {maps}/../secrets"), "A: b", 400),
        (format!("DELETE /{maps}"), "A: b", 400),
        (format!("GET {maps}?watch=0&watch=1"), "A: b", 400),
        (format!("TRACE {maps}"), "A: b", 405),
        (format!("GET http://kubernetes{maps}"), "A: b", 400),
    ] {
        let answer = proxy.at.send(&line, &[header], b"");
        let told = (answer.status, answer.text());
        assert_eq!(told.0, status, "{line} {header}: {}", told.1);
    }
}

#[test]
fn a_fragment_is_refused_and_not_cut_off() {
    let world = World::new();
    let proxy = proxy(&world, &[]);
    let maps = "/api/v1/namespaces/default/configmaps";
    for line in [format!("GET {maps}#x"), format!("GET {maps}?limit=1#&watch=1"), "GET /version#".to_owned()] {
        let answer = proxy.at.send(&line, &[], b"");
        let told = (answer.status, answer.text());
        assert!(told.0 == 400 && told.1.contains("fragment"), "{line}: {told:?}");
    }
    assert_eq!(proxy.at.get(maps).0, 200);
}

/// Sends bytes on one connection. Returns the statuses of the answers until it is closed.
fn statuses(proxy: &Proxy, bytes: String) -> Vec<u16> {
    let At::Tcp(address) = proxy.at.clone() else { panic!("a port") };
    within(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        // A body may have no newline at its end.
        text.split("HTTP/1.1 ").skip(1).map(|answer| answer.get(..3).unwrap().parse().unwrap()).collect()
    })
}

#[test]
fn a_fragment_is_refused_behind_each_body_of_a_connection() {
    let world = World::new();
    let proxy = proxy(&world, &[]);
    let maps = "/api/v1/namespaces/default/configmaps";
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let post = |target: &str, body: &str| {
        let length = body.len();
        format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let hidden = get(&format!("{maps}#x"));
    // As many lines that look like a request as might be remembered.
    let decoys: String = (0..100).map(|number| format!("GET /{number}#\nGET {maps}#\n")).collect();
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(100_000));
    let last = "GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for (what, sent, expected) in [
        ("no newline before it", post(maps, "{}") + &hidden, &[422, 400, 200][..]),
        ("a large body", post(maps, &large) + &hidden, &[422, 400, 200]),
        ("a line that looks like one", post(maps, &hidden) + &get(maps), &[400, 200, 200]),
        ("in the request with the body", post(&format!("{maps}#"), &decoys) + &get(maps), &[400, 200, 200]),
        ("behind many", post(maps, &decoys) + &get("/api") + &hidden + &get(maps), &[400, 200, 400, 200, 200]),
        ("empty lines before it", post(maps, "{}") + "\r\n\n" + &hidden, &[422, 400, 200]),
        ("without a path", get(maps) + &get("/#") + &get("//version#"), &[200, 400, 400, 200]),
    ] {
        assert_eq!(statuses(&proxy, sent + last), expected, "{what}");
    }
    let chunked = "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let sent = format!("POST {maps} HTTP/1.1\r\n{chunked}{hidden}{last}");
    assert_eq!(statuses(&proxy, sent), [422], "its connection ends with it");
}

#[test]
fn the_filter_looks_at_what_is_asked_for_however_it_is_spelt() {
    let world = World::new();
    let proxy = proxy(&world, &["--reject-paths=^/api/v1/namespaces/default/configmaps"]);
    let below = "namespaces/default/configmaps";
    for path in [
        format!("/api/v1/{below}"),
        "/api/v1/namespaces/def%61ult/configmaps/x".to_owned(),
        format!("/api/v1/watch/{below}"),
        "/api/v1/configmaps?fieldSelector=metadata.namespace%3Ddefault".to_owned(),
    ] {
        let (status, text) = ask(&proxy, &format!("GET {path}"), "localhost");
        assert!(status == 403 && text.contains("rejected by the filter"), "{path}: {status} {text}");
    }
    assert_eq!(ask(&proxy, "GET /api/v1/namespaces/default/pods", "localhost").0, 200);
}

#[test]
fn a_wrong_flag_is_told_before_anything_starts() {
    let world = World::new();
    for (flags, said) in [
        (&["--read-only", "--accept-paths=("][..], "\"(\""),
        (&["--read-only", "--port=1", "--unix-socket=/tmp/x"], "say where to listen once"),
        (&["--read-only", "--disable-filter=perhaps"], "true or false"),
        (&["--read-only", "--www=/no/such/folder"], "/no/such/folder"),
        (&["--read-only", "--api-prefix=x"], "begins with a slash"),
        (&["--read-only", "--port=0", "--address=203.0.113.9"], "cannot listen on 203.0.113.9"),
        (&["--read-only", "--keepalive=soon"], "a duration"),
        (&["--grant=/no/such/grant.yaml"], "/no/such/grant.yaml"),
    ] {
        let told = refused(&mut world.command(flags));
        assert!(told.contains(said), "{flags:?}: {told}");
    }
}

#[test]
fn flags_are_written_as_for_kubectl_proxy() {
    let world = World::new();
    let flags = ["--keepalive=0", "--www=", "--unix-socket=", "--port=1", "--port=0", "--append-server-path=F"];
    let proxy = proxy(&world, &flags);
    assert_eq!(proxy.at.get("/version").0, 200);
    let socket = world.path("api.sock");
    // The usual port is no port, beside a socket.
    let proxy = world.start(&["--read-only", "--port=8001", "--unix-socket", socket.to_str().unwrap()]);
    assert!(matches!(proxy.at, At::Unix(_)));
}

#[test]
fn who_reads_below_an_untidy_path_is_sent_to_the_tidy_one() {
    let world = World::new();
    let proxy = proxy(&world, &[]);
    for (path, to) in [("//version", "/version"), ("/api//v1/../v1?limit=1", "/api/v1?limit=1")] {
        let answer = proxy.at.send(&format!("GET {path}"), &[], b"");
        assert_eq!((answer.status, answer.header("location")), (301, Some(to)), "{path}");
    }
}

#[test]
fn a_page_of_another_site_cannot_write_by_a_form_that_asks_no_leave() {
    let world = World::new();
    let proxy = proxy(&world, &[]);
    let send = |header: &str| {
        let body = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"generateName":"made-"}}"#;
        proxy.at.send("POST /api/v1/namespaces/default/configmaps", &[header], body).status
    };
    assert_eq!((send("Origin: http://evil.example"), send("Sec-Fetch-Site: cross-site")), (403, 403));
    assert_eq!((send("Origin: http://localhost:3000"), send("Accept: */*")), (201, 201));
}

#[test]
fn a_target_that_names_another_server_is_refused_under_a_prefix_too() {
    let world = World::new();
    let grant = world.grant("all", ALL);
    let proxy = world.start(&["--port=0", "--grant", &format!("/all={}", grant.display())]);
    assert_eq!(proxy.at.get("/all/version").0, 200);
    let answer = proxy.at.send("GET http://evil.example/all/version", &["Host: localhost"], b"");
    assert_eq!(answer.status, 400);
}

#[test]
fn a_host_that_is_no_host_and_port_is_not_accepted() {
    let world = World::new();
    for flags in [&[][..], &["--accept-hosts=.*"]] {
        let proxy = proxy(&world, flags);
        for host in [
            "localhost:80@evil.example",
            "localhost:evil.example",
            "localhost:80:80",
            "localhost:-1",
            "localhost:65536",
            "user@localhost",
            "localhost/evil.example",
            "localhost, evil.example",
            "localhost evil.example",
            "[::1]evil.example",
            "[localhost]",
            "[::1]:80@evil.example",
            "127.0.0.1:8001#@evil.example",
        ] {
            let (status, text) = ask(&proxy, "GET /version", host);
            assert!(status == 403 && text.contains("host is not accepted"), "{flags:?} {host}: {status} {text}");
        }
        let twice = proxy.at.send("GET /version", &["Host: localhost", "Host: evil.example"], b"");
        assert_eq!(twice.status, 403, "{flags:?}");
        for origin in ["http://localhost:80@evil.example", "http://evil.example@localhost:evil", "http://[::1]evil"] {
            let answer = proxy.at.send("GET /version", &[&format!("Origin: {origin}")], b"");
            assert_eq!(answer.status, 403, "{flags:?} {origin}");
        }
    }
}

#[test]
fn nothing_that_a_backend_may_read_as_a_dot_segment_goes_behind_proxy() {
    let server = Server::start(|head: String, stream| async move {
        let line = head.lines().next().unwrap_or_default().to_owned();
        answer(stream, "200 OK", "", &line).await;
    });
    let place = server.place();
    let spec = "{api: [{apiGroups: [''], resources: [services/proxy, pods/proxy], verbs: [get], \
        namespaces: [default]}]}";
    let proxy = place.under(spec, &["--reject-paths="]);
    let below = ["/api/v1/namespaces/default/services/s/proxy/", "/api/v1/namespaces/default/pods/p:80/proxy/"];
    for tail in [
        "%C0%AE%C0%AE/secret",
        "%c0%ae%c0%ae%c0%afsecret",
        "%E0%80%AE%E0%80%AE/secret",
        "%F0%80%80%AE%F0%80%80%AE/",
        "a/..%C0%AFsecret",
        "%25C0%25AE%25C0%25AE/secret",
        "a%FFb",
        "%E9",
        "%ED%A0%80",
        "%EF%BC%8E%EF%BC%8E/secret",
        "a/..%EF%BC%8Fsecret",
        "a/..%E2%88%95secret",
        "a/..%EF%BC%BCsecret",
        "%E2%80%A5/secret",
        "%E2%80%A4%E2%80%A4/secret",
        "%EF%BC%852e%EF%BC%852e/secret",
        "%25u002e%25u002e/secret",
        "..%20/secret",
        "%2e%2e%3bx/secret",
    ] {
        for below in below {
            let (status, text) = proxy.at.get(&format!("{below}{tail}"));
            assert_eq!(status, 400, "{tail}: {text}");
        }
    }
    for tail in [
        "a%2Fb",
        "my%20file.txt",
        "%E2%82%AC",
        "f(1);v=2",
        "x?flag",
        "x?sig=a+b%2Bc",
        "x?name=%E9&path=../..",
        "wait%E2%80%A6",
        "%EF%BC%8Ehidden%EF%BC%8Ftxt",
        "100%25",
        "a%252Fb",
        "...",
        "//a//",
        "v1..v2",
    ] {
        for below in below {
            let (status, text) = proxy.at.get(&format!("{below}{tail}"));
            assert_eq!((status, &*text), (200, &*format!("GET {below}{tail} HTTP/1.1")), "{tail}");
        }
    }
}
