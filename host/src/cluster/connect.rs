//! The one client of one API server.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

use super::catalogue::Catalogue;
use super::endpoint::{Endpoint, EndpointError, Found, HOST_VARIABLE};
use super::transport::{TlsError, TlsMaterial, Transport, Transports, Trust};
use super::unavailable::Unavailable;
use super::watch::{Hub, WatchSettings};
use crate::credentials::{CaPem, ClientCertificate, Credentials, CredentialsError, ServiceAccount, Token, Watched};
use crate::gate::{Gate, HostRate};
use crate::telemetry::{Audit, LogThrottle};

/// How long a call may take by default, its answer's body included: as long as an API server takes at most itself
/// (`--request-timeout`).
pub const DEFAULT_DEADLINE: Duration = Duration::from_mins(1);

/// What a [`ApiClient`] is made of.
pub struct ApiClientSettings {
    /// The API server.
    pub server: Endpoint,
    /// Whose token is sent. Without one, or without TLS, requests carry no credentials.
    pub service_account: Option<ServiceAccount>,
    /// Credentials of another kind, in place of `service_account`.
    pub credentials: Option<Credentials>,
    /// PEM certificates that the server's certificate has to come from, in place of those of the credentials.
    pub ca: Option<Vec<u8>>,
    /// The name that the server's certificate has to have, in place of the one in its URL.
    pub server_name: Option<String>,
    /// How long a call may take that names no deadline, its answer's body included.
    pub deadline: Duration,
    /// Where the host's own requests (discovery, shared watches) are recorded.
    pub audit: Arc<dyn Audit>,
    /// How what is watched is kept.
    pub watches: WatchSettings,
    /// The rate that the host's own requests count in and wait for, as those of its extensions do.
    pub rate: Option<HostRate>,
}

/// Why there is no [`ApiClient`].
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Nothing of what every pod has is here.
    #[error(
        "not in a cluster: looked for {HOST_VARIABLE} in the environment and for a token at {}; \
         run in a pod, or name an API server and the directory of a service account", .token.display()
    )]
    NotInCluster {
        /// Where a token was looked for.
        token: PathBuf,
    },
    /// The API server's address.
    #[error("no address of an API server")]
    Endpoint(#[from] EndpointError),
    /// The service account's token or certificates.
    #[error("no credentials for {server}")]
    Credentials {
        /// The server that they are for.
        server: String,
        /// What is wrong with them.
        #[source]
        source: CredentialsError,
    },
    /// There is nothing to check the server's certificate against.
    #[error("nothing to check the certificate of {server} against: give its CA, or the directory of a service account")]
    NoRoots {
        /// The server.
        server: String,
    },
    /// The certificates cannot be used.
    #[error("the certificates of {origin} cannot be used")]
    Roots {
        /// Where they came from.
        origin: String,
        /// What is wrong with them.
        #[source]
        source: TlsError,
    },
}

/// A client of the API server. It sends what a gate has let through and nothing else; see [`ApiClient::send`].
///
/// Cheap to clone: all clones share connections, token and discovery. It is used in a tokio runtime, and may be made
/// outside of one.
#[derive(Clone)]
pub struct ApiClient(Arc<Inner>);

struct Inner {
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
    /// Settings for `server` with the defaults: no credentials, no CA, [`DEFAULT_DEADLINE`], no rate of the whole host.
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

    /// Settings as every in-cluster client finds them: the server by `variable` (which looks up the environment), else
    /// by name; token and certificates from the service account's volume.
    ///
    /// # Errors
    /// [`ConnectError::NotInCluster`] when there is neither the variable nor a token; [`ConnectError::Endpoint`] for
    /// variables that make no address.
    pub fn in_cluster(
        variable: impl Fn(&str) -> Option<String>,
        account: ServiceAccount,
        audit: Arc<dyn Audit>,
    ) -> Result<Self, ConnectError> {
        let server = Endpoint::find(variable)?;
        if server.found() == Found::DefaultName && matches!(account.token(), Err(CredentialsError::Missing { .. })) {
            return Err(ConnectError::NotInCluster { token: account.dir().join("token") });
        }
        Ok(Self { service_account: Some(account), ..Self::new(server, audit) })
    }
}

impl ApiClient {
    /// Makes a client. Token and certificates are read, so that what is missing is told here; the server is first
    /// spoken to by the first request.
    ///
    /// # Errors
    /// When the token or the certificates are missing or of no use.
    pub fn connect(settings: ApiClientSettings) -> Result<Self, ConnectError> {
        let ApiClientSettings {
            server: endpoint, credentials, ca, server_name, deadline, audit, watches, rate, ..
        } = settings;
        let credentials = credentials.or_else(|| settings.service_account.map(Credentials::from)).unwrap_or_default();
        // Plain HTTP is for an ambassador on this machine, which has credentials of its own.
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
        let inner = Inner {
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
        Ok(Self(Arc::new(inner)))
    }

    /// Which server this speaks to.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// How long a call may take that names no deadline.
    pub fn deadline(&self) -> Duration {
        self.0.deadline
    }

    /// The addresses at which the server's name was found, where it has one. Connections to any of them may be open.
    pub fn peers(&self) -> Vec<IpAddr> {
        self.0.transports.peers()
    }

    pub(super) fn address(&self) -> &str {
        &self.0.address
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// Where the trusted certificates came from, as errors name it.
    pub(super) fn roots_origin(&self) -> String {
        self.0.roots.origin(&self.0.credentials)
    }

    /// Counts the changes of the credentials' files, which are watched from the first call on. `None` where they are
    /// not.
    pub(super) fn credential_changes(&self) -> Option<watch::Receiver<u64>> {
        self.0.watched.get_or_init(|| Watched::start(&self.0.credentials)).as_ref().map(Watched::changes)
    }

    /// The gate of the host's own requests.
    pub(super) fn host(&self) -> &Gate {
        &self.0.host
    }

    /// The gate of the host's questions about its own rights.
    pub(super) fn reviews(&self) -> &Gate {
        &self.0.reviews
    }

    /// The rate of the whole host.
    pub(super) fn rate(&self) -> Option<&HostRate> {
        self.0.rate.as_ref()
    }

    /// What is watched.
    pub(super) fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }

    pub(super) fn catalogue(&self) -> &Catalogue {
        &self.0.catalogue
    }

    /// The token to send, read anew when it is due.
    pub(super) fn token(&self) -> Result<Option<Arc<Token>>, Unavailable> {
        self.credentials().token().map_err(Unavailable::from)
    }

    /// Tells the operator that the server has answered 401 to the credentials, and there are no others.
    pub(super) fn tell_refused_token(&self) {
        if let Some(times) = self.0.refused_tokens.note(()) {
            tracing::warn!(times, "the API server refuses {}", self.credentials().origin());
        }
    }

    /// The connections in use, on the newest certificates.
    pub(super) fn transport(&self) -> Arc<Transport> {
        let transport = self.0.transports.current();
        if self.certificates_differ(&transport) { self.0.transports.current() } else { transport }
    }

    /// After a certificate was not accepted, on either side: whether those in files have changed since, read at once.
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
        f.debug_struct("Cluster").field("endpoint", &self.0.endpoint.to_string()).finish_non_exhaustive()
    }
}

/// The certificates of the credentials, at one time.
#[derive(Clone)]
struct Parts {
    ca: Option<Arc<CaPem>>,
    client: Option<Arc<ClientCertificate>>,
}

impl Parts {
    /// Grows with each replacement of one of them.
    fn generation(&self) -> u64 {
        let [ca, client] = [self.ca.as_ref().map(|ca| ca.generation()), self.client.as_ref().map(|of| of.generation())];
        ca.unwrap_or_default().saturating_add(client.unwrap_or_default())
    }
}

/// What the server's certificate has to come from.
enum Roots {
    /// There is no TLS.
    None,
    /// These.
    Given(Vec<u8>),
    /// Those of the credentials, which rotate.
    Credentials,
    /// The system's.
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

    /// What there is just now of the credentials that TLS is made with.
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

    /// Where they came from, as errors name it.
    fn origin(&self, credentials: &Credentials) -> String {
        match self {
            Self::None => String::new(),
            Self::Given(_) => "the CA given".to_owned(),
            Self::Credentials => credentials.ca_origin(),
            Self::System => "the system's certificates".to_owned(),
        }
    }
}
