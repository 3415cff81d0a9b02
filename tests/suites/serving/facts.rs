//! The facts about a request's connection that a handler gets.

use std::sync::Arc;
use std::time::Duration;

use attache::serving::{Connection, HadFragment, Listener, Peer, Server, from_fn};
use http::Request;
use hyper::body::Incoming;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::client::{Answer, Identity, http1, listener, read, request, serve, text, within};

async fn facts(request: Request<Incoming>) -> Answer {
    let connection = request.extensions().get::<Connection>().unwrap();
    let peer = match connection.peer() {
        Peer::Tcp(address) => address.to_string(),
        Peer::Unix(Some(process)) => format!("uid {}", process.uid()),
        other => panic!("{other:?}"),
    };
    text(format!("{peer} at {}, {:?}, {}", connection.listener(), connection.server_name(), connection.is_tls()))
}

#[tokio::test]
async fn a_handler_knows_peer_listener_and_server_name() {
    let identity = Identity::new("one.example");
    let config = Arc::clone(&identity.server);
    let server = serve(listener().await.tls(move || Arc::clone(&config)), 8, Duration::ZERO, facts);
    let stream = within(identity.connect(server.address, "one.example", &[])).await.unwrap();
    let peer = stream.get_ref().0.local_addr().unwrap();
    let answer = http1(stream).await.unwrap().send_request(request("/")).await;
    let expected = format!("{peer} at {}, Some(\"one.example\"), true", server.address);
    assert_eq!(within(read(answer)).await.unwrap(), (200, expected));
}

#[tokio::test]
async fn a_handler_knows_the_user_behind_a_unix_socket() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("api.sock");
    let server = Server::new().serve(Listener::unix(&path, 0o600).unwrap(), from_fn(facts));
    let running = tokio::spawn(server.run(std::future::pending(), Duration::ZERO));
    let stream = UnixStream::connect(&path).await.unwrap();
    let answer = http1(stream).await.unwrap().send_request(request("/")).await;
    let expected = format!("uid {} at {}, None, false", rustix::process::getuid().as_raw(), path.display());
    assert_eq!(within(read(answer)).await.unwrap(), (200, expected));
    running.abort();
}

#[tokio::test]
async fn a_fragment_that_was_cut_off_is_marked() {
    let marked = |request: Request<Incoming>| async move {
        text(format!("{} {}", request.uri(), request.extensions().get::<HadFragment>().is_some()))
    };
    let server = serve(listener().await.http2(true), 8, Duration::ZERO, marked);
    for (target, seen) in [("/a#b", "/a true"), ("/a", "/a false")] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.ends_with(&format!("\r\n\r\n{seen}")), "{answer}");
    }
}
