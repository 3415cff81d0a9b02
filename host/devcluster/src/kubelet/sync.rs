//! Keeping a pod's volumes in sync with the API.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use attache_base::volume::{AtomicWriter, VolumeError};
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::client::Client;
use super::objects::Objects;
use super::pod::{Allocatable, Pod, text};
use super::status;
use super::token::Tokens;
use super::volumes::{self, Content, Files, Sources};
use super::{KubeletError, client::ClientError};

/// The delay before a failed sync is retried.
const RETRY: Duration = Duration::from_secs(1);

/// The mode of an `emptyDir`: any user of a container may write.
const SCRATCH_MODE: u32 = 0o777;

/// The mode of a pod's directory. Its volumes hold tokens, and the API server's default mode lets everybody read them.
const POD_MODE: u32 = 0o700;

/// The directory of a pod, or none once it is removed. Writers hold the lock, so that nothing is written during or
/// after the removal.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    path: PathBuf,
    gone: Arc<Mutex<bool>>,
}

impl Directory {
    /// Makes the directory.
    pub(super) fn make(path: PathBuf) -> Result<Self, KubeletError> {
        make(&path, POD_MODE)?;
        Ok(Self { path, gone: Arc::default() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory for good. Waits for a write that is under way.
    pub(super) fn remove(&self) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        *gone = true;
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, directory = %self.path.display(), "the pod's directory could not be removed");
        }
    }
}

/// A pod's volumes and the sources of their content.
#[derive(Debug)]
pub(super) struct Volumes {
    pub(super) client: Client,
    pub(super) directory: Directory,
    pub(super) node: Allocatable,
    pub(super) tokens: Tokens,
    pub(super) token_period: Option<Duration>,
    pub(super) sync_period: Duration,
    /// The pod's path in the API.
    pub(super) path: String,
    /// True if another kubelet reports the status.
    pub(super) observing: bool,
}

/// The result of one sync.
pub(super) struct Synced {
    pub(super) objects: Objects,
    /// The files of each volume that the kubelet writes, by the volume's name.
    pub(super) files: BTreeMap<String, Files>,
    /// The number of volumes that have changed.
    pub(super) changed: u64,
    /// The first error that kept a volume as it was.
    pub(super) failed: Option<KubeletError>,
}

/// The desired state of one volume.
struct Planned {
    name: String,
    /// The path below the pod's directory.
    directory: PathBuf,
    content: Content,
}

impl Volumes {
    /// Reads the objects that the pod refers to, renews the tokens that are due, and writes the volumes that have
    /// changed. A volume that cannot be made holds up no other, as with the real kubelet.
    pub(super) async fn sync(&mut self, object: &Value) -> Result<Synced, KubeletError> {
        let node = self.node.clone();
        let pod = Pod { object, node: &node };
        let read = Objects::read(&self.client, &pod).await;
        let objects = read.map_err(KubeletError::api("read the pod's config maps and secrets"))?;
        if let Err(error) = self.tokens.renew(&self.client, &pod, self.token_period).await {
            self.check_covered(&pod, error)?;
        }
        let sources = Sources { pod, objects: &objects, tokens: &self.tokens };
        let mut failed = None;
        let mut planned = Vec::new();
        for volume in pod.list("/spec/volumes") {
            match plan(volume, sources) {
                Ok(volume) => planned.extend(volume),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let written = write(self.directory.clone(), planned).await;
        Ok(Synced { objects, files: written.files, changed: written.changed, failed: failed.or(written.failed) })
    }

    /// Ignores a failed token renewal while the token held covers the pod.
    fn check_covered(&self, pod: &Pod<'_>, error: ClientError) -> Result<(), KubeletError> {
        if !self.tokens.cover(pod) {
            return Err(KubeletError::api("ask for the pod's token")(error));
        }
        tracing::warn!(%error, "the pod's token could not be renewed; the one held stays");
        Ok(())
    }

    /// Syncs when the pod changes, when a token is due and when the period is over, until the pod is gone. Each volume
    /// written adds one to `written`. An in-place resize is reported once the files show it.
    pub(super) async fn keep(mut self, mut pod: watch::Receiver<Option<Value>>, written: watch::Sender<u64>) {
        let mut wait = self.wait();
        loop {
            tokio::select! {
                changed = pod.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
            let Some(object) = pod.borrow_and_update().clone() else { return };
            wait = match self.sync(&object).await {
                Ok(synced) => {
                    if synced.changed > 0 {
                        written.send_modify(|count| *count = count.saturating_add(synced.changed));
                    }
                    synced.failed.map_or_else(|| self.wait(), |error| put_off(&error))
                }
                Err(error) => put_off(&error),
            };
            wait = wait.min(self.report_resized(&object).await);
        }
    }

    /// Reports the containers' resources after an in-place resize. Returns the delay of the next attempt if this one
    /// failed.
    async fn report_resized(&self, object: &Value) -> Duration {
        let Some(patch) = status::resized(object).filter(|_| !self.observing) else { return Duration::MAX };
        match super::patch_status(&self.client, &self.path, &patch).await {
            Ok(_) => Duration::MAX,
            // The pod was changed or removed meanwhile. The watch brings the change.
            Err(KubeletError::Api { source, .. }) if source.is_about_another() => Duration::MAX,
            Err(error) => {
                tracing::warn!(error = %super::chain(&error), "the containers' resources are not told");
                RETRY
            }
        }
    }

    fn wait(&self) -> Duration {
        let due = self.tokens.due_in(Timestamp::now()).unwrap_or(self.sync_period);
        // A token that is due at once was just refused: the server must not be asked in a tight loop.
        due.min(self.sync_period).max(if due.is_zero() { RETRY } else { Duration::ZERO })
    }
}

/// Logs the error that keeps volumes as they are. Returns the delay of the next attempt.
fn put_off(error: &KubeletError) -> Duration {
    tracing::warn!(error = %super::chain(error), "volumes of the pod stay as they are");
    RETRY
}

/// Returns nothing for a volume that this kubelet does not have.
fn plan(volume: &Value, sources: Sources<'_>) -> Result<Option<Planned>, KubeletError> {
    let name = text(volume, "name").to_owned();
    let Some(directory) = volumes::directory(volume) else { return Ok(None) };
    match volumes::content(volume, sources) {
        Ok(content) => Ok(Some(Planned { name, directory, content })),
        Err(source) => Err(KubeletError::Volume { volume: name, source }),
    }
}

/// The result of a write.
#[derive(Default)]
struct Wrote {
    files: BTreeMap<String, Files>,
    changed: u64,
    failed: Option<KubeletError>,
}

/// Writes each volume on a blocking thread, since a disk may be slow.
async fn write(pod: Directory, volumes: Vec<Planned>) -> Wrote {
    let work = move || {
        let mut wrote = Wrote::default();
        let gone = pod.gone.lock().unwrap_or_else(PoisonError::into_inner);
        for volume in volumes.into_iter().filter(|_| !*gone) {
            match write_one(&pod.path, &volume) {
                Ok(new) => wrote.changed = wrote.changed.saturating_add(u64::from(new)),
                Err(error) => wrote.failed = wrote.failed.or(Some(error)),
            }
            if let Content::Files(files) = volume.content {
                wrote.files.insert(volume.name, files);
            }
        }
        wrote
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Wrote {
        failed: Some(KubeletError::files("write the volumes in", Path::new("the pod's directory"))(
            std::io::Error::other(error),
        )),
        ..Wrote::default()
    })
}

/// Returns whether anything has changed.
fn write_one(pod: &Path, volume: &Planned) -> Result<bool, KubeletError> {
    let directory = pod.join(&volume.directory);
    let Content::Files(files) = &volume.content else { return make(&directory, SCRATCH_MODE).map(|()| false) };
    make(&directory, 0o755)?;
    let write = || -> Result<bool, VolumeError> { AtomicWriter::open(&directory)?.write(&files.projections) };
    write().map_err(|source| KubeletError::Write { volume: volume.name.clone(), source })
}

/// Makes a directory, and sets its mode if it was not there.
fn make(directory: &Path, mode: u32) -> Result<(), KubeletError> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory).map_err(KubeletError::files("make", directory))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(mode))
        .map_err(KubeletError::files("set the mode of", directory))
}
