//! The authorities that a client trusts, and the client certificate that it shows.

use std::sync::Arc;

use super::endpoint::Endpoint;
use super::settings::ConnectError;
use super::transport::{TlsMaterial, Trust};
use crate::credentials::{CaPem, ClientCertificate, Credentials, CredentialsError};

/// The certificates of the credentials at one time.
#[derive(Clone)]
pub(super) struct Parts {
    ca: Option<Arc<CaPem>>,
    client: Option<Arc<ClientCertificate>>,
}

impl Parts {
    /// Returns a number that grows with each replacement of a certificate.
    pub(super) fn generation(&self) -> u64 {
        let [ca, client] = [self.ca.as_ref().map(|ca| ca.generation()), self.client.as_ref().map(|of| of.generation())];
        ca.unwrap_or_default().saturating_add(client.unwrap_or_default())
    }
}

/// The authorities that may sign the server's certificate.
pub(super) enum Roots {
    /// None, without TLS.
    None,
    /// The PEM certificates of the settings.
    Given(Vec<u8>),
    /// The roots of the credentials, which rotate.
    Credentials,
    /// The roots of the system.
    System,
}

impl Roots {
    pub(super) fn find(
        endpoint: &Endpoint,
        given: Option<Vec<u8>>,
        credentials: &Credentials,
    ) -> Result<Self, ConnectError> {
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
    pub(super) fn parts(&self, credentials: &Credentials) -> Result<Parts, CredentialsError> {
        let ca = if matches!(self, Self::Credentials) { credentials.ca_pem()? } else { None };
        Ok(Parts { ca, client: credentials.certificate()? })
    }

    pub(super) fn material(&self, parts: Parts, server_name: Option<&str>) -> TlsMaterial {
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
    pub(super) fn origin(&self, credentials: &Credentials) -> String {
        match self {
            Self::None => String::new(),
            Self::Given(_) => "the CA given".to_owned(),
            Self::Credentials => credentials.ca_origin(),
            Self::System => "the system's certificates".to_owned(),
        }
    }
}
