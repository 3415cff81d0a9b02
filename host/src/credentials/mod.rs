//! The pod's service-account volume: token, CA and namespace.
//!
//! Three files below [`DEFAULT_DIR`], written and rotated by the kubelet. They are read again as in client-go
//! (`client-go/transport/token_source.go`): a value is good for 60 seconds less a leeway of 10, white space around a
//! token is cut off, and an empty file is an error. While a file cannot be read, the last good value stays in use. A
//! 401 drops the token that was sent ([`ServiceAccount::drop_token`]), so that the next request reads the file again: a
//! bound token expires after an hour, and a proxy that kept it in memory would fail from then on.
//!
//! Threat: a secret in a log, an error or freed memory, or a file that blocks the host. Only regular files of bounded
//! size are read. A [`Token`] never appears in `Debug`, `Display` or an error, and its memory is overwritten when the
//! last user drops it.
//!
//! Every read is short and blocking, of a file in memory: the kubelet mounts a tmpfs.
//!
//! | file | holds |
//! | --- | --- |
//! | `general` | credentials of any kind: token, client certificate, authorities |
//! | `source`, `cached`, `file` | one value, read again from its files |
//! | `token` | the token, which never shows itself |
//! | `watched` | changes of the files, reported at once |

mod cached;
mod file;
mod general;
mod source;
mod token;
mod watched;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use attache_base::names::{MAX_LABEL, is_label};

pub use general::{ClientCertificate, Credentials, MAX_CERTIFICATE_BYTES, Material};
use source::Source;
pub use token::Token;
pub(crate) use watched::Watched;

/// The path of the volume in every container, unless `automountServiceAccountToken` is off.
pub const DEFAULT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The most bytes of a token file. Bound tokens take one to two thousand; API servers and proxies refuse a header much
/// longer than this.
pub const MAX_TOKEN_BYTES: usize = 64 << 10;

/// The most bytes of `ca.crt`, which comes from the `ConfigMap` `kube-root-ca.crt` of at most 1 MiB.
pub const MAX_CA_BYTES: usize = 1 << 20;

/// Room for the white space that an editor leaves around a namespace.
const NAMESPACE_FILE_BYTES: usize = MAX_LABEL + 193;

/// A file of credentials that cannot be used. No variant holds content of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The file is missing: the pod has no such volume, or this is not a pod.
    #[error("no {file} at {}: is automountServiceAccountToken off?", path.display())]
    Missing {
        /// `token`, `ca.crt` or `namespace`.
        file: &'static str,
        /// The path of the file.
        path: PathBuf,
    },
    /// The file is missing.
    #[error("there is no {}", path.display())]
    NoFile {
        /// The path of the file.
        path: PathBuf,
    },
    /// The file holds nothing but white space.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The system does not let the host read the file.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The file is larger than any file of its kind.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The file has content of another kind.
    #[error("{} {fault}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The fault of the content.
        fault: &'static str,
    },
}

/// The certificate authorities of `ca.crt`, as PEM.
#[derive(Debug, PartialEq, Eq)]
pub struct CaPem {
    pem: Vec<u8>,
    generation: u64,
}

impl CaPem {
    /// Returns the content of the file: one or more PEM certificates.
    pub fn bytes(&self) -> &[u8] {
        &self.pem
    }

    /// Returns a number that grows by one with each change of the content, from 1. TLS settings of an older generation
    /// have to be built again.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// A clock, which tests replace to skip the minutes between two reads.
type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The service-account volume of one pod. Cheap to clone: all clones share the values that were read.
///
/// ```no_run
/// use attache::credentials::{DEFAULT_DIR, ServiceAccount};
///
/// let account = ServiceAccount::at(DEFAULT_DIR); // for `ApiClientSettings::service_account`
/// println!("in the namespace {}", account.namespace()?);
/// # Ok::<(), attache::credentials::CredentialsError>(())
/// ```
#[derive(Clone)]
pub struct ServiceAccount {
    shared: Arc<Shared>,
}

struct Shared {
    dir: PathBuf,
    clock: Clock,
    token: Arc<Source<Token>>,
    ca: Arc<Source<CaPem>>,
    namespace: Source<str>,
}

impl ServiceAccount {
    /// Makes the account of the volume at `dir`. Files are read when they are first needed.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self::with_clock(dir, Instant::now)
    }

    /// Makes an account as [`ServiceAccount::at`] does, with a clock that decides when a value has to be read again.
    pub fn with_clock(dir: impl Into<PathBuf>, clock: impl Fn() -> Instant + Send + Sync + 'static) -> Self {
        let dir = dir.into();
        let [token, ca, namespace] = ["token", "ca.crt", "namespace"].map(|file| dir.join(file));
        let shared = Shared {
            clock: Arc::new(clock),
            token: Arc::new(Source::of(vec![token.clone()], move |order, _| {
                Token::from_file(&file::read("token", &token, MAX_TOKEN_BYTES)?, order, token.clone()).map(Arc::new)
            })),
            ca: Arc::new(Source::of(vec![ca.clone()], move |_, last| {
                ca_of(&file::read("ca.crt", &ca, MAX_CA_BYTES)?, last, ca.clone())
            })),
            namespace: Source::of(vec![namespace.clone()], move |_, _| {
                namespace_of(&file::read("namespace", &namespace, NAMESPACE_FILE_BYTES)?, namespace.clone())
            }),
            dir,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns the directory of the files.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Returns the token to send, read at most 50 seconds ago.
    ///
    /// # Errors
    /// When the file is missing, empty, too large, unreadable, or has bytes that no bearer token has, and there is no
    /// earlier token. With an earlier token this returns that one and logs the failure.
    pub fn token(&self) -> Result<Arc<Token>, CredentialsError> {
        self.shared.token.get((self.shared.clock)())
    }

    /// Drops `token`, after a server answered 401 to it.
    ///
    /// A token that was read later, for another request with a 401, stays.
    pub fn drop_token(&self, token: &Token) {
        self.shared.token.drop_order(token.order());
    }

    /// Returns the namespace of the pod.
    ///
    /// # Errors
    /// As [`ServiceAccount::token`]; also when the content is no DNS-1123 label, since it becomes part of paths.
    pub fn namespace(&self) -> Result<Arc<str>, CredentialsError> {
        self.shared.namespace.get((self.shared.clock)())
    }

    /// Returns the certificate authorities that may sign the API server's certificate.
    ///
    /// Cheap enough for every request: the file is read at most once in 50 seconds. Unchanged content returns the
    /// earlier `Arc`; [`CaPem::generation`] grows with each rotation.
    ///
    /// # Errors
    /// As [`ServiceAccount::token`]; also when the file has no PEM certificate.
    pub fn ca_pem(&self) -> Result<Arc<CaPem>, CredentialsError> {
        self.shared.ca.get((self.shared.clock)())
    }

    /// Makes the next [`ServiceAccount::ca_pem`] read the file again, after a server's certificate was not signed by
    /// the authorities in memory: they may have rotated.
    pub fn expire_ca(&self) {
        self.shared.ca.expire((self.shared.clock)());
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("dir", &self.shared.dir).finish_non_exhaustive()
    }
}

fn namespace_of(bytes: &[u8], path: PathBuf) -> Result<Arc<str>, CredentialsError> {
    let name = bytes.trim_ascii();
    if name.is_empty() {
        return Err(CredentialsError::Empty { path });
    }
    match std::str::from_utf8(name) {
        Ok(name) if is_label(name) => Ok(name.into()),
        _ => Err(CredentialsError::Malformed { path, fault: "does not hold the name of a namespace" }),
    }
}

fn ca_of(bytes: &[u8], last: Option<&Arc<CaPem>>, path: PathBuf) -> Result<Arc<CaPem>, CredentialsError> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    if bytes.trim_ascii().is_empty() {
        return Err(CredentialsError::Empty { path });
    }
    if !bytes.windows(BEGIN.len()).any(|window| window == BEGIN) {
        let fault = "holds no PEM certificate";
        return Err(CredentialsError::Malformed { path, fault });
    }
    if let Some(last) = last.filter(|last| last.pem == bytes) {
        return Ok(Arc::clone(last));
    }
    Ok(Arc::new(CaPem { pem: bytes.to_vec(), generation: last.map_or(1, |last| last.generation.saturating_add(1)) }))
}

#[cfg(test)]
mod tests;
