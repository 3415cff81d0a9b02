//! Answers and bodies: limits, deadlines, streams, and servers that are away.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use attache::ambassador::Ambassador;
use attache::gate::Channel;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Method, Request};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::json;

use crate::asking::{COLOURS, MAPS, SPEC, gate, get, line, read, request, scripted};
use crate::records::Records;
use crate::scripted::{Authority, Scripted, Step, answer, ok};
use crate::world::{World, client, service_account};

/// The largest body of a request, in bytes, unless the grant allows less.
const MAX_REQUEST_BODY: u64 = 3 << 20;

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
