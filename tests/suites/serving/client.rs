//! A server for one test, and clients for it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use attache::serving::{Listener, Server, Stopped, from_fn};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

/// The end of every wait in these tests.
const WITHIN: Duration = Duration::from_secs(60);

/// Waits for a future. Panics if it takes too long.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(WITHIN, future).await.expect("in time")
}

pub(crate) type Answer = Result<Response<Full<Bytes>>, std::convert::Infallible>;

pub(crate) fn text(text: impl Into<Bytes>) -> Answer {
    Ok(Response::new(Full::new(text.into())))
}

/// A running server.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: JoinHandle<Stopped>,
}

pub(crate) async fn listener() -> Listener {
    Listener::tcp("127.0.0.1", 0, Duration::ZERO).await.unwrap()
}

/// Serves at most so many connections, with this grace.
pub(crate) fn serve<F, R>(listener: Listener, connections: usize, grace: Duration, handler: F) -> Running
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Answer> + Send + 'static,
{
    let (address, stop) = (listener.address().unwrap(), CancellationToken::new());
    let server = Server::new().connections(connections).serve(listener, from_fn(handler));
    let ended = tokio::spawn(server.run(stop.clone().cancelled_owned(), grace));
    Running { address, stop, ended }
}

pub(crate) type Http2 = http2::SendRequest<Empty<Bytes>>;
pub(crate) type Http1 = http1::SendRequest<Empty<Bytes>>;

pub(crate) async fn http2<S>(stream: S) -> hyper::Result<Http2>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) async fn http1<S>(stream: S) -> hyper::Result<Http1>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (client, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub(crate) async fn plain_http2(address: SocketAddr) -> Http2 {
    http2(TcpStream::connect(address).await.unwrap()).await.unwrap()
}

pub(crate) async fn plain_http1(address: SocketAddr) -> Http1 {
    http1(TcpStream::connect(address).await.unwrap()).await.unwrap()
}

pub(crate) fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://localhost{path}")).header("host", "localhost").body(Empty::new()).unwrap()
}

/// Returns the status and the text of an answer.
pub(crate) async fn read(answer: hyper::Result<Response<Incoming>>) -> hyper::Result<(u16, String)> {
    let answer = answer?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8(body.to_vec()).unwrap()))
}

/// A certificate of a server, which clients may trust.
pub(crate) struct Identity {
    pub(crate) server: Arc<ServerConfig>,
    roots: RootCertStore,
}

impl Identity {
    pub(crate) fn new(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let certificate = made.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        Self { server: Arc::new(server), roots }
    }

    /// Connects as a client that trusts this certificate alone and offers these protocols.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        name: &'static str,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut client = ClientConfig::builder().with_root_certificates(self.roots.clone()).with_no_client_auth();
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(name).unwrap();
        TlsConnector::from(Arc::new(client)).connect(name, stream).await
    }
}
