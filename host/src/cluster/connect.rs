//! The client of one API server, and its settings.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

use super::catalogue::Catalogue;
use super::endpoint::{Endpoint, EndpointError, EndpointSource, HOST_VARIABLE};
use super::transport::{TlsError, TlsMaterial, Transport, Transports, Trust};
use super::unavailable::Unavailable;
use super::watch::{Hub, WatchSettings};
use crate::credentials::{CaPem, ClientCertificate, Credentials, CredentialsError, ServiceAccount, Token, Watched};
use crate::gate::{Gate, HostRate};
use crate::telemetry::{Audit, LogThrottle};

/// The default time for a call, its answer's body included. API servers take at most as long themselves
/// (`--request-timeout`).
pub const DEFAULT_DEADLINE: Duration = Duration::from_mins(1);

/// The settings of an [`ApiClient`].
///
/// ```no_run
/// use attache::cluster::{ApiClient, ApiClientSettings};
/// use attache::credentials::{DEFAULT_DIR, ServiceAccount};
/// use attache::telemetry::ToTracing;
/// use std::sync::Arc;
///
/// let account = ServiceAccount::at(DEFAULT_DIR);
/// let settings = ApiClientSettings::in_cluster(|name| std::env::var(name).ok(), account, Arc::new(ToTracing))?;
/// let client = ApiClient::connect(settings)?;
/// # drop(client);
/// # Ok::<(), attache::cluster::ConnectError>(())
/// ```
#[non_exhaustive]
pub struct ApiClientSettings {
    /// The API server.
    pub server: Endpoint,
    /// The service account whose token is sent. Without one, or without TLS, requests carry no credentials.
    pub service_account: Option<ServiceAccount>,
    /// Credentials of another kind, in place of `service_account`.
    pub credentials: Option<Credentials>,
    /// The PEM certificates of authorities that may sign the server's certificate, in place of those of the
    /// credentials.
    pub ca: Option<Vec<u8>>,
    /// The name that the server's certificate must have, in place of the host in its URL.
    pub server_name: Option<String>,
    /// The time for a call without a deadline of its own, its answer's body included.
    pub deadline: Duration,
    /// The audit of the host's own requests: discovery, reviews, shared watches.
    pub audit: Arc<dyn Audit>,
    /// The settings of shared watches.
    pub watches: WatchSettings,
    /// The rate that the host's own requests share with those of its extensions.
    pub rate: Option<HostRate>,
}

/// A failure to make an [`ApiClient`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The process has neither the variables nor the token of a pod.
    #[error(
        "not in a cluster: looked for {HOST_VARIABLE} in the environment and for a token at {}; \
         run in a pod, or name an API server and the directory of a service account", .token.display()
    )]
    NotInCluster {
        /// The path at which a token was looked for.
        token: PathBuf,
    },
    /// The API server's address is invalid.
    #[error("no address of an API server")]
    Endpoint(#[from] EndpointError),
    /// The token or the certificates cannot be read.
    #[error("no credentials for {server}")]
    Credentials {
        /// The server that the credentials are for.
        server: String,
        /// The fault of the credentials.
        #[source]
        source: CredentialsError,
    },
    /// There is no authority to check the server's certificate against.
    #[error("nothing to check the certificate of {server} against: give its CA, or the directory of a service account")]
    NoRoots {
        /// The server.
        server: String,
    },
    /// The certificates cannot be used.
    #[error("the certificates of {origin} cannot be used")]
    Roots {
        /// The source of the certificates.
        origin: String,
        /// The fault of the certificates.
        #[source]
        source: TlsError,
    },
}

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

impl ApiClientSettings {
    /// Makes settings for `server` with the defaults: no credentials, no CA, [`DEFAULT_DEADLINE`], no rate.
    pub fn new(server: Endpoint, audit: Arc<dyn Audit>) -> Self {
        Self {
            server,
            service_account: None,
            credentials: None,
            ca: None,
            server_name: None,
            deadline: DEFAULT_DEADLINE,
            audit,
            watches: WatchSettings::default(),
            rate: None,
        }
    }

    /// Makes the settings of every in-cluster client: the server from the environment (`variable` looks it up), else by
    /// its name; token and certificates from the service account's volume.
    ///
    /// # Errors
    /// [`ConnectError::NotInCluster`] when there is neither the variable nor a token; [`ConnectError::Endpoint`] when
    /// the variables make no address.
    pub fn in_cluster(
        variable: impl Fn(&str) -> Option<String>,
        account: ServiceAccount,
        audit: Arc<dyn Audit>,
    ) -> Result<Self, ConnectError> {
        let server = Endpoint::find(variable)?;
        if server.source() == EndpointSource::DefaultName
            && matches!(account.token(), Err(CredentialsError::Missing { .. }))
        {
            return Err(ConnectError::NotInCluster { token: account.dir().join("token") });
        }
        Ok(Self { service_account: Some(account), ..Self::new(server, audit) })
    }

    /// Sets the address of the server.
    #[must_use]
    pub fn server(self, server: Endpoint) -> Self {
        Self { server, ..self }
    }

    /// Sets the service account whose token is sent.
    #[must_use]
    pub fn service_account(self, account: ServiceAccount) -> Self {
        Self { service_account: Some(account), ..self }
    }

    /// Sets credentials of another kind, in place of a service account.
    #[must_use]
    pub fn credentials(self, credentials: Credentials) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// Sets the PEM certificates of the authorities that may sign the server's certificate.
    #[must_use]
    pub fn ca(self, pem: impl Into<Vec<u8>>) -> Self {
        Self { ca: Some(pem.into()), ..self }
    }

    /// Sets the name that the server's certificate must have; `None` is the host in its URL.
    #[must_use]
    pub fn server_name(self, name: Option<String>) -> Self {
        Self { server_name: name, ..self }
    }

    /// Sets the time for a call without a deadline of its own.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// Sets the settings of shared watches.
    #[must_use]
    pub fn watches(self, watches: WatchSettings) -> Self {
        Self { watches, ..self }
    }

    /// Sets the rate that the host's own requests share with those of its extensions; `None` is no such rate.
    #[must_use]
    pub fn rate(self, rate: Option<HostRate>) -> Self {
        Self { rate, ..self }
    }
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
        let (address, catalogue) = (endpoint.address(), Catalogue::default());
        let host = Gate::for_host(rate.clone(), Arc::clone(&audit));
        let reviews = Gate::for_reviews(rate.clone(), Arc::clone(&audit));
        let hub = Hub::new(watches, audit);
        let state = ClientState {
            endpoint,
            address,
            credentials,
            roots,
            server_name,
            watched: OnceLock::new(),
            transports,
            deadline,
            host,
            reviews,
            catalogue,
            hub,
            rate,
            refused_tokens: LogThrottle::default(),
        };
        Ok(Self(Arc::new(state)))
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

/// The certificates of the credentials at one time.
#[derive(Clone)]
struct Parts {
    ca: Option<Arc<CaPem>>,
    client: Option<Arc<ClientCertificate>>,
}

impl Parts {
    /// Returns a number that grows with each replacement of a certificate.
    fn generation(&self) -> u64 {
        let [ca, client] = [self.ca.as_ref().map(|ca| ca.generation()), self.client.as_ref().map(|of| of.generation())];
        ca.unwrap_or_default().saturating_add(client.unwrap_or_default())
    }
}

/// The authorities that may sign the server's certificate.
enum Roots {
    /// None, without TLS.
    None,
    /// The PEM certificates of the settings.
    Given(Vec<u8>),
    /// Those of the credentials, which rotate.
    Credentials,
    /// Those of the system.
    System,
}

impl Roots {
    fn find(endpoint: &Endpoint, given: Option<Vec<u8>>, credentials: &Credentials) -> Result<Self, ConnectError> {
        let none = || ConnectError::NoRoots { server: endpoint.to_string() };
        match given {
            _ if !endpoint.is_encrypted() => Ok(Self::None),
            Some(pem) if pem.is_empty() => Err(none()),
            Some(pem) => Ok(Self::Given(pem)),
            None if credentials.trusts_system() => Ok(Self::System),
            None => {
                let failed = |source| ConnectError::Credentials { server: endpoint.to_string(), source };
                credentials.ca_pem().map_err(failed)?.map(|_| Self::Credentials).ok_or_else(none)
            }
        }
    }

    /// Returns the present certificates of the credentials.
    fn parts(&self, credentials: &Credentials) -> Result<Parts, CredentialsError> {
        let ca = if matches!(self, Self::Credentials) { credentials.ca_pem()? } else { None };
        Ok(Parts { ca, client: credentials.certificate()? })
    }

    fn material(&self, parts: Parts, server_name: Option<&str>) -> TlsMaterial {
        let generation = parts.generation();
        let trust = match self {
            Self::None => Trust::Nobody,
            Self::Given(pem) => Trust::Pem(pem.clone()),
            Self::System => Trust::System,
            Self::Credentials => Trust::Pem(parts.ca.map(|ca| ca.bytes().to_vec()).unwrap_or_default()),
        };
        TlsMaterial { trust, client: parts.client, server_name: server_name.map(str::to_owned), generation }
    }

    /// Returns the source of the authorities, as errors name it.
    fn origin(&self, credentials: &Credentials) -> String {
        match self {
            Self::None => String::new(),
            Self::Given(_) => "the CA given".to_owned(),
            Self::Credentials => credentials.ca_origin(),
            Self::System => "the system's certificates".to_owned(),
        }
    }
}
