//! Answers without an end: a server that was taken over, or that a guest has found a way to make talk.

use std::sync::Arc;
use std::time::Duration;

use attache::policy::Limit;
use attache_tests::guest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::stage::{Ran, Stage, grant, run};
use super::{Attack, attacks};

pub(crate) const ALL: &[Attack] = attacks! {
    "an answer without an end" => endless,
    "an answer that comes a byte at a time" => slow,
    "an answer that promises more than it may have" => promised,
    "headers without an end" => headers,
};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Asks a server for a pod that answers each connection with `head`, and then `piece` again and again.
async fn asked(stage: &Stage, head: &'static str, piece: &'static [u8], pause: Duration) -> Ran {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, head, piece, pause));
        }
    });
    let spec = "{api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [demo]}], \
         limits: {responseBytes: 1Mi, deadline: 2s, cpu: 5s}}";
    let runtime = stage.asking(&format!("http://{address}"));
    let extension = runtime.load_file(&guest("api-calls"), grant("attacker", spec)).await.unwrap();
    let ran = run(&extension, &["get", "v1/pods", "demo", "a"]).await;
    serving.abort();
    ran
}

async fn talk(mut stream: TcpStream, head: &'static str, piece: &'static [u8], pause: Duration) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let mut sent = stream.write_all(head.as_bytes()).await;
    while sent.is_ok() && !piece.is_empty() {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        sent = stream.write_all(piece).await;
    }
    // Holds the connection until the client lets go of it.
    let _ = stream.read(&mut request).await;
}

async fn endless(stage: Arc<Stage>) -> String {
    let ran = asked(&stage, CHUNKED, b"10\r\n                \r\n", Duration::ZERO).await;
    assert!(ran.out.contains("too-large") && ran.out.contains("1048576"), "{}", ran.out);
    let records = stage.audit.of("attacker");
    assert!(records.iter().any(|record| record["reason"] == "responseBytes: 1Mi"), "{records:?}");
    "too-large: responseBytes: 1Mi".to_owned()
}

async fn promised(stage: Arc<Stage>) -> String {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1099511627776\r\n\r\n";
    let ran = asked(&stage, head, b"", Duration::ZERO).await;
    assert!(ran.out.contains("too-large"), "{}", ran.out);
    "too-large: responseBytes: 1Mi".to_owned()
}

async fn slow(stage: Arc<Stage>) -> String {
    let ran = asked(&stage, CHUNKED, b"1\r\n \r\n", Duration::from_millis(20)).await;
    stage.limited(&ran, Limit::Deadline)
}

async fn headers(stage: Arc<Stage>) -> String {
    let ran =
        asked(&stage, "HTTP/1.1 200 OK\r\n", b"X-Endless: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", Duration::ZERO)
            .await;
    assert!(ran.out.contains("unavailable"), "{}", ran.out);
    "unavailable".to_owned()
}
