//! The client of one API server.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;

use super::catalogue::Catalogue;
use super::endpoint::Endpoint;
use super::roots::Roots;
use super::settings::{ApiClientSettings, ConnectError};
use super::transport::{Transport, Transports};
use super::unavailable::Unavailable;
use super::watch::Hub;
use crate::credentials::{Credentials, Token, Watched};
use crate::gate::{Gate, HostRate};
use crate::telemetry::LogThrottle;

/// A client of the API server, which sends only what a gate has let through; see [`ApiClient::send`].
///
/// Cheap to clone: all clones share connections, token and discovery. Requests need a tokio runtime; making a client
/// does not.
#[derive(Clone)]
pub struct ApiClient(Arc<ClientState>);

/// The part that all clones of a client share.
struct ClientState {
    endpoint: Endpoint,
    address: String,
    credentials: Credentials,
    roots: Roots,
    server_name: Option<String>,
    watched: OnceLock<Option<Watched>>,
    transports: Transports,
    deadline: Duration,
    host: Gate,
    reviews: Gate,
    catalogue: Catalogue,
    hub: Arc<Hub>,
    rate: Option<HostRate>,
    refused_tokens: LogThrottle<()>,
}

impl ApiClient {
    /// Makes a client. Token and certificates are read now, so that this fails if they are missing. The first
    /// connection comes with the first request.
    ///
    /// # Errors
    /// When the token or the certificates are missing or unusable.
    pub fn connect(settings: ApiClientSettings) -> Result<Self, ConnectError> {
        let ApiClientSettings {
            server: endpoint, credentials, ca, server_name, deadline, audit, watches, rate, ..
        } = settings;
        let credentials = credentials.or_else(|| settings.service_account.map(Credentials::from)).unwrap_or_default();
        // Plain HTTP leads to an ambassador on this machine, which has credentials of its own.
        let credentials = if endpoint.is_encrypted() { credentials } else { Credentials::new() };
        let missing = |source| ConnectError::Credentials { server: endpoint.to_string(), source };
        credentials.token().map_err(missing)?;
        let roots = Roots::find(&endpoint, ca, &credentials)?;
        let material = roots.material(roots.parts(&credentials).map_err(missing)?, server_name.as_deref());
        let transports = Transports::new(&material)
            .map_err(|source| ConnectError::Roots { origin: roots.origin(&credentials), source })?;
        Ok(Self(Arc::new(ClientState {
            address: endpoint.address(),
            endpoint,
            credentials,
            roots,
            server_name,
            watched: OnceLock::new(),
            transports,
            deadline,
            host: Gate::for_host(rate.clone(), Arc::clone(&audit)),
            reviews: Gate::for_reviews(rate.clone(), Arc::clone(&audit)),
            catalogue: Catalogue::default(),
            hub: Hub::new(watches, audit),
            rate,
            refused_tokens: LogThrottle::default(),
        })))
    }

    /// Returns the address of the server.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Returns the time for a call without a deadline of its own.
    pub fn deadline(&self) -> Duration {
        self.0.deadline
    }

    /// Returns the addresses that the server's name has resolved to. Connections to any of them may be open.
    pub fn peers(&self) -> Vec<IpAddr> {
        self.0.transports.peers()
    }

    pub(super) fn address(&self) -> &str {
        &self.0.address
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// Returns the source of the trusted certificates, as errors name it.
    pub(super) fn roots_origin(&self) -> String {
        self.0.roots.origin(&self.0.credentials)
    }

    /// Returns the count of changes of the credentials' files, which are watched from the first call on. `None` where
    /// they cannot be watched.
    pub(super) fn credential_changes(&self) -> Option<watch::Receiver<u64>> {
        self.0.watched.get_or_init(|| Watched::start(&self.0.credentials)).as_ref().map(Watched::changes)
    }

    /// Returns the gate of the host's discovery.
    pub(super) fn host(&self) -> &Gate {
        &self.0.host
    }

    /// Returns the gate of the host's reviews of its own rights.
    pub(super) fn reviews(&self) -> &Gate {
        &self.0.reviews
    }

    /// Returns the rate of the whole host.
    pub(super) fn rate(&self) -> Option<&HostRate> {
        self.0.rate.as_ref()
    }

    /// Returns the shared watches.
    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    pub(super) fn catalogue(&self) -> &Catalogue {
        &self.0.catalogue
    }

    /// Returns the token to send, read again when it is due.
    pub(super) fn token(&self) -> Result<Option<Arc<Token>>, Unavailable> {
        self.credentials().token().map_err(Unavailable::from)
    }

    /// Logs that the server has answered 401 to the credentials, and there are no others.
    pub(super) fn report_refused_token(&self) {
        if let Some(times) = self.0.refused_tokens.note(()) {
            tracing::warn!(times, "the API server refuses {}", self.credentials().origin());
        }
    }

    /// Returns the connections on the newest certificates.
    pub(super) fn transport(&self) -> Arc<Transport> {
        let transport = self.0.transports.current();
        if self.certificates_differ(&transport) { self.0.transports.current() } else { transport }
    }

    /// Reads the certificates again at once, after one was not accepted on either side. Returns whether they differ
    /// from those in use.
    pub(super) fn renewed_certificates(&self, in_use: &Transport) -> bool {
        self.credentials().expire_certificates();
        self.certificates_differ(in_use)
    }

    fn certificates_differ(&self, in_use: &Transport) -> bool {
        let Ok(parts) = self.0.roots.parts(self.credentials()) else { return false };
        let renewed = self.0.transports.renew(in_use.generation(), parts.generation(), || {
            self.0.roots.material(parts.clone(), self.0.server_name.as_deref())
        });
        renewed.unwrap_or_else(|error| {
            let error = crate::telemetry::chain(&error);
            tracing::warn!(origin = self.roots_origin(), %error, "the last good certificates stay in use");
            false
        })
    }
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClient").field("endpoint", &self.0.endpoint.to_string()).finish_non_exhaustive()
    }
}
