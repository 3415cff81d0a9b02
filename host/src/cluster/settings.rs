//! The settings of a client, and failures to make one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::endpoint::{Endpoint, EndpointError, EndpointSource, HOST_VARIABLE};
use super::transport::TlsError;
use super::watch::WatchSettings;
use crate::credentials::{Credentials, CredentialsError, ServiceAccount};
use crate::gate::HostRate;
use crate::telemetry::Audit;

/// The default time for a call, its answer's body included. API servers take at most as long themselves
/// (`--request-timeout`).
pub const DEFAULT_DEADLINE: Duration = Duration::from_mins(1);

/// The settings of an [`ApiClient`](super::ApiClient).
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

/// A failure to make an [`ApiClient`](super::ApiClient).
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
