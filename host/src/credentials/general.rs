//! Credentials of any kind for one API server, of a kubeconfig or of an embedder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use zeroize::Zeroizing;

use super::source::Source;
use super::{CaPem, Clock, CredentialsError, MAX_CA_BYTES, MAX_TOKEN_BYTES, ServiceAccount, Token, ca_of, file};

/// The most bytes of a client certificate with its chain, and of a key. Both have some kilobytes.
pub const MAX_CERTIFICATE_BYTES: usize = 256 << 10;

/// The source of a part of [`Credentials`].
///
/// ```
/// use attache::credentials::{Credentials, Material};
///
/// let inline = Credentials::new().bearer(Material::given("a-token"));
/// let rotated = Credentials::new().bearer(Material::file("/var/run/secrets/token"));
/// # drop((inline, rotated));
/// ```
#[derive(Clone)]
pub enum Material {
    /// The content, which never changes.
    Given(Zeroizing<Vec<u8>>),
    /// A file, which is read again when it is replaced.
    File(PathBuf),
}

impl Material {
    /// Makes material of its content.
    pub fn given(content: impl Into<Vec<u8>>) -> Self {
        Self::Given(Zeroizing::new(content.into()))
    }

    /// Makes material of a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File(path.into())
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Given(_) => None,
            Self::File(path) => Some(path),
        }
    }

    /// Returns the name of the source, for messages.
    fn origin(&self, what: &str) -> PathBuf {
        self.path().map_or_else(|| format!("the {what} given").into(), Path::to_owned)
    }

    fn read(&self, what: &'static str, limit: usize) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
        match self {
            Self::Given(content) if content.len() > limit => {
                Err(CredentialsError::TooLarge { path: self.origin(what), limit })
            }
            Self::Given(content) => Ok(content.clone()),
            Self::File(path) => file::read(what, path, limit).map_err(|error| match error {
                CredentialsError::Missing { path, .. } => CredentialsError::NoFile { path },
                other => other,
            }),
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Material(..)")
    }
}

/// A client certificate and its private key, both as PEM.
pub struct ClientCertificate {
    certificate: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    generation: u64,
}

impl ClientCertificate {
    /// Returns the certificate, and those between it and its authority.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Returns the private key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Returns a number that grows by one with each change of the content, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate(..)")
    }
}

/// A bearer token, a client certificate and the authorities of the server's certificate, each of which may be missing.
///
/// Files are read again as those of a [`ServiceAccount`]. Cheap to clone: all clones share the values that were read.
///
/// ```
/// use attache::credentials::{Credentials, Material};
///
/// let credentials = Credentials::new()
///     .authorities(Material::file("/etc/cluster/ca.crt"))
///     .client_certificate(Material::file("/etc/cluster/tls.crt"), Material::file("/etc/cluster/tls.key"));
/// assert!(credentials.token().is_ok_and(|token| token.is_none()));
/// ```
#[derive(Clone)]
pub struct Credentials {
    clock: Clock,
    token: Option<Arc<Source<Token>>>,
    authorities: Option<Arc<Source<CaPem>>>,
    certificate: Option<Arc<Source<ClientCertificate>>>,
    trusts_system: bool,
}

impl Default for Credentials {
    fn default() -> Self {
        Self::new()
    }
}

impl Credentials {
    /// Makes empty credentials, for anonymous requests.
    pub fn new() -> Self {
        Self { clock: Arc::new(Instant::now), token: None, authorities: None, certificate: None, trusts_system: false }
    }

    /// Sets the bearer token.
    #[must_use]
    pub fn bearer(self, token: Material) -> Self {
        let files = token.path().map(Path::to_owned).into_iter().collect();
        let read = move |order, _: Option<&Arc<Token>>| {
            Token::from_file(&token.read("token", MAX_TOKEN_BYTES)?, order, token.origin("token")).map(Arc::new)
        };
        Self { token: Some(Arc::new(Source::of(files, read))), ..self }
    }

    /// Sets the authorities that may sign the server's certificate.
    #[must_use]
    pub fn authorities(self, pem: Material) -> Self {
        let files = pem.path().map(Path::to_owned).into_iter().collect();
        let read = move |_, last: Option<&Arc<CaPem>>| {
            ca_of(&pem.read("certificate authority", MAX_CA_BYTES)?, last, pem.origin("certificate authority"))
        };
        Self { authorities: Some(Arc::new(Source::of(files, read))), trusts_system: false, ..self }
    }

    /// Sets the client certificate. Both parts are read together. While certificate and key do not match, as in the
    /// middle of a replacement, connections use the last pair that did.
    #[must_use]
    pub fn client_certificate(self, certificate: Material, key: Material) -> Self {
        let files = [&certificate, &key].into_iter().filter_map(|part| part.path().map(Path::to_owned)).collect();
        let read = move |_, last: Option<&Arc<ClientCertificate>>| {
            let certificate = certificate.read("client certificate", MAX_CERTIFICATE_BYTES)?;
            let key = key.read("client key", MAX_CERTIFICATE_BYTES)?;
            if let Some(last) = last.filter(|last| *last.certificate == *certificate && *last.key == *key) {
                return Ok(Arc::clone(last));
            }
            let generation = last.map_or(1, |last| last.generation.saturating_add(1));
            Ok(Arc::new(ClientCertificate { certificate, key, generation }))
        };
        Self { certificate: Some(Arc::new(Source::of(files, read))), ..self }
    }

    /// Returns the token to send, if any.
    ///
    /// # Errors
    /// As [`ServiceAccount::token`].
    pub fn token(&self) -> Result<Option<Arc<Token>>, CredentialsError> {
        self.token.as_ref().map(|token| token.get((self.clock)())).transpose()
    }

    /// Returns the authorities of the server's certificate, if any were set.
    ///
    /// # Errors
    /// As [`ServiceAccount::ca_pem`].
    pub fn ca_pem(&self) -> Result<Option<Arc<CaPem>>, CredentialsError> {
        self.authorities.as_ref().map(|authorities| authorities.get((self.clock)())).transpose()
    }

    /// Returns the client certificate, if any.
    ///
    /// # Errors
    /// When a file cannot be read and there is no earlier pair in memory.
    pub fn certificate(&self) -> Result<Option<Arc<ClientCertificate>>, CredentialsError> {
        self.certificate.as_ref().map(|certificate| certificate.get((self.clock)())).transpose()
    }

    /// Drops a token, after a server answered 401 to it; see [`ServiceAccount::drop_token`].
    pub fn drop_token(&self, token: &Token) {
        if let Some(source) = &self.token {
            source.drop_order(token.order());
        }
    }

    /// Makes the next use of each part read its files again.
    pub fn expire(&self) {
        let now = (self.clock)();
        if let Some(token) = &self.token {
            token.expire(now);
        }
        self.expire_certificates();
    }

    /// Does as [`Credentials::expire`] for the parts that TLS uses.
    pub fn expire_certificates(&self) {
        let now = (self.clock)();
        if let Some(authorities) = &self.authorities {
            authorities.expire(now);
        }
        if let Some(certificate) = &self.certificate {
            certificate.expire(now);
        }
    }

    /// Returns the files of all parts.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        fn paths<T>(source: Option<&Arc<Source<T>>>) -> &[PathBuf] {
            source.map_or(&[], |source| source.files())
        }
        let parts = [paths(self.token.as_ref()), paths(self.authorities.as_ref()), paths(self.certificate.as_ref())];
        parts.into_iter().flatten().map(PathBuf::as_path)
    }

    /// Sets the token of a service account, in place of any token and client certificate.
    #[must_use]
    pub fn as_account(self, account: &ServiceAccount) -> Self {
        Self { token: Some(Arc::clone(&account.shared.token)), certificate: None, ..self }
    }

    /// Sets the authorities to those that the system trusts, as browsers do.
    #[must_use]
    pub fn system_authorities(self) -> Self {
        Self { authorities: None, trusts_system: true, ..self }
    }

    /// Returns whether the system's authorities are trusted.
    pub fn trusts_system(&self) -> bool {
        self.trusts_system
    }

    /// Returns the kind and the source of the credentials, for messages.
    pub(crate) fn origin(&self) -> String {
        match (&self.token, &self.certificate) {
            (Some(token), _) => format!("the token of {}", origin(Some(token), "its settings")),
            (None, Some(certificate)) => {
                format!("the client certificate of {}", origin(Some(certificate), "its settings"))
            }
            (None, None) => "requests without credentials".to_owned(),
        }
    }

    /// Returns the source of the authorities, for messages.
    pub(crate) fn ca_origin(&self) -> String {
        origin(self.authorities.as_ref(), "the CA given")
    }
}

fn origin<T>(source: Option<&Arc<Source<T>>>, given: &str) -> String {
    source.and_then(|source| source.files().first()).map_or_else(|| given.to_owned(), |path| path.display().to_string())
}

impl From<ServiceAccount> for Credentials {
    /// Makes credentials of the volume's token and CA, whose values are shared with the account.
    fn from(account: ServiceAccount) -> Self {
        let shared = &account.shared;
        Self {
            clock: Arc::clone(&shared.clock),
            token: Some(Arc::clone(&shared.token)),
            authorities: Some(Arc::clone(&shared.ca)),
            certificate: None,
            trusts_system: false,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("files", &self.files().collect::<Vec<_>>()).finish_non_exhaustive()
    }
}
