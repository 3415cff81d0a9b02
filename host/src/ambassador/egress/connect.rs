//! Connections to granted destinations: the look-up, the check of its addresses, TCP, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tokio_rustls::TlsConnector;

use super::address::fault;
use super::error::EgressError;
use super::shield::{Lately, LookUps, Shield};
use crate::policy::Destination;

/// The largest number of a name's addresses that are tried. More addresses that accept no connection only take time.
const MAX_ADDRESSES: usize = 8;

/// A resolver of names. The default is the system's, as for every program in the pod.
///
/// A resolver returns addresses and nothing else. The addresses are checked, and connected to as they are.
pub trait Resolve: Send + Sync {
    /// Returns the addresses of a name.
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
}

/// The largest number of concurrent look-ups of the system's resolver. Each holds a thread until the system gives up,
/// even if its caller is gone, and files are read on the same threads.
const MAX_LOOK_UPS: usize = 16;

/// The system's resolver.
#[derive(Clone, Debug)]
pub struct SystemResolver(Arc<Semaphore>);

impl Default for SystemResolver {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LOOK_UPS)))
    }
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async move {
            let (name, turn) = (name.to_owned(), Arc::clone(&self.0).acquire_owned().await);
            let looking_up = tokio::task::spawn_blocking(move || {
                let found = (name, 0).to_socket_addrs().map(|found| found.map(|address| address.ip()).collect());
                drop(turn);
                found
            });
            looking_up.await.map_err(io::Error::other)?
        })
    }
}

/// A connection, with TLS or without.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The connections of all extensions of a host.
pub(super) struct Connector {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) roots: Vec<u8>,
    tls: OnceCell<Arc<ClientConfig>>,
    lately: Lately,
}

impl Connector {
    pub(super) fn new(resolver: Arc<dyn Resolve>, roots: Vec<u8>) -> Self {
        Self { resolver, roots, tls: OnceCell::new(), lately: Lately::default() }
    }

    /// Connects to a granted destination, at an allowed address. `places` bound the concurrent look-ups of one
    /// extension.
    pub(super) async fn connect(
        &self,
        destination: &Destination,
        shield: &Shield,
        places: &Arc<Semaphore>,
    ) -> Result<Box<dyn Stream>, EgressError> {
        let addresses = self.addresses(destination, shield, places).await?;
        let tcp = tcp(destination, &addresses).await?;
        if !destination.is_tls() {
            return Ok(Box::new(tcp));
        }
        let failed = |source| EgressError::Tls { destination: destination.to_string(), source };
        let connector = TlsConnector::from(self.tls().await?);
        let name = server_name(destination).map_err(|error| failed(io::Error::other(error)))?;
        Ok(Box::new(connector.connect(name, tcp).await.map_err(failed)?))
    }

    /// Returns the allowed addresses of a destination. There is no second look-up after this one.
    async fn addresses(
        &self,
        destination: &Destination,
        shield: &Shield,
        places: &Arc<Semaphore>,
    ) -> Result<Vec<SocketAddr>, EgressError> {
        let look_ups = LookUps { resolver: &self.resolver, places };
        let granted = destination.address();
        let found = match (destination.name(), granted) {
            (Some(name), _) => {
                let no_address = |source| EgressError::NoAddress { name: name.to_owned(), source };
                let found = look_ups.find(name).await.map_err(no_address)?;
                if found.is_empty() {
                    return Err(no_address(io::Error::new(io::ErrorKind::NotFound, "no addresses")));
                }
                found
            }
            (None, address) => address.into_iter().collect(),
        };
        let known = self.lately.known(shield, &look_ups).await;
        let mut refused = None;
        let places = found.into_iter().map(|address| SocketAddr::new(address, destination.port()));
        let good = places.filter(|address| {
            let fault = fault(*address, granted, &known);
            refused = refused.or(fault);
            fault.is_none()
        });
        let good: Vec<_> = good.take(MAX_ADDRESSES).collect();
        match refused {
            Some(what) if good.is_empty() => {
                Err(EgressError::Prohibited { destination: destination.to_string(), what })
            }
            _ => Ok(good),
        }
    }

    async fn tls(&self) -> Result<Arc<ClientConfig>, EgressError> {
        let made = self.tls.get_or_try_init(|| async {
            let given = self.roots.clone();
            let made = tokio::task::spawn_blocking(move || client_config(&given)).await;
            made.unwrap_or(Err(EgressError::NoRoots))
        });
        made.await.cloned()
    }
}

/// Connects to the first of the addresses that accepts a connection.
async fn tcp(destination: &Destination, addresses: &[SocketAddr]) -> Result<TcpStream, EgressError> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A failure costs only latency.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(EgressError::Connect { destination: destination.to_string(), source: last })
}

fn server_name(destination: &Destination) -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
    match (destination.name(), destination.address()) {
        (Some(name), _) => ServerName::try_from(name.to_owned()),
        (None, address) => Ok(ServerName::from(address.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)))),
    }
}

/// Returns a configuration that trusts the system's roots and those given.
fn client_config(given: &[u8]) -> Result<Arc<ClientConfig>, EgressError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "a root certificate of the system was not read");
    }
    roots.add_parsable_certificates(system.certs);
    for certificate in CertificateDer::pem_slice_iter(given) {
        let bad = |error: rustls::Error| EgressError::Roots(Arc::new(error));
        let certificate = certificate.map_err(|error| bad(rustls::Error::General(error.to_string())))?;
        roots.add(certificate).map_err(bad)?;
    }
    if roots.is_empty() {
        return Err(EgressError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| EgressError::Roots(Arc::new(error)))?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
