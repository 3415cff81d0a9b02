//! HTTP/1.1 and HTTP/2, with and without TLS.

use std::net::SocketAddr;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Answer, Identity, http1, http2, listener, plain_http2, read, request, serve, text, within};

/// Answers with the version that the request came by.
async fn version(request: Request<Incoming>) -> Answer {
    text(format!("{:?}", request.version()))
}

/// Sends these pieces, each in a packet of its own, and returns the answer.
async fn pieces(address: SocketAddr, pieces: &[&str]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_plain_listener_speaks_http2_where_its_owner_wants_it() {
    let both = serve(listener().await.http2(true), 8, Duration::ZERO, version);
    let mut client = plain_http2(both.address).await;
    assert_eq!(within(read(client.send_request(request("/")).await)).await.unwrap(), (200, "HTTP/2.0".into()));
    // What begins as the preface of HTTP/2 does, and what is shorter than it.
    for sent in [
        &["P", "OST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"][..],
        &["GET / HTTP/1.1\r\n", "host: a\r\nconnection: close\r\n\r\n"],
        &["GET / HTTP/1.0\r\n\r\n"],
    ] {
        let answer = within(pieces(both.address, sent)).await;
        assert!(answer.contains(" 200 OK\r\n") && answer.contains("HTTP/1."), "{sent:?}: {answer}");
    }
    let one = serve(listener().await, 8, Duration::ZERO, version);
    let mut client = plain_http2(one.address).await;
    within(client.send_request(request("/"))).await.unwrap_err();
    assert!(within(pieces(one.address, &["GET / HTTP/1.0\r\n\r\n"])).await.contains(" 200 OK\r\n"));
}

#[tokio::test]
async fn over_tls_the_client_chooses_among_what_the_listener_speaks() {
    let identity = Identity::new("one.example");
    let config = Arc::clone(&identity.server);
    let both = serve(listener().await.http2(true).tls(move || Arc::clone(&config)), 8, Duration::ZERO, version);
    let config = Arc::clone(&identity.server);
    let one = serve(listener().await.tls(move || Arc::clone(&config)), 8, Duration::ZERO, version);
    for (server, offered, chosen) in [
        (&both, &["h2", "http/1.1"][..], Some("h2")),
        (&both, &["http/1.1"], Some("http/1.1")),
        (&both, &[], None),
        (&one, &["h2", "http/1.1"], Some("http/1.1")),
    ] {
        let stream = within(identity.connect(server.address, "one.example", offered)).await.unwrap();
        let protocol = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(protocol.as_deref(), chosen.map(str::as_bytes), "{offered:?}");
        let answer = if chosen == Some("h2") {
            http2(stream).await.unwrap().send_request(request("/")).await
        } else {
            http1(stream).await.unwrap().send_request(request("/")).await
        };
        let version = if chosen == Some("h2") { "HTTP/2.0" } else { "HTTP/1.1" };
        assert_eq!(within(read(answer)).await.unwrap(), (200, version.into()), "{offered:?}");
    }
    within(identity.connect(one.address, "one.example", &["h2"])).await.unwrap_err();
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_next_client_and_disturbs_no_other() {
    let (old, new) = (Identity::new("one.example"), Identity::new("one.example"));
    let current = Arc::new(RwLock::new(Arc::clone(&old.server)));
    let shown = Arc::clone(&current);
    let server =
        serve(listener().await.http2(true).tls(move || Arc::clone(&shown.read().unwrap())), 8, Duration::ZERO, version);
    let stream = within(old.connect(server.address, "one.example", &["h2"])).await.unwrap();
    let mut before = http2(stream).await.unwrap();
    within(read(before.send_request(request("/")).await)).await.unwrap();
    within(new.connect(server.address, "one.example", &["h2"])).await.unwrap_err();
    *current.write().unwrap() = Arc::clone(&new.server);
    within(old.connect(server.address, "one.example", &["h2"])).await.unwrap_err();
    let stream = within(new.connect(server.address, "one.example", &["h2"])).await.unwrap();
    let mut after = http2(stream).await.unwrap();
    for client in [&mut before, &mut after] {
        assert_eq!(within(read(client.send_request(request("/")).await)).await.unwrap().0, 200);
    }
}
