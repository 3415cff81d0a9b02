//! Guests that call other places than the API server.

use std::sync::Arc;
use std::time::Duration;

use attache::ambassador::egress::{Egress, EgressClient, Patience};
use attache::gate::{Channel, Gate};
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::guest::{called, host, load};
use crate::outside::{Outside, authority, get};
use crate::records::Records;
use crate::scripted::{Authority, Scripted, Step, answer, ok};
use crate::world::{World, grant};

#[tokio::test]
async fn a_granted_destination_is_reached_and_recorded() {
    let server = Scripted::plain(|_, _| ok("hello")).await;
    let outside = Outside::new();
    let extension = outside.load(&[&server.url]).await;
    let flags = ["--header", "authorization", "Bearer its-own", "--header", "x-any", "1"];
    let answer = get(&extension, &server.url, &flags).await;
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("hello")));
    let head = server.heads().remove(0);
    assert!(head.starts_with("get /hook?secret=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer its-own\r\n") && head.contains("x-any: 1\r\n"), "{head}");
    assert!(!head.contains(&outside.world.token), "the host's token went out");
    let record = outside.last();
    assert_eq!(
        (
            &record["way"],
            &record["verdict"],
            &record["destination"],
            &record["path"],
            &record["status"],
            &record["bytes"]
        ),
        (&json!("wasi-http"), &json!("allowed"), &json!(server.url), &json!("/hook"), &json!(200), &json!(5))
    );
}

#[tokio::test]
async fn informational_answers_without_end_are_cut_long_before_the_deadline() {
    let hint = || b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec();
    let mut server = Scripted::plain(move |_, head| {
        if head.contains("flood") {
            return vec![Step::Repeat(hint())];
        }
        [vec![Step::Send(hint())], ok("hello")].into_iter().flatten().collect()
    })
    .await;
    let destination = server.url.parse().unwrap();
    let records = Records::default();
    let grant = Arc::new(grant("ext", &format!("{{egress: [{:?}]}}", server.url)));
    let egress =
        Egress::new(Channel::WasiHttp, Gate::new("ext", grant, records.audit()), EgressClient::default(), Vec::new());
    let send = async |path: &str| {
        let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
        egress.send(&destination, request, Patience::default()).await
    };
    assert_eq!(send("/").await.unwrap().status(), 200);
    let error = send("/flood").await.unwrap_err();
    let told = attache::telemetry::chain(&error).to_string();
    assert!(told.contains("more than 16 informational answers"), "{told}");
    server.hung_up().await;
}

#[tokio::test]
async fn any_other_is_denied_and_recorded() {
    let server = Scripted::plain(|_, _| ok("hello")).await;
    let outside = Outside::new();
    let extension = outside.load(&["https://hooks.example.com"]).await;
    let other_scheme = server.url.replace("http:", "https:");
    for url in
        [&server.url, &other_scheme, "http://hooks.example.com", "https://hooks.example.com:444", "https://example.com"]
    {
        assert_eq!(get(&extension, url, &[]).await["error"], "ErrorCode::HttpRequestDenied", "{url}");
        let record = outside.last();
        assert_eq!((&record["verdict"], &record["destination"]), (&json!("denied"), &json!(url)));
        assert!(record["reason"].as_str().unwrap().contains("under `egress`"), "{record}");
    }
    for url in
        ["https://hooks.example.com.", "https://127.1", "https://user@hooks.example.com", "https://hooks.example.com:"]
    {
        let answer = get(&extension, url, &[]).await;
        assert_eq!(answer["error"], "ErrorCode::HttpRequestUriInvalid", "{url}");
        assert_eq!(outside.last()["verdict"], "denied");
    }
    assert!(server.heads().is_empty() && outside.names.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_the_server_in_the_grant_egress_alone_is_enough() {
    let server = Scripted::plain(|_, _| ok("hello")).await;
    let world = World::new();
    let extension = load(host(&world), "http-calls", &format!("egress: [{:?}]", server.url)).await.unwrap();
    assert_eq!(get(&extension, &server.url, &[]).await["status"], 200);
    assert_eq!(get(&extension, "https://kubernetes", &[]).await["status"], 403);
}

#[tokio::test]
async fn the_api_server_is_not_reached_as_a_destination() {
    let outside = Outside::new();
    let url = outside.world.server.url();
    let extension = outside.load(&[&url]).await;
    // By its own name it is the ambassador that answers, granted or not.
    let answer = get(&extension, &url, &[]).await;
    assert_eq!((&answer["status"], &outside.last()["destination"]), (&json!(403), &Value::Null));
    // Under another spelling of the same place it is nobody.
    let mapped = url.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    let extension = outside.load(&[&mapped]).await;
    assert_eq!(get(&extension, &mapped, &[]).await["error"], "ErrorCode::DestinationIpProhibited");
}

#[tokio::test]
async fn tls_is_checked_against_the_roots_and_the_name() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Scripted::tls(&ours, |_, _| ok("hello")).await;
    let mut outside = Outside::new();
    outside.roots = ours.pem().into();
    let trusting = outside.load(&[&server.url]).await;
    assert_eq!(get(&trusting, &server.url, &[]).await["body"], "hello");
    server.present(ours.acceptor("other.example"));
    assert_eq!(get(&trusting, &server.url, &[]).await["error"], "ErrorCode::TlsCertificateError");
    let record = outside.last();
    assert_eq!((&record["verdict"], record.get("status")), (&json!("allowed"), None), "{record}");
    assert!(record["error"].as_str().is_some_and(|error| error.contains("certificate")), "{record}");
    outside.roots = theirs.pem().into();
    server.present(ours.acceptor("127.0.0.1"));
    let wary = outside.load(&[&server.url]).await;
    assert_eq!(get(&wary, &server.url, &[]).await["error"], "ErrorCode::TlsCertificateError");
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", plain.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    });
    let wary = outside.load(&[&url]).await;
    assert_eq!(get(&wary, &url, &[]).await["error"], "ErrorCode::TlsProtocolError");
    drop(answering.await);
}

#[tokio::test]
async fn a_redirect_is_the_guests_to_follow_and_judged_anew() {
    let elsewhere = Scripted::plain(|_, _| ok("secret")).await;
    let to = format!("Location: {}/\r\n", elsewhere.url);
    let server = Scripted::plain(move |_, _| answer("302 Found", &to, "")).await;
    let outside = Outside::new();
    let extension = outside.load(&[&server.url]).await;
    let answer = get(&extension, &server.url, &[]).await;
    assert_eq!(
        (&answer["status"], &answer["headers"]["location"]),
        (&json!(302), &json!(format!("{}/", elsewhere.url)))
    );
    assert!(elsewhere.heads().is_empty());
    assert_eq!(get(&extension, &elsewhere.url, &[]).await["error"], "ErrorCode::HttpRequestDenied");
}

#[tokio::test]
async fn bodies_without_an_end_are_cut_both_ways() {
    let script = |_: usize, head: &str| {
        if head.starts_with("POST") {
            return vec![Step::Silence];
        }
        let piece = format!("{:x}\r\n{}\r\n", 1000, "x".repeat(1000)).into_bytes();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        vec![Step::Send(head), Step::Repeat(piece)]
    };
    let mut server = Scripted::plain(script).await;
    let outside = Outside::new();
    let extension = outside.load(&[&server.url]).await;
    let answer = get(&extension, &server.url, &["--length"]).await;
    assert!(answer["broken"].as_str().unwrap().contains("body size exceeds limit"), "{answer}");
    assert!(answer["body"].as_u64().unwrap() <= 8 << 20);
    server.hung_up().await;
    let (scheme, at) = authority(&server.url);
    let answer = called(&extension, &["POST", scheme, at, "/", "--endless"]).await;
    assert_eq!(answer["error"], "ErrorCode::HttpRequestBodySize(Some(3145728))");
    let reasons: Vec<Value> = outside.world.records.all().iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(reasons, ["responseBytes: 8Mi", "requestBytes: 3Mi"]);
}

#[tokio::test]
async fn slow_servers_are_waited_for_as_long_as_the_guest_says() {
    let silent = Scripted::plain(|_, _| vec![Step::Silence]).await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx".to_vec();
    let slow = Scripted::plain(move |_, _| vec![Step::Send(head.clone()), Step::Silence]).await;
    let outside = Outside::new();
    let extension = outside.load(&[&silent.url, &slow.url]).await;
    let answer = get(&extension, &silent.url, &["--first-byte", "100"]).await;
    assert_eq!(answer["error"], "ErrorCode::ConnectionReadTimeout");
    let answer = get(&extension, &slow.url, &["--between", "100"]).await;
    assert!(answer["broken"].as_str().unwrap().contains("read timeout"), "{answer}");
}

#[tokio::test]
async fn a_place_that_is_not_there_is_told_apart() {
    let outside = Outside::named([("nowhere.example", vec![])]);
    let extension = outside.load(&["http://127.0.0.1:1", "http://nowhere.example"]).await;
    assert_eq!(get(&extension, "http://127.0.0.1:1", &[]).await["error"], "ErrorCode::ConnectionRefused");
    let answer = get(&extension, "http://nowhere.example", &[]).await;
    assert!(answer["error"].as_str().unwrap().starts_with("ErrorCode::DnsError"), "{answer}");
}

#[tokio::test]
async fn hostile_heads_are_survived() {
    for bytes in
        ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"]
    {
        let server = Scripted::plain(move |_, _| vec![Step::Send(bytes.into()), Step::Close]).await;
        let outside = Outside::new();
        let extension = outside.load(&[&server.url]).await;
        let answer = get(&extension, &server.url, &["--first-byte", "5000"]).await;
        assert!(answer["error"].is_string(), "{bytes:?}: {answer}");
    }
    let endless = Scripted::plain(|_, _| {
        let head = b"HTTP/1.1 200 OK\r\n".to_vec();
        vec![Step::Send(head), Step::Trickle(b"x-many: xxxxxxxxxxxxxxxx\r\n".to_vec(), Duration::ZERO)]
    })
    .await;
    let outside = Outside::new();
    let extension = outside.load(&[&endless.url]).await;
    let answer = get(&extension, &endless.url, &[]).await;
    assert!(answer["error"].is_string(), "{answer}");
}
