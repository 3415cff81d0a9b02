//! `credentials: scoped`: a service-account volume whose token only this host takes.
//!
//! Threat: a guest that carries the pod's token away. It is given one of its own, which is worth nothing elsewhere and
//! nothing to another extension, and dies with this one. `ca.crt` and `namespace` are the true ones, so that code written for
//! a container finds all three where it looks, in the atomic writer's layout, and sees them change as it does there.

use super::mounts::{MountError, own_folder};
use crate::ambassador::ScopedTokens;
use crate::credentials::{CredentialsError, ServiceAccount};
use crate::volume::{AtomicWriter, FileProjection, RelativePath, VolumeError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How often the true `ca.crt` is looked at: a kubelet's volume follows a change within about a minute.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The mode of the files, as a kubelet projects them.
const MODE: u32 = 0o644;

/// When the tokens of `credentials: scoped` change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRotation {
    /// How often there is a new one.
    pub every: Duration,
    /// How long the one before is taken after that. Clients read the file again every minute.
    pub grace: Duration,
}

impl Default for TokenRotation {
    /// Every half hour, with five minutes' grace.
    fn default() -> Self {
        Self { every: Duration::from_mins(30), grace: Duration::from_mins(5) }
    }
}

/// The volume of one extension. When it is dropped the token is worthless and the files are gone.
pub(super) struct ScopedVolume {
    path: PathBuf,
    tokens: ScopedTokens,
    /// `None` once it has ended: a renewal that comes too late finds nothing to write to.
    files: Arc<Mutex<Option<Files>>>,
    renewal: AbortHandle,
}

/// What is written, and where.
struct Files {
    _folder: TempDir,
    writer: AtomicWriter,
    account: ServiceAccount,
    tokens: ScopedTokens,
}

impl ScopedVolume {
    /// Makes the volume beside the true one at `account`.
    pub(super) fn of(account: &Path, rotation: TokenRotation) -> Result<Self, MountError> {
        let tokens = ScopedTokens::issue().map_err(|error| MountError::NoRandomness(error.to_string()))?;
        let folder = own_folder().map_err(MountError::Folder)?;
        let path = folder.path().to_owned();
        let failed = |source| MountError::Copy { volume: path.clone(), source };
        let writer = AtomicWriter::open(&path).map_err(failed)?;
        let files = Files { _folder: folder, writer, account: ServiceAccount::at(account), tokens: tokens.clone() };
        files.write(&files.read()?).map_err(failed)?;
        let files = Arc::new(Mutex::new(Some(files)));
        let renewal = tokio::spawn(renew(Arc::clone(&files), rotation)).abort_handle();
        Ok(Self { path, tokens, files, renewal })
    }

    /// The host's directory, to be mounted.
    pub(super) fn directory(&self) -> PathBuf {
        self.path.clone()
    }

    /// The tokens that are in it.
    pub(super) fn tokens(&self) -> &ScopedTokens {
        &self.tokens
    }
}

impl Drop for ScopedVolume {
    fn drop(&mut self) {
        self.renewal.abort();
        self.tokens.end();
        // Waits for a renewal that is writing: files that are written while they are removed would be left behind.
        drop(self.files.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// What of the true volume goes into the scoped one.
struct True {
    ca: Vec<u8>,
    namespace: String,
}

impl Files {
    fn read(&self) -> Result<True, CredentialsError> {
        self.account.expire_ca();
        let (ca, namespace) = (self.account.ca_pem()?.bytes().to_vec(), self.account.namespace()?.to_string());
        Ok(True { ca, namespace })
    }

    fn write(&self, found: &True) -> Result<bool, VolumeError> {
        let token = self.tokens.expose();
        let files =
            [("ca.crt", found.ca.as_slice()), ("namespace", found.namespace.as_bytes()), ("token", token.as_bytes())];
        let mut projected = BTreeMap::new();
        for (name, data) in files {
            projected.insert(RelativePath::new(name)?, FileProjection { data: data.to_vec(), mode: MODE });
        }
        self.writer.write(&projected)
    }

    /// Follows the true volume. What cannot be read or written now is tried again at the next look.
    fn follow(&self) {
        let followed = self
            .read()
            .map_err(|error| crate::telemetry::chain(&error).to_string())
            .and_then(|found| self.write(&found).map_err(|error| crate::telemetry::chain(&error).to_string()));
        if let Err(error) = followed {
            tracing::warn!(error, "a guest's scoped credentials could not be renewed");
        }
    }
}

/// A span that leads past the end of time is as good as a year.
fn after(span: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(span).unwrap_or_else(|| now + Duration::from_hours(24 * 365))
}

async fn renew(files: Arc<Mutex<Option<Files>>>, rotation: TokenRotation) {
    let mut next = after(rotation.every);
    loop {
        tokio::time::sleep_until(next.min(after(LOOK_EVERY))).await;
        let due = Instant::now() >= next;
        if due {
            next = after(rotation.every);
        }
        let files = Arc::clone(&files);
        let written = tokio::task::spawn_blocking(move || {
            if let Some(files) = files.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                if due && files.tokens.rotate(rotation.grace).is_err() {
                    tracing::warn!("no randomness for a new scoped token: the old one stays");
                }
                files.follow();
            }
        });
        drop(written.await);
    }
}
