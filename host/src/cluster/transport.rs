//! Connections to the API server: TLS against the cluster's own CA, kept open between requests, and replaced when the
//! CA rotates.
//!
//! Threats: a server that is not the cluster's (only the given roots are trusted, and the system's only where the
//! credentials say so), a redirect or a proxy that carries the token elsewhere (no code follows a `Location` or reads
//! `HTTPS_PROXY`), and a server that sends headers or informational answers without end (bounded).
//!
//! No code here installs a provider of cryptography for the whole process: an embedder may have installed another.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_rustls::{
    DefaultServerNameResolver, FixedServerNameResolver, HttpsConnector, MaybeHttpsStream, ResolveServerName,
};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::client::Outbound;
use super::informational::{Cut, Cuttable};
use super::unavailable::NoAddress;
use crate::credentials::ClientCertificate;

/// The error of a connection.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The time for a TCP connection to one address. A service address without a server drops packets instead of refusing.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// The time for a TCP connection and the TLS handshake together. A server that accepts connections and is then silent
/// would block callers without a deadline for ever.
const SECURE_WITHIN: Duration = Duration::from_secs(30);
/// The time that an idle connection is kept: shorter than the minutes after which load balancers silently drop one.
const KEEP_IDLE: Duration = Duration::from_mins(1);
/// The most idle connections that are kept. The connections of a larger burst are closed after it.
const MAX_IDLE: usize = 32;
/// The silence after which a connection is probed, so that a watch notices that its server is gone.
const PROBE_AFTER: Duration = Duration::from_secs(30);
/// The interval of further probes.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// The time after which a connection with unacknowledged bytes counts as dead. Otherwise a request to a server that has
/// moved away waits for the system's quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);
/// The most bytes that are buffered of one connection, and so of the head of an answer: twice the warnings of a server,
/// which are at most 4,096 characters of four bytes. hyper bounds the number of headers at 100.
const MAX_READ_BUFFER: usize = 32 * 1024;

/// A failure to set up TLS.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The PEM text cannot be read.
    #[error("the PEM text cannot be read")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// The PEM text has no certificate.
    #[error("there is no certificate in it")]
    Empty,
    /// A certificate is invalid.
    #[error("a certificate in it is not valid")]
    Certificate(#[source] rustls::Error),
    /// The system has no trusted certificates, or they cannot be read.
    #[error("the system has no certificates to trust: install them, or name a CA")]
    System,
    /// The private key of the client certificate cannot be read.
    #[error("there is no private key that can be read beside the client certificate; an encrypted one cannot")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// The client certificate does not fit its key.
    #[error("the client certificate cannot be used with its key")]
    Client(#[source] rustls::Error),
    /// The name that the server's certificate must have is invalid.
    #[error("{0:?} is no name that a certificate can have")]
    ServerName(String),
    /// TLS cannot be set up for another reason.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// The authorities that may sign a server's certificate.
#[derive(Clone, Debug)]
pub(super) enum Trust {
    /// None, without TLS.
    Nobody,
    /// These PEM certificates.
    Pem(Vec<u8>),
    /// The roots of the system.
    System,
}

/// The material of TLS connections.
#[derive(Clone, Debug)]
pub(super) struct TlsMaterial {
    pub(super) trust: Trust,
    pub(super) client: Option<Arc<ClientCertificate>>,
    /// The name that the server's certificate must have, in place of the host in the URL.
    pub(super) server_name: Option<String>,
    /// A number that grows with each replacement of a part.
    pub(super) generation: u64,
}

/// The connections made with one generation of certificates.
pub(super) struct Transport {
    pool: legacy::Client<Connector, Outbound>,
    generation: u64,
}

/// The transport in use, replaced when certificates rotate. Open streams of an older transport run to their end.
pub(super) struct Transports {
    in_use: RwLock<Arc<Transport>>,
    /// The newest generation that was tried, usable or not, so that an unusable one is not tried at each request.
    seen: Mutex<u64>,
    peers: Peers,
}

impl Transports {
    pub(super) fn new(material: &TlsMaterial) -> Result<Self, TlsError> {
        let peers = Peers::default();
        let in_use = RwLock::new(Transport::new(material, &peers)?);
        Ok(Self { in_use, seen: Mutex::new(material.generation), peers })
    }

    /// Returns the addresses that the server's name has resolved to.
    pub(super) fn peers(&self) -> Vec<IpAddr> {
        self.peers.all()
    }

    pub(super) fn current(&self) -> Arc<Transport> {
        Arc::clone(&self.in_use.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the transport by one of a later generation. Returns whether the present one is newer than `in_use`.
    ///
    /// Idle connections of older generations are closed: a CA may have been replaced because it was stolen.
    pub(super) fn renew(
        &self,
        in_use: u64,
        generation: u64,
        material: impl FnOnce() -> TlsMaterial,
    ) -> Result<bool, TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if generation <= *seen {
            return Ok(self.current().generation > in_use);
        }
        *seen = generation;
        let renewed = Transport::new(&material(), &self.peers)?;
        *self.in_use.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        Ok(true)
    }
}

impl Transport {
    fn new(material: &TlsMaterial, peers: &Peers) -> Result<Arc<Self>, TlsError> {
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(MAX_READ_BUFFER)
            .build(Connector(connector(material, peers)?));
        Ok(Arc::new(Self { pool, generation: material.generation }))
    }

    /// Sends one request and waits for the head of its answer.
    pub(super) async fn send(&self, mut request: Request<Outbound>) -> Result<Response<Incoming>, legacy::Error> {
        Cut::bound_pooled(&mut request);
        self.pool.request(request).await
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

/// A connector with a time limit, whose connections can be cut.
#[derive(Clone)]
struct Connector(HttpsConnector<HttpConnector<Names>>);

impl Service<Uri> for Connector {
    type Response = Cuttable<MaybeHttpsStream<TokioIo<TcpStream>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let connecting = self.0.call(server);
        Box::pin(async move {
            let connected = timeout(SECURE_WITHIN, connecting).await;
            let connected = connected.map_err(|elapsed| io::Error::new(io::ErrorKind::TimedOut, elapsed))?;
            Ok(Cuttable::new(connected?, Cut::default()))
        })
    }
}

/// Returns the certificates in a PEM text. Fails if there is none.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(TlsError::Pem)?;
    if certificates.is_empty() { Err(TlsError::Empty) } else { Ok(certificates) }
}

/// Returns the trusted roots. With an empty store every server is refused.
fn roots(trust: &Trust) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Nobody => {}
        Trust::Pem(pem) => {
            for certificate in certificates(pem)? {
                roots.add(certificate).map_err(TlsError::Certificate)?;
            }
        }
        Trust::System => {
            // Some systems have one or two that cannot be parsed; kubectl skips them too.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::System);
            }
        }
    }
    Ok(roots)
}

fn tls(material: &TlsMaterial) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let trusting = versions.map_err(TlsError::Setup)?.with_root_certificates(roots(&material.trust)?);
    let Some(client) = &material.client else { return Ok(trusting.with_no_client_auth()) };
    let key = PrivateKeyDer::from_pem_slice(client.key()).map_err(TlsError::Key)?;
    trusting.with_client_auth_cert(certificates(client.certificate())?, key).map_err(TlsError::Client)
}

fn connector(material: &TlsMaterial, peers: &Peers) -> Result<HttpsConnector<HttpConnector<Names>>, TlsError> {
    let names: Arc<dyn ResolveServerName + Send + Sync> = match &material.server_name {
        None => Arc::new(DefaultServerNameResolver::default()),
        Some(name) => {
            let fixed = ServerName::try_from(name.clone()).map_err(|_| TlsError::ServerName(name.clone()))?;
            Arc::new(FixedServerNameResolver::new(fixed))
        }
    };
    Ok(HttpsConnector::new(tcp(peers), tls(material)?, false, names))
}

fn tcp(peers: &Peers) -> HttpConnector<Names> {
    let mut tcp = HttpConnector::new_with_resolver(Names { resolver: GaiResolver::new(), peers: peers.clone() });
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_WITHIN));
    tcp.set_keepalive(Some(PROBE_AFTER));
    tcp.set_keepalive_interval(Some(PROBE_EVERY));
    #[cfg(target_os = "linux")]
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    tcp
}

/// The most addresses of the server that are kept. It has one or two, and others after it has moved.
const MAX_PEERS: usize = 32;

/// The addresses that the server's name has resolved to, the latest last. Connections to any of them may be open.
#[derive(Clone, Debug, Default)]
struct Peers(Arc<Mutex<Vec<IpAddr>>>);

impl Peers {
    fn add(&self, found: &[SocketAddr]) {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for address in found.iter().map(SocketAddr::ip).take(MAX_PEERS) {
            peers.retain(|peer| *peer != address);
            peers.push(address);
        }
        let old = peers.len().saturating_sub(MAX_PEERS);
        peers.drain(..old);
    }

    fn all(&self) -> Vec<IpAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The system's resolver, with the name in its failures, and its answers kept.
#[derive(Clone, Debug)]
pub(super) struct Names {
    resolver: GaiResolver,
    peers: Peers,
}

impl Service<Name> for Names {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = NoAddress;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, NoAddress>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), NoAddress>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (host, peers) = (name.as_str().to_owned(), self.peers.clone());
        let addresses = self.resolver.call(name);
        Box::pin(async move {
            let found: Vec<_> = addresses.await.map_err(|source| NoAddress { host, source })?.collect();
            peers.add(&found);
            Ok(found.into_iter())
        })
    }
}
