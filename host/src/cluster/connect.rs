//! The one client of one API server.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::catalogue::Catalogue;
use super::endpoint::{Endpoint, EndpointError, Found, HOST_VARIABLE};
use super::transport::{TlsError, Transport, Transports};
use super::unavailable::Unavailable;
use super::watch::{Hub, WatchSettings};
use crate::credentials::{CredentialsError, ServiceAccount, Token};
use crate::gate::{Gate, HostRate};
use crate::telemetry::{Audit, Paced};

/// How long a call may take by default, its answer's body included: as long as an API server takes at most itself
/// (`--request-timeout`).
pub const DEFAULT_DEADLINE: Duration = Duration::from_mins(1);

/// What a [`Cluster`] is made of.
pub struct ClusterSettings {
    /// The API server.
    pub server: Endpoint,
    /// Whose token is sent. Without one, or without TLS, requests carry no credentials.
    pub service_account: Option<ServiceAccount>,
    /// PEM certificates that the server's certificate has to come from, in place of the service account's `ca.crt`.
    pub ca: Option<Vec<u8>>,
    /// How long a call may take that names no deadline, its answer's body included.
    pub deadline: Duration,
    /// Where the host's own requests (discovery, shared watches) are recorded.
    pub audit: Arc<dyn Audit>,
    /// How what is watched is kept.
    pub watches: WatchSettings,
    /// The rate that the host's own requests count in and wait for, as those of its extensions do.
    pub rate: Option<HostRate>,
}

/// Why there is no [`Cluster`].
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

/// A client of the API server. It sends what a gate has let through and nothing else; see [`Cluster::send`].
///
/// Cheap to clone: all clones share connections, token and discovery. It is used in a tokio runtime, and may be made
/// outside of one.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    address: String,
    account: Option<ServiceAccount>,
    /// Whether the roots are the service account's and rotate with them.
    roots_rotate: bool,
    roots_origin: String,
    transports: Transports,
    deadline: Duration,
    host: Gate,
    reviews: Gate,
    catalogue: Catalogue,
    hub: Arc<Hub>,
    rate: Option<HostRate>,
    refused_tokens: Paced<()>,
}

impl ClusterSettings {
    /// Settings for `server` with the defaults: no credentials, no CA, [`DEFAULT_DEADLINE`], no rate of the whole host.
    pub fn new(server: Endpoint, audit: Arc<dyn Audit>) -> Self {
        let watches = WatchSettings::default();
        Self { server, service_account: None, ca: None, deadline: DEFAULT_DEADLINE, audit, watches, rate: None }
    }

    /// Settings as every in-cluster client finds them: the server by `variable` (which looks up the environment), else by
    /// name; token and certificates from the service account's volume.
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

impl Cluster {
    /// Makes a client. Token and certificates are read, so that what is missing is told here; the server is first
    /// spoken to by the first request.
    ///
    /// # Errors
    /// When the token or the certificates are missing or of no use.
    pub fn connect(settings: ClusterSettings) -> Result<Self, ConnectError> {
        let ClusterSettings { server: endpoint, service_account, ca, deadline, audit, watches, rate } = settings;
        // Plain HTTP is for an ambassador on this machine, which has credentials of its own.
        let account = service_account.filter(|_| endpoint.is_encrypted());
        let server = || endpoint.to_string();
        if let Some(account) = &account {
            account.token().map_err(|source| ConnectError::Credentials { server: server(), source })?;
        }
        let roots_rotate = ca.is_none() && account.is_some();
        let roots = Roots::find(&endpoint, ca, account.as_ref())?;
        let transports = Transports::new(&roots.pem, roots.generation)
            .map_err(|source| ConnectError::Roots { origin: roots.origin.clone(), source })?;
        let (address, catalogue) = (endpoint.address(), Catalogue::default());
        let host = Gate::for_host(rate.clone(), Arc::clone(&audit));
        let reviews = Gate::for_reviews(rate.clone(), Arc::clone(&audit));
        let hub = Hub::new(watches, audit);
        let roots_origin = roots.origin;
        let inner = Inner {
            endpoint,
            address,
            account,
            roots_rotate,
            roots_origin,
            transports,
            deadline,
            host,
            reviews,
            catalogue,
            hub,
            rate,
            refused_tokens: Paced::default(),
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

    pub(super) fn account(&self) -> Option<&ServiceAccount> {
        self.0.account.as_ref()
    }

    /// Where the trusted certificates came from, as errors name it.
    pub(super) fn roots_origin(&self) -> &str {
        &self.0.roots_origin
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
        self.account().map(ServiceAccount::token).transpose().map_err(Unavailable::from)
    }

    /// Tells the operator that the server has answered 401 to the token, and there is no other.
    pub(super) fn tell_refused_token(&self) {
        let Some(account) = self.account() else { return };
        if let Some(times) = self.0.refused_tokens.note(()) {
            tracing::warn!(times, "the API server refuses the token of {}", account.dir().display());
        }
    }

    /// The connections in use, on the newest roots.
    pub(super) fn transport(&self) -> Arc<Transport> {
        let transport = self.0.transports.current();
        if self.roots_differ(&transport) { self.0.transports.current() } else { transport }
    }

    /// After a certificate was not accepted: whether `ca.crt` has changed since, read at once.
    pub(super) fn renewed_roots(&self, in_use: &Transport) -> bool {
        if let (true, Some(account)) = (self.0.roots_rotate, self.account()) {
            account.expire_ca();
        }
        self.roots_differ(in_use)
    }

    fn roots_differ(&self, in_use: &Transport) -> bool {
        let Some(account) = self.account().filter(|_| self.0.roots_rotate) else { return false };
        let Ok(ca) = account.ca_pem() else { return false };
        let renewed = self.0.transports.renew(in_use.generation(), ca.bytes(), ca.generation());
        renewed.unwrap_or_else(|error| {
            tracing::warn!(origin = self.roots_origin(), %error, "the last good certificates stay in use");
            false
        })
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("endpoint", &self.0.endpoint.to_string()).finish_non_exhaustive()
    }
}

/// What the server's certificate has to come from.
struct Roots {
    pem: Vec<u8>,
    generation: u64,
    origin: String,
}

impl Roots {
    fn find(
        endpoint: &Endpoint,
        given: Option<Vec<u8>>,
        account: Option<&ServiceAccount>,
    ) -> Result<Self, ConnectError> {
        let server = || endpoint.to_string();
        match (given, account) {
            _ if !endpoint.is_encrypted() => Ok(Self { pem: Vec::new(), generation: 0, origin: String::new() }),
            (Some(pem), _) if pem.is_empty() => Err(ConnectError::NoRoots { server: server() }),
            (Some(pem), _) => Ok(Self { pem, generation: 0, origin: "the CA given".to_owned() }),
            (None, None) => Err(ConnectError::NoRoots { server: server() }),
            (None, Some(account)) => {
                let ca = account.ca_pem().map_err(|source| ConnectError::Credentials { server: server(), source })?;
                let origin = account.dir().join("ca.crt").display().to_string();
                Ok(Self { pem: ca.bytes().to_vec(), generation: ca.generation(), origin })
            }
        }
    }
}
