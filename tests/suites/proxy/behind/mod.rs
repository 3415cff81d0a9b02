//! A scripted API server: a test decides the handling of each connection.

pub(crate) mod session;
mod spdy;
mod websocket;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::world::Place;

/// The token of the account that the proxy has.
pub(crate) const TOKEN: &str = "token-of-the-proxy";

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// A connection whose first head was read.
pub(crate) type Stream = Box<dyn Duplex>;

/// The server. It stops when dropped.
pub(crate) struct Server {
    address: SocketAddr,
    ca: String,
    heads: Arc<Mutex<Vec<String>>>,
    runtime: Option<Runtime>,
}

impl Server {
    /// Answers each connection by `answer`, which gets its first head and the connection.
    pub(crate) fn start<F, A>(answer: F) -> Self
    where
        F: Fn(String, Stream) -> A + Send + Sync + Clone + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (acceptor, ca) = identity();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, seen) = (acceptor.clone(), answer.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let mut stream: Stream = Box::new(stream);
                    let Some(head) = read_head(&mut stream).await else { return };
                    seen.lock().unwrap().push(head.clone());
                    answer(head, stream).await;
                });
            }
        });
        Self { address, ca, heads, runtime: Some(runtime) }
    }

    /// Returns a folder for proxies before this server.
    pub(crate) fn place(&self) -> Place {
        self.place_of(TOKEN)
    }

    pub(crate) fn place_of(&self, token: &str) -> Place {
        Place::new(format!("https://{}", self.address), token, &self.ca)
    }

    /// Returns the first heads of all connections so far, in lower case, but those of the proxy's own discovery.
    pub(crate) fn heads(&self) -> Vec<String> {
        let heads = self.heads.lock().unwrap();
        heads.iter().map(|head| head.to_lowercase()).filter(|head| !head.contains("as=apigroupdiscoverylist")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Returns a certificate for 127.0.0.1, and its authority in PEM.
fn identity() -> (TlsAcceptor, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), pem)
}

/// Returns the head of a request, or `None` if the connection ends before.
pub(crate) async fn read_head(stream: &mut Stream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// Returns the first value of a header in a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut headers = head.lines().filter_map(|line| line.split_once(':'));
    headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// Sends a head, or a whole answer.
pub(crate) async fn send(stream: &mut Stream, text: &str) {
    // A client that is gone does not listen.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.flush().await;
}

/// Sends an answer with a body, and ends the connection.
pub(crate) async fn answer(mut stream: Stream, status: &str, headers: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n");
    send(&mut stream, &(head + body)).await;
    let _ = stream.shutdown().await;
}

/// Returns the head of a server's answer to a WebSocket handshake.
pub(crate) fn websocket_head(request: &str, subprotocol: Option<&str>) -> String {
    let proof = proof(header(request, "sec-websocket-key").unwrap());
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {proof}\r\n"
    );
    if let Some(subprotocol) = subprotocol {
        write!(head, "Sec-WebSocket-Protocol: {subprotocol}\r\n").unwrap();
    }
    head + "\r\n"
}

fn proof(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64_STANDARD.encode(ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}
