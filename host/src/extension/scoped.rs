//! `credentials: scoped`: a service-account volume whose token only this host accepts.
//!
//! Threat: a guest that carries the pod's token away. The guest gets a token of its own, which is worthless elsewhere
//! and to another extension, and which is revoked with this extension. `ca.crt` and `namespace` are the true ones. Code
//! written for a container therefore finds all three files in the atomic writer's layout, and sees them change as in a
//! container. The volume exists in memory alone and has no background task: each open checks whether a new token is
//! due.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use zeroize::Zeroizing;

use super::mounts::MountError;
use crate::ambassador::ScopedTokens;
use crate::capability::filesystem::{Directory, Mount};
use crate::credentials::{CredentialsError, ServiceAccount};
use crate::volume::RelativePath;

/// The age at which `ca.crt` and `namespace` are read again: a kubelet's volume follows a change within about a minute.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The rotation of the tokens of `credentials: scoped`.
///
/// ```
/// use attache::extension::{Runtime, TokenRotation};
/// use std::time::Duration;
///
/// let rotation = TokenRotation { every: Duration::from_mins(10), grace: Duration::from_mins(2) };
/// let runtime = Runtime::builder().token_rotation(rotation);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRotation {
    /// The age at which a token is replaced.
    pub every: Duration,
    /// The time for which the previous token is still accepted. Clients read the file again every minute.
    pub grace: Duration,
}

impl Default for TokenRotation {
    /// Returns a rotation every half hour, with five minutes of grace.
    fn default() -> Self {
        Self { every: Duration::from_mins(30), grace: Duration::from_mins(5) }
    }
}

/// The volume of one extension. Dropping it revokes the token.
pub(super) struct ScopedVolume {
    account: ServiceAccount,
    tokens: ScopedTokens,
    laid: Mutex<Laid>,
}

/// The files that the scoped volume copies from the true one.
#[derive(Default, PartialEq, Eq)]
struct AccountFiles {
    ca: Vec<u8>,
    namespace: String,
}

/// The newest version of the volume, as a directory.
struct Laid {
    looked: Instant,
    account: AccountFiles,
    token: Zeroizing<String>,
    /// The number of versions so far, for the name of the next.
    number: u64,
    directory: Arc<Directory>,
    /// Set if the true volume could not be read at the last look, which is reported once.
    failing: bool,
}

impl ScopedVolume {
    /// Creates the volume from the true one at `account`.
    pub(super) fn of(account: &Path, rotation: TokenRotation) -> Result<Self, MountError> {
        let tokens = ScopedTokens::rotating(rotation.every, rotation.grace);
        let tokens = tokens.map_err(|error| MountError::NoRandomness(error.to_string()))?;
        let account = ServiceAccount::at(account);
        let files = read(&account)?;
        let token = tokens.expose();
        let directory = lay_out(&files, &token, 1);
        let laid = Laid { looked: Instant::now(), account: files, token, number: 1, directory, failing: false };
        Ok(Self { account, tokens, laid: Mutex::new(laid) })
    }

    /// Returns the tokens of the volume.
    pub(super) fn tokens(&self) -> &ScopedTokens {
        &self.tokens
    }

    /// Reads the true volume again, and returns its files if they have changed. Unreadable files are read again at a
    /// later look.
    fn look(&self, laid: &mut Laid) -> Option<AccountFiles> {
        laid.looked = Instant::now();
        self.account.expire_ca();
        let found = read(&self.account);
        if let (Err(error), false) = (&found, laid.failing) {
            let error = crate::telemetry::chain(error);
            tracing::warn!(%error, "a guest's scoped credentials could not be renewed");
        }
        laid.failing = found.is_err();
        found.ok().filter(|found| *found != laid.account)
    }
}

impl Mount for ScopedVolume {
    fn newest(&self) -> Arc<Directory> {
        let mut laid = self.laid.lock().unwrap_or_else(PoisonError::into_inner);
        let token = self.tokens.expose();
        let due = laid.looked.elapsed() >= LOOK_EVERY || *token != *laid.token;
        let found = if due { self.look(&mut laid) } else { None };
        if found.is_some() || *token != *laid.token {
            laid.account = found.unwrap_or_else(|| std::mem::take(&mut laid.account));
            laid.number = laid.number.wrapping_add(1);
            laid.directory = lay_out(&laid.account, &token, laid.number);
            laid.token = token;
        }
        Arc::clone(&laid.directory)
    }
}

impl Drop for ScopedVolume {
    fn drop(&mut self) {
        self.tokens.end();
    }
}

fn read(account: &ServiceAccount) -> Result<AccountFiles, CredentialsError> {
    Ok(AccountFiles { ca: certificates(account.ca_pem()?.bytes()), namespace: account.namespace()?.to_string() })
}

/// Returns the certificates of a PEM file, and nothing else in it, such as a key.
fn certificates(pem: &[u8]) -> Vec<u8> {
    let mut within = false;
    let mut kept = Vec::new();
    for line in pem.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii();
        within = within || text == b"-----BEGIN CERTIFICATE-----";
        if within {
            kept.extend_from_slice(line);
        }
        within = within && text != b"-----END CERTIFICATE-----";
    }
    kept
}

/// Lays out one version, with a name like those of the kubelet's atomic writer.
fn lay_out(account: &AccountFiles, token: &str, number: u64) -> Arc<Directory> {
    let stamp = jiff::Timestamp::now().strftime("..%Y_%m_%d_%H_%M_%S.");
    let files = [
        ("ca.crt", Bytes::copy_from_slice(&account.ca)),
        ("namespace", Bytes::copy_from_slice(account.namespace.as_bytes())),
        ("token", Bytes::copy_from_slice(token.as_bytes())),
    ];
    let files = files.into_iter().filter_map(|(name, data)| Some((RelativePath::new(name).ok()?, data)));
    Arc::new(Directory::of_files(&format!("{stamp}{number:010}"), SystemTime::now(), files))
}
