//! Upgrades over the wire: which are passed on, with what, and how they end.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::behind::{Server, Stream, TOKEN, answer, header, send, websocket_head};
use crate::http1::At;
use crate::world::{Place, Proxy, within};

const POD: &str = "/api/v1/namespaces/default/pods/p";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The spec of a grant for all upgrades of this suite, and for everything else in the namespace.
const OPEN: &str = "{api: [{apiGroups: ['*'], resources: ['*'], verbs: ['*'], namespaces: [default]}, \
    {apiGroups: [''], resources: [pods/exec, pods/attach, pods/portforward, pods/proxy, services/proxy], \
    verbs: [get, create], namespaces: [default]}, {apiGroups: [''], resources: [nodes/proxy], verbs: [get], namespaces: ['*']}], \
    limits: {requestsPerSecond: 10000, burst: 10000, inFlight: 64}}";

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";
const WEBSOCKET: [&str; 4] = ["Connection: Upgrade", "Upgrade: websocket", KEY, VERSION];
const SPDY: [&str; 3] = ["Connection: Upgrade", "Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"];

/// Returns a request in HTTP/1.1, without a body.
fn text(line: &str, headers: &[&str]) -> String {
    format!("{line} HTTP/1.1\r\nHost: localhost\r\n{}\r\n\r\n", headers.join("\r\n"))
}

/// Sends bytes, and reads the head of what comes back. What follows it is still to be read.
#[track_caller]
fn raw(proxy: &Proxy, bytes: &[u8]) -> (String, TcpStream) {
    let At::Tcp(address) = &proxy.at else { panic!("a port") };
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream.write_all(bytes).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
        head.push(byte[0]);
    }
    (String::from_utf8(head).unwrap(), stream)
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap_or_else(|| panic!("{head:?}")).parse().unwrap()
}

fn rest(mut stream: TcpStream) -> String {
    within(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

/// Sends each byte back, and `bye` when the client ends its side.
async fn echo(mut stream: Stream) {
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece).await {
            Ok(0) => break send(&mut stream, "bye").await,
            Ok(read) if stream.write_all(&piece[..read]).await.is_ok() && stream.flush().await.is_ok() => {}
            _ => return,
        }
    }
    let _ = stream.shutdown().await;
}

/// Returns a server that accepts each upgrade.
fn echoing() -> Server {
    Server::start(|head: String, mut stream| async move {
        match header(&head, "upgrade") {
            Some("websocket") => send(&mut stream, &websocket_head(&head, None)).await,
            Some("SPDY/3.1") => {
                let taken = header(&head, "x-stream-protocol-version").unwrap();
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nSet-Cookie: a=b\r\n\
                     X-Stream-Protocol-Version: {taken}\r\n\r\n"
                );
                send(&mut stream, &head).await;
            }
            _ => return answer(stream, "200 OK", "", "{}").await,
        }
        echo(stream).await;
    })
}

fn proxy(place: &Place) -> Proxy {
    place.under(OPEN, &["--reject-paths="])
}

#[test]
fn bytes_pass_in_both_directions_until_both_sides_are_done() {
    let server = echoing();
    let place = server.place();
    let proxy = proxy(&place);
    let cookies = ["Cookie: a=b", "X-Forwarded-For: 10.0.0.1", "User-Agent: browser/1", "X-Custom: y"];
    for (line, headers) in
        [(format!("GET {POD}/exec?command=ls"), &WEBSOCKET[..]), (format!("POST {POD}/portforward"), &SPDY)]
    {
        // What is sent with the request itself comes through, after the server has agreed.
        let request = text(&line, &[headers, &cookies[..]].concat()) + "early ";
        let (head, mut stream) = raw(&proxy, request.as_bytes());
        assert_eq!(status(&head), 101, "{head}");
        assert_eq!(header(&head, "connection").map(str::to_lowercase).as_deref(), Some("upgrade"));
        assert!(header(&head, "set-cookie").is_none() && header(&head, "upgrade").is_some(), "{head}");
        let mut echoed = vec![0; 6];
        stream.read_exact(&mut echoed).unwrap();
        assert_eq!(echoed, b"early ");
        let (long, mut writing) = (vec![b'x'; 1 << 20], stream.try_clone().unwrap());
        let sending = std::thread::spawn(move || {
            writing.write_all(&long).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let answer = rest(stream);
        sending.join().unwrap();
        assert!(answer.len() == (1 << 20) + 3 && answer.ends_with("xbye"), "{}", answer.len());
    }
    let agent = concat!("browser/1 attache/", env!("CARGO_PKG_VERSION"), " (callers)");
    for head in server.heads() {
        assert_eq!(header(&head, "authorization"), Some(&*format!("bearer {TOKEN}")), "{head}");
        assert_eq!((header(&head, "connection"), header(&head, "user-agent")), (Some("upgrade"), Some(agent)));
        let names = ["cookie", "x-forwarded-for", "x-custom"];
        assert!(names.iter().all(|name| header(&head, name).is_none()), "{head}");
    }
    let begun = place.record(|record| record["verdict"] == "begun" && record["subresource"] == "exec");
    assert_eq!((&begun["upgrade"], &begun["verb"]), (&json!(true), &json!("get")), "{begun}");
    for subresource in ["exec", "portforward"] {
        let ended = place.record(move |record| record["verdict"] == "allowed" && record["subresource"] == subresource);
        assert_eq!((&ended["status"], &ended["sent"]), (&json!(101), &json!((1 << 20) + 6)), "{ended}");
        assert_eq!((&ended["bytes"], ended.get("error")), (&json!((1 << 20) + 9), None), "{ended}");
    }
}

#[test]
fn watches_logs_and_proxied_backends_are_upgraded_and_nothing_else() {
    let server = echoing();
    let place = server.place();
    let proxy = proxy(&place);
    for (line, expected) in [
        (format!("GET {MAPS}?watch=true"), 101),
        ("GET /api/v1/watch/namespaces/default/configmaps".into(), 101),
        (format!("GET {POD}/log?follow=true"), 101),
        (format!("GET {POD}/attach"), 101),
        (format!("GET {POD}/proxy/socket"), 101),
        ("GET /api/v1/namespaces/default/services/s:80/proxy/socket".into(), 101),
        (MAPS.replacen('/', "GET /", 1), 501),
        (format!("GET {POD}/log"), 501),
        (format!("GET {POD}"), 501),
        (format!("GET {POD}/status"), 501),
        ("GET /version".into(), 501),
        ("GET /api/v1/proxy/namespaces/default/pods/p".into(), 501),
        ("GET /apis/apps/v1/namespaces/default/deployments/d/exec".into(), 501),
        // A kubelet runs commands by WebSocket: reading of what it serves is not enough.
        ("GET /api/v1/nodes/n/proxy/exec/default/p/main?command=ls".into(), 403),
        ("GET /api/v1/namespaces/other/pods/p/exec?command=ls".into(), 403),
    ] {
        let before = server.heads().len();
        let (head, _stream) = raw(&proxy, text(&line, &WEBSOCKET).as_bytes());
        assert_eq!(status(&head), expected, "{line}: {head}");
        assert_eq!(server.heads().len() - before, usize::from(expected == 101), "{line}");
    }
    let begun = place.record(|record| record["verb"] == "watch" && record["verdict"] == "begun");
    assert_eq!(begun["upgrade"], true, "{begun}");
}

#[test]
fn a_websocket_to_a_pod_takes_get_and_create() {
    let server = echoing();
    let place = server.place();
    let spec = |verbs: &str| {
        format!("{{api: [{{apiGroups: [''], resources: [pods/exec], verbs: [{verbs}], namespaces: [default]}}]}}")
    };
    let exec = format!("{POD}/exec?command=ls");
    for (verbs, by_get, by_post) in [("get", 403, 403), ("create", 403, 101), ("get, create", 101, 101)] {
        let proxy = place.under(&spec(verbs), &["--reject-paths="]);
        let (get, _stream) = raw(&proxy, text(&format!("GET {exec}"), &WEBSOCKET).as_bytes());
        let (post, _stream) = raw(&proxy, text(&format!("POST {exec}"), &SPDY).as_bytes());
        assert_eq!((status(&get), status(&post)), (by_get, by_post), "{verbs}");
    }
    // By default the filter rejects them, even if a grant allows them.
    let proxy = place.under(&spec("get, create"), &[]);
    let (head, stream) = raw(&proxy, text(&format!("GET {exec}"), &WEBSOCKET).as_bytes());
    assert!(status(&head) == 403 && rest(stream).contains("rejected by the filter"));
}

#[test]
fn headers_with_two_readings_and_other_protocols_are_never_passed_on() {
    let server = echoing();
    let place = server.place();
    let proxy = proxy(&place);
    let bearer = "Sec-WebSocket-Protocol: v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0";
    let line = format!("GET {POD}/exec?command=ls");
    let websocket = |header: &'static str| [&WEBSOCKET[..], &[header]].concat();
    for (headers, expected) in [
        (vec!["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"], 400),
        (vec!["Connection: Upgrade", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"], 501),
        (vec!["Connection: Upgrade", "Upgrade: h2c"], 501),
        (vec!["Connection: Upgrade", "Upgrade: TLS/1.0, HTTP/1.1"], 501),
        (vec!["Connection: Upgrade", "Upgrade: websocket, h2c", KEY, VERSION], 501),
        (vec!["Connection: upgrade, authorization", "Upgrade: websocket", KEY, VERSION], 400),
        (vec!["Connection: close", "Upgrade: websocket", KEY, VERSION], 400),
        (vec!["Connection: Upgrade", KEY, VERSION], 400),
        (vec!["Upgrade: websocket", KEY, VERSION], 400),
        (vec!["Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c", KEY, VERSION], 400),
        (vec!["Connection: Upgrade", "Upgrade: websocket", VERSION], 400),
        (websocket(bearer), 401),
        (websocket("Authorization: Bearer stolen"), 401),
        (websocket("Impersonate-User: admin"), 403),
        (websocket("Content-Length: 4"), 400),
        (websocket("Transfer-Encoding: chunked"), 400),
        (websocket("Expect: 100-continue"), 400),
    ] {
        let (head, stream) = raw(&proxy, text(&line, &headers).as_bytes());
        let told = rest(stream);
        assert_eq!(status(&head), expected, "{headers:?}: {told}");
        assert_eq!(header(&head, "connection"), Some("close"), "{headers:?}");
        assert!(!told.contains("c2VjcmV0") && !told.contains("stolen"), "{told}");
    }
    let old = format!("{line} HTTP/1.0\r\n{}\r\n\r\n", WEBSOCKET.join("\r\n"));
    assert_eq!(status(&raw(&proxy, old.replace("\r\nConn", "\r\nHost: localhost\r\nConn").as_bytes()).0), 400);
    assert_eq!(server.heads(), Vec::<String>::new());
    let record = place
        .record(|record| record["verdict"] == "unauthorized" && record["path"].as_str().unwrap().ends_with("exec"));
    assert!(!record.to_string().contains("c2VjcmV0"), "{record}");
}

#[test]
fn what_follows_a_refused_upgrade_is_not_read_as_a_request() {
    let server = Server::start(|_, stream| answer(stream, "200 OK", "Content-Type: text/plain\r\n", "no upgrade here"));
    let place = server.place();
    let proxy = proxy(&place);
    let smuggled = text(&format!("DELETE {MAPS}/precious"), &["A: b"]);
    for (line, headers, expected) in [
        // Refused here, and answered by the server in HTTP.
        (format!("GET {MAPS}/a"), &WEBSOCKET[..], 501),
        (format!("GET {POD}/exec"), &WEBSOCKET, 200),
        (format!("POST {POD}/exec"), &SPDY, 200),
        (format!("GET {MAPS}?watch=true"), &WEBSOCKET, 200),
    ] {
        let (head, stream) = raw(&proxy, (text(&line, headers) + &smuggled).as_bytes());
        let told = rest(stream);
        assert_eq!((status(&head), header(&head, "connection")), (expected, Some("close")), "{line}: {head}");
        assert!(!told.contains("HTTP/1.1"), "one answer: {told}");
        assert_eq!(told.contains("no upgrade here"), expected == 200, "{told}");
    }
    assert!(server.heads().iter().all(|head| !head.contains("precious")), "{:?}", server.heads());
    let path = std::fs::read_to_string(place.path("audit.jsonl")).unwrap();
    assert!(!path.contains("precious"), "{path}");
}

#[test]
fn a_server_that_changes_to_what_was_not_asked_for_is_not_passed_on() {
    let good = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n";
    let proof = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
    for answer in [
        format!("{good}Upgrade: h2c\r\n{proof}\r\n"),
        format!("{good}Upgrade: SPDY/3.1\r\n\r\n"),
        format!("{good}{proof}\r\n"),
        format!("{good}Upgrade: websocket\r\n\r\n"),
        format!("{good}Upgrade: websocket\r\nSec-WebSocket-Accept: c3RvbGVu\r\n\r\n"),
        format!("{good}Upgrade: websocket\r\n{proof}Sec-WebSocket-Protocol: never.offered\r\n\r\n"),
        format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n{proof}\r\n"),
    ] {
        let sent = answer.clone();
        let server = Server::start(move |_, mut stream| {
            let sent = sent.clone();
            async move {
                send(&mut stream, &(sent + "bytes of another protocol")).await;
                echo(stream).await;
            }
        });
        let place = server.place();
        let proxy = proxy(&place);
        let (head, stream) = raw(&proxy, text(&format!("GET {POD}/exec"), &WEBSOCKET).as_bytes());
        let told = rest(stream);
        assert!(status(&head) == 502 && told.contains("broke off"), "{answer}: {head}{told}");
        assert!(!told.contains("another protocol"), "{told}");
        // A server that changes unasked is no better.
        assert_eq!(proxy.at.get(MAPS).0, 502, "{answer}");
    }
}

#[test]
fn an_upgrade_holds_one_of_the_requests_in_flight() {
    let server = echoing();
    let place = server.place();
    let proxy = place.under(&OPEN.replace("inFlight: 64", "inFlight: 1"), &["--reject-paths="]);
    let exec = text(&format!("GET {POD}/exec"), &WEBSOCKET);
    let (head, stream) = raw(&proxy, exec.as_bytes());
    assert_eq!(status(&head), 101);
    assert_eq!((status(&raw(&proxy, exec.as_bytes()).0), proxy.at.get(MAPS).0), (429, 429));
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(stream), "bye");
    place.record(|record| record["subresource"] == "exec" && record["verdict"] == "allowed");
    assert_eq!(proxy.at.get(MAPS).0, 200);
}

#[test]
fn the_grants_deadline_ends_an_upgrade() {
    let server = echoing();
    let place = server.place();
    let proxy = place.under(&OPEN.replace("inFlight", "deadline: 300ms, inFlight"), &["--reject-paths="]);
    let (head, mut stream) = raw(&proxy, text(&format!("GET {POD}/exec"), &WEBSOCKET).as_bytes());
    assert_eq!(status(&head), 101);
    stream.write_all(b"x").unwrap();
    let _ = rest(stream);
    let record = place.record(|record| record["subresource"] == "exec" && record["verdict"] == "allowed");
    assert_eq!((&record["reason"], &record["bytes"]), (&json!("deadline: 300ms"), &json!(1)), "{record}");
}

#[test]
fn the_proxys_stop_ends_an_upgrade() {
    let server = echoing();
    let place = server.place();
    let proxy = proxy(&place);
    let (head, mut stream) = raw(&proxy, text(&format!("GET {POD}/exec"), &WEBSOCKET).as_bytes());
    assert_eq!(status(&head), 101);
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0]).unwrap();
    proxy.terminate();
    let _ = rest(stream);
    assert_eq!(proxy.code(), Some(0));
    let record = place.record(|record| record["subresource"] == "exec" && record["verdict"] == "allowed");
    assert_eq!((&record["error"], &record["sent"]), (&json!("the proxy stops"), &json!(1)), "{record}");
}

#[test]
fn a_side_that_goes_away_ends_the_other() {
    let server = Server::start(|head: String, mut stream| async move {
        send(&mut stream, &websocket_head(&head, None)).await;
        if head.contains("leave") {
            return;
        }
        // Until the client is gone.
        let mut byte = [0];
        while stream.read(&mut byte).await.is_ok_and(|read| read > 0) {}
    });
    let place = server.place();
    let proxy = proxy(&place);
    let (head, mut stream) = raw(&proxy, text(&format!("GET {POD}/exec?command=leave"), &WEBSOCKET).as_bytes());
    assert_eq!(status(&head), 101);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    drop(stream);
    let (head, stream) = raw(&proxy, text(&format!("GET {POD}/attach"), &WEBSOCKET).as_bytes());
    assert_eq!(status(&head), 101);
    drop(stream);
    for subresource in ["exec", "attach"] {
        place.record(move |record| record["subresource"] == subresource && record["verdict"] == "allowed");
    }
}
