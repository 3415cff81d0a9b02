//! The pod's service-account volume: token, CA and namespace.
//!
//! Three files below [`DEFAULT_DIR`], written and rotated by the kubelet. They are read again as client-go does
//! (`client-go/transport/token_source.go`): a value is good for 60 seconds less a leeway of 10, white space around a
//! token is cut off, an empty file is an error, and while a reading fails the last good value stays in use. An answer
//! of 401 drops the token that was sent ([`ServiceAccount::drop_token`]), so that the next request reads the file
//! anew: a proxy that keeps a bound token in memory dies when that token's hour is over.
//!
//! What is read: regular files of bounded size only. What is kept: a [`Token`] never shows itself in `Debug`,
//! `Display` or an error, and its memory is overwritten when the last user lets go of it.
//!
//! Every reading is a short, blocking one of a file in memory (the kubelet mounts a tmpfs).

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

pub use general::{ClientCertificate, Credentials, MAX_CERTIFICATE_BYTES, Material};
use source::Source;
pub use token::Token;
pub(crate) use watched::Watched;

/// Where every container finds the volume, unless `automountServiceAccountToken` is off.
pub const DEFAULT_DIR: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Bytes of a token file that are read. Bound tokens take one to two thousand; a header much longer than this would be
/// refused by API servers and the proxies before them.
pub const MAX_TOKEN_BYTES: usize = 64 << 10;

/// Bytes of `ca.crt` that are read: it comes from the `ConfigMap` `kube-root-ca.crt`, which holds at most 1 MiB.
pub const MAX_CA_BYTES: usize = 1 << 20;

/// Characters of a namespace: a DNS-1123 label has at most 63.
pub const MAX_NAMESPACE_BYTES: usize = 63;

/// Room for the white space that an editor leaves around a namespace.
const NAMESPACE_FILE_BYTES: usize = MAX_NAMESPACE_BYTES + 193;

/// Why a file of credentials gave nothing. No variant holds any of a file's content.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file is not there: the pod has no such volume, or this is not a pod.
    #[error("no {file} at {}: is automountServiceAccountToken off?", path.display())]
    Missing {
        /// `token`, `ca.crt` or `namespace`.
        file: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file is not there.
    #[error("there is no {}", path.display())]
    NoFile {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file holds nothing but white space.
    #[error("{} is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is there, and the system would not let it be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is larger than such a file can be.
    #[error("{} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The file's content is not what its name says.
    #[error("{} {fault}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
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
    /// The file's content: one or more PEM certificates.
    pub fn bytes(&self) -> &[u8] {
        &self.pem
    }

    /// Grows by one each time that the content was seen to differ; the first is 1. Who built TLS settings from an older
    /// generation builds them again.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// Tells the time: replaced in tests, where nobody wants to wait a minute.
type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// The service-account volume of one pod. Cheap to clone: all clones share what was read.
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
    /// The volume mounted at `dir`. Nothing is read before it is asked for.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self::with_clock(dir, Instant::now)
    }

    /// As [`ServiceAccount::at`], with a clock of the caller's: it decides when a value has to be read again.
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

    /// The directory that is read.
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// The token to send, at most 50 seconds old by the file.
    ///
    /// # Errors
    /// When there is no good token: none in memory, and the file is missing, empty, too large, unreadable, or holds
    /// bytes that no bearer token has. With an older token in memory that one is returned, and the failure is logged.
    pub fn token(&self) -> Result<Arc<Token>, CredentialsError> {
        self.shared.token.get((self.shared.clock)())
    }

    /// Forgets `token`, because a server answered 401 to it.
    ///
    /// Only this very reading is dropped: when another was made since, perhaps by a neighbour that got the same answer
    /// earlier, that newer one stays.
    pub fn drop_token(&self, token: &Token) {
        self.shared.token.drop_order(token.order());
    }

    /// The namespace that the pod runs in.
    ///
    /// # Errors
    /// As [`ServiceAccount::token`]; also when the content is not a DNS-1123 label, since it ends up in paths.
    pub fn namespace(&self) -> Result<Arc<str>, CredentialsError> {
        self.shared.namespace.get((self.shared.clock)())
    }

    /// The certificate authorities that the API server's certificate has to come from.
    ///
    /// Cheap enough for every request: it reads at most once in 50 seconds. While the content stays the same, the same
    /// `Arc` is returned; [`CaPem::generation`] tells a rotation.
    ///
    /// # Errors
    /// As [`ServiceAccount::token`]; also when the file holds no PEM certificate.
    pub fn ca_pem(&self) -> Result<Arc<CaPem>, CredentialsError> {
        self.shared.ca.get((self.shared.clock)())
    }

    /// Has the next [`ServiceAccount::ca_pem`] read the file again, because a server's certificate did not come from
    /// the authorities in memory: they may have been replaced since.
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
    let label = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    if name.is_empty() {
        return Err(CredentialsError::Empty { path });
    }
    if name.len() > MAX_NAMESPACE_BYTES || !name.iter().all(label) {
        let fault = "does not hold the name of a namespace";
        return Err(CredentialsError::Malformed { path, fault });
    }
    Ok(String::from_utf8_lossy(name).into())
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
