//! The limits of resources that clients can hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::client::{Identity, listener, plain_http1, plain_http2, read, request, serve, text, within};
use crate::frames::{self, Frame};

#[tokio::test]
async fn a_connection_without_a_request_makes_room_for_another() {
    let identity = Identity::new("one.example");
    let config = Arc::clone(&identity.server);
    let plain = serve(listener().await.http2(true), 1, Duration::ZERO, async |_| text("here"));
    let tls = listener().await.http2(true).tls(move || Arc::clone(&config));
    let tls = serve(tls, 1, Duration::ZERO, async |_| text("here"));
    // Clients that have got an answer, that have sent half of the preface, or nothing.
    let mut answered = plain_http2(plain.address).await;
    within(read(answered.send_request(request("/")).await)).await.unwrap();
    let mut half = TcpStream::connect(plain.address).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let silent = TcpStream::connect(plain.address).await.unwrap();
    let mut next = plain_http1(plain.address).await;
    assert_eq!(within(read(next.send_request(request("/")).await)).await.unwrap(), (200, "here".into()));
    let greeted = TcpStream::connect(tls.address).await.unwrap();
    let stream = within(identity.connect(tls.address, "one.example", &["h2"])).await.unwrap();
    let mut next = crate::client::http2(stream).await.unwrap();
    assert_eq!(within(read(next.send_request(request("/")).await)).await.unwrap(), (200, "here".into()));
    drop((half, silent, greeted));
}

#[tokio::test]
async fn requests_of_http2_beyond_the_bound_are_refused() {
    let (begun, leave) = (Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
    let (seen, left) = (Arc::clone(&begun), Arc::clone(&leave));
    let server = serve(listener().await.http2(true), 1, Duration::ZERO, move |_: Request<Incoming>| {
        let (seen, left) = (Arc::clone(&seen), Arc::clone(&left));
        async move {
            let left = left.notified();
            seen.add_permits(1);
            left.await;
            text("done")
        }
    });
    let mut client = plain_http2(server.address).await;
    let first = client.send_request(request("/"));
    let first = tokio::spawn(async move { read(first.await).await });
    within(begun.acquire()).await.unwrap().forget();
    let second = within(client.send_request(request("/"))).await.unwrap();
    assert_eq!((second.status().as_u16(), second.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    leave.notify_waiters();
    assert_eq!(within(first).await.unwrap().unwrap(), (200, "done".into()));
}

#[tokio::test]
async fn a_client_that_resets_what_it_asks_for_is_cut_off() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let server = serve(listener().await.http2(true), 8, Duration::ZERO, move |_: Request<Incoming>| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    });
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let resets = (0..10_000).flat_map(|number| [frames::get(number * 2 + 1), frames::reset(number * 2 + 1)]);
    let attack: Vec<u8> = frames::beginning().into_iter().chain(resets.flatten()).collect();
    // The server may close the connection before it has read all.
    let _ = stream.write_all(&attack).await;
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    let calm = |frame: &Frame| frame.kind == frames::GO_AWAY && frame.payload.get(4..8) == Some(&[0, 0, 0, 11]);
    assert!(frames::read(&answer).iter().any(calm), "no GOAWAY in {} bytes", answer.len());
    assert!(calls.load(Ordering::Relaxed) < 10_000);
    let mut client = plain_http1(server.address).await;
    let other = tokio::spawn(async move { client.send_request(request("/")).await });
    within(async {
        while calls.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    other.abort();
}
