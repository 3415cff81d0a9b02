//! A server that follows a script, byte by byte, and so can send what no HTTP library does.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// One step of an answer.
pub(crate) enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes again and again until the client hangs up.
    Repeat(Vec<u8>),
    /// Sends these bytes again and again, with a pause each time, until the client hangs up.
    Trickle(Vec<u8>, Duration),
    /// Waits until the client hangs up.
    Silence,
    /// Hangs up.
    Close,
}

/// The steps for the nth request (from 0) with this head.
pub(crate) type Script = dyn Fn(usize, &str) -> Vec<Step> + Send + Sync;

/// The server. It stops when dropped.
pub(crate) struct Scripted {
    pub(crate) url: String,
    shared: Arc<Shared>,
    hung_up: watch::Receiver<usize>,
    asked: watch::Receiver<usize>,
    task: AbortHandle,
}

struct Shared {
    script: Box<Script>,
    tls: Option<Mutex<TlsAcceptor>>,
    heads: Mutex<Vec<String>>,
    connections: AtomicUsize,
    hung_up: watch::Sender<usize>,
    asked: watch::Sender<usize>,
}

impl Scripted {
    /// Starts a server without TLS.
    pub(crate) async fn plain(script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::start(Box::new(script), None).await
    }

    /// Starts a server with a certificate of `authority` for 127.0.0.1.
    pub(crate) async fn tls(
        authority: &Authority,
        script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::start(Box::new(script), Some(Mutex::new(authority.acceptor("127.0.0.1")))).await
    }

    async fn start(script: Box<Script>, tls: Option<Mutex<TlsAcceptor>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let ((sender, hung_up), (asking, asked)) = (watch::channel(0), watch::channel(0));
        let (heads, connections) = (Mutex::default(), AtomicUsize::new(0));
        let shared = Arc::new(Shared { script, tls, heads, connections, hung_up: sender, asked: asking });
        let accepting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(Arc::clone(&accepting).serve(stream));
            }
        });
        Self { url, shared, hung_up, asked, task: task.abort_handle() }
    }

    /// Sets the certificate for new connections.
    pub(crate) fn present(&self, acceptor: TlsAcceptor) {
        *self.shared.tls.as_ref().unwrap().lock().unwrap() = acceptor;
    }

    /// Returns the heads of all requests so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits for so many requests.
    pub(crate) async fn asked(&self, number: usize) {
        let mut asked = self.asked.clone();
        let waiting = asked.wait_for(|count| *count >= number);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the client asks").unwrap();
    }

    /// Waits until a client has hung up before the end of an answer.
    pub(crate) async fn hung_up(&mut self) {
        let waiting = self.hung_up.wait_for(|count| *count > 0);
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the client hangs up").unwrap();
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn serve(self: Arc<Self>, stream: TcpStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let acceptor = self.tls.as_ref().map(|tls| tls.lock().unwrap().clone());
            match acceptor {
                None => self.converse(stream).await,
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        self.converse(stream).await;
                    }
                }
            }
        })
    }

    async fn converse(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        while let Some(head) = read_request(&mut stream).await {
            let number = {
                let mut heads = self.heads.lock().unwrap();
                heads.push(head.to_lowercase());
                heads.len() - 1
            };
            self.asked.send_modify(|count| *count += 1);
            for step in (self.script)(number, &head) {
                if !perform(step, &mut stream).await {
                    self.hung_up.send_modify(|count| *count += 1);
                    return;
                }
            }
        }
    }
}

/// Performs a step. Returns false at the end of the conversation.
async fn perform(step: Step, stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> bool {
    match step {
        Step::Send(bytes) => send(stream, &bytes).await,
        Step::Repeat(bytes) => loop {
            if !send(stream, &bytes).await {
                return false;
            }
        },
        Step::Trickle(bytes, pause) => loop {
            if !send(stream, &bytes).await {
                return false;
            }
            tokio::time::sleep(pause).await;
        },
        Step::Silence => {
            let mut ignored = [0; 64];
            while stream.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
            false
        }
        Step::Close => {
            // Tell TLS too, as a server that stops in good order does.
            let _ = stream.shutdown().await;
            false
        }
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok()
}

/// Returns the head of a request, and skips its body.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).ok()?;
    let mut body = vec![0; content_length(&head)];
    stream.read_exact(&mut body).await.ok()?;
    Some(head)
}

fn content_length(head: &str) -> usize {
    let value = |line: &str| line.to_lowercase().strip_prefix("content-length:").map(|rest| rest.trim().to_owned());
    head.lines().find_map(value).map_or(0, |text| text.parse().unwrap())
}

/// Returns the steps of an answer with a body of known length.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![Step::Send(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes())]
}

pub(crate) fn ok(body: &str) -> Vec<Step> {
    answer("200 OK", "Content-Type: application/json\r\n", body)
}

/// A CA that signs a server's certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Makes an acceptor with a new certificate for this name.
    pub(crate) fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
