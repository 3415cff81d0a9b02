//! Answers without an end, or that lead elsewhere: a server that was taken over, or that a guest has found a way to
//! make talk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use attache::policy::Limit;
use attache_tests::guest;
use futures::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::stage::{Ran, Stage, grant, run};
use super::{Attack, attacks};

pub(crate) const ALL: &[Attack] = attacks! {
    "an answer without an end" => endless,
    "an answer that comes a byte at a time" => slow,
    "an answer that promises more than it may have" => promised,
    "headers without an end" => headers,
    "informational answers without an end" => informational,
    "an answer without an end, by plain HTTP" => plainly_endless,
    "an answer that comes a byte at a time, by plain HTTP" => plainly_slow,
    "answers that are never read" => unread,
    "redirects" => redirect,
};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A server that answers each connection in the same way, until it is dropped.
struct Server {
    url: String,
    /// Bytes that were written, to all connections together.
    written: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Server {
    /// Answers with `head`, and then `piece` again and again.
    async fn saying(head: String, piece: &'static [u8], pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let written = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&written);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, head.clone(), piece, pause, Arc::clone(&count)));
            }
        });
        Self { url, written, serving }
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

const SPEC: &str = "{api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [demo]}], \
     limits: {responseBytes: 1Mi, deadline: 2s, cpu: 5s}}";

/// Asks a server for a pod.
async fn ask(stage: &Stage, server: &Server, guest_name: &str, arguments: &[&str]) -> Ran {
    let runtime = stage.asking(&server.url);
    let extension = runtime.load_command_file(&guest(guest_name), grant("attacker", SPEC)).await.unwrap();
    run(&extension, arguments).await
}

/// Asks a server that answers like this for a pod.
async fn asked(stage: &Stage, head: &str, piece: &'static [u8], pause: Duration) -> Ran {
    let server = Server::saying(head.to_owned(), piece, pause).await;
    ask(stage, &server, "api-calls", &["get", "v1/pods", "demo", "a"]).await
}

/// Asks like [`asked`], but by plain HTTP.
async fn asked_plainly(stage: &Stage, head: &str, piece: &'static [u8], pause: Duration) -> Ran {
    let server = Server::saying(head.to_owned(), piece, pause).await;
    ask(stage, &server, "http-calls", &PLAINLY).await
}

const PLAINLY: [&str; 5] = ["GET", "https", "kubernetes", "/api/v1/namespaces/demo/pods/a", "--length"];

async fn talk(mut stream: TcpStream, head: String, piece: &'static [u8], pause: Duration, written: Arc<AtomicU64>) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let mut sent = stream.write_all(head.as_bytes()).await;
    while sent.is_ok() && !piece.is_empty() {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        sent = stream.write_all(piece).await;
        written.fetch_add(piece.len() as u64, Ordering::Relaxed);
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

async fn informational(stage: Arc<Stage>) -> String {
    let ran = asked(&stage, "", b"HTTP/1.1 103 Early Hints\r\n\r\n", Duration::ZERO).await;
    assert!(ran.out.contains("unavailable"), "{}", ran.out);
    let records = stage.audit.of("attacker");
    let cut = |record: &serde_json::Value| record["error"].as_str().is_some_and(|error| error.contains("(1xx)"));
    assert!(records.iter().any(cut), "{records:?}");
    "unavailable".to_owned()
}

/// Returns 4 KiB of blanks, as one chunk of an answer.
fn blank() -> &'static [u8] {
    let head: &[u8] = b"1000\r\n";
    [head, &[b' '; 4096], b"\r\n"].concat().leak()
}

/// A plain HTTP answer is passed on as it comes, and cut where it is too large.
async fn plainly_endless(stage: Arc<Stage>) -> String {
    let ran = asked_plainly(&stage, CHUNKED, blank(), Duration::ZERO).await;
    assert!(ran.out.contains("HTTP response body size exceeds limit: 1048576"), "{} {:?}", ran.out, ran.ended);
    stage.told(Limit::ResponseBytes, false);
    "HTTP-response-body-size: responseBytes: 1Mi".to_owned()
}

async fn plainly_slow(stage: Arc<Stage>) -> String {
    let ran = asked_plainly(&stage, CHUNKED, b"1\r\n \r\n", Duration::from_millis(20)).await;
    stage.limited(&ran, Limit::Deadline)
}

/// The most that may lie between a server and a guest that reads nothing, for each answer: the buffers of the kernel on
/// both sides, and a piece in the host.
const UNDER_WAY: u64 = 8 << 20;

/// Bodies that the guest does not read stay with the server.
async fn unread(stage: Arc<Stage>) -> String {
    let server = Server::saying(CHUNKED.to_owned(), blank(), Duration::ZERO).await;
    let ran = ask(&stage, &server, "unread", &["4"]).await;
    assert_eq!(ran.out, "4 answered\n");
    let taken = server.written();
    assert!(taken <= 4 * UNDER_WAY, "{taken}");
    format!("{} KiB under way for 4 answers, {}", taken >> 10, stage.limited(&ran, Limit::Deadline))
}

/// The guest gets the redirect. The host does not follow it, and sends no token there.
async fn redirect(stage: Arc<Stage>) -> String {
    let trap = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = trap.local_addr().unwrap();
    for code in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let head = format!("HTTP/1.1 {code}\r\nLocation: http://{place}/\r\nContent-Length: 0\r\n\r\n");
        let ran = asked_plainly(&stage, &head, b"", Duration::ZERO).await;
        assert!(ran.out.contains(&format!("\"status\":{}", &code[..3])), "{} {:?}", ran.out, ran.ended);
        let ran = asked(&stage, &head, b"", Duration::ZERO).await;
        assert!(ran.out.contains("\"error\":"), "{} {:?}", ran.out, ran.ended);
    }
    assert!(trap.accept().now_or_never().is_none(), "somebody went there");
    "handed to the guest, not followed".to_owned()
}
