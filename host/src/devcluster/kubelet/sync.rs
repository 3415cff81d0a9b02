//! Keeping a pod's volumes as the API says they are to be.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use super::client::Client;
use super::objects::Objects;
use super::pod::{Allocatable, Pod, text};
use super::token::Tokens;
use super::volumes::{self, Files, Sources};
use super::{KubeletError, client::ClientError};
use crate::volume::{AtomicWriter, VolumeError};

/// How soon a sync that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The mode of an `emptyDir`: whoever the container runs as may write.
const SCRATCH_MODE: u32 = 0o777;

/// A pod's volumes, and what they are made from.
#[derive(Debug)]
pub(super) struct Volumes {
    pub(super) client: Client,
    pub(super) directory: PathBuf,
    pub(super) node: Allocatable,
    pub(super) tokens: Tokens,
    pub(super) token_period: Option<Duration>,
    pub(super) sync_period: Duration,
}

/// What one sync has made.
pub(super) struct Synced {
    pub(super) objects: Objects,
    /// The files of each volume that the kubelet writes, by the volume's name.
    pub(super) files: BTreeMap<String, Files>,
    /// How many volumes have changed.
    pub(super) changed: u64,
}

impl Volumes {
    /// Reads what the pod names, asks for the tokens that are due, and writes what has changed.
    pub(super) async fn sync(&mut self, object: &Value) -> Result<Synced, KubeletError> {
        let node = self.node.clone();
        let pod = Pod { object, node: &node };
        let read = Objects::read(&self.client, &pod).await;
        let objects = read.map_err(KubeletError::api("read the pod's config maps and secrets"))?;
        if let Err(error) = self.tokens.renew(&self.client, &pod, self.token_period).await {
            self.bear(&pod, error)?;
        }
        let mut files = BTreeMap::new();
        for volume in pod.list("/spec/volumes") {
            let name = text(volume, "name");
            let failed = |source| KubeletError::Volume { volume: name.into(), source };
            let sources = Sources { pod, objects: &objects, tokens: &self.tokens };
            let content = volumes::files(volume, sources).map_err(failed)?;
            let directory = self.directory.join(volumes::directory(volume).map_err(failed)?);
            if let Some(content) = content {
                files.insert(name.to_owned(), (directory, content));
            } else {
                make(&directory, SCRATCH_MODE)?;
            }
        }
        let (files, changed) = write(files).await?;
        Ok(Synced { objects, files, changed })
    }

    /// A token that could not be had: no matter while the one held is there.
    fn bear(&self, pod: &Pod<'_>, error: ClientError) -> Result<(), KubeletError> {
        if !self.tokens.cover(pod) {
            return Err(KubeletError::api("ask for the pod's token")(error));
        }
        tracing::warn!(%error, "the pod's token could not be renewed; the one held stays");
        Ok(())
    }

    /// Syncs whenever the pod changes, a token falls due or the period is over, until the pod is gone. Each volume
    /// written adds one to `written`.
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
                    self.wait()
                }
                Err(error) => {
                    tracing::warn!(error = %super::chain(&error), "the pod's volumes stay as they are");
                    RETRY
                }
            };
        }
    }

    fn wait(&self) -> Duration {
        let due = self.tokens.due_in(Timestamp::now()).unwrap_or(self.sync_period);
        // A token that is due at once was just refused: the server is not to be asked in a tight loop.
        due.min(self.sync_period).max(if due.is_zero() { RETRY } else { Duration::ZERO })
    }
}

/// Writes each volume, off the runtime's threads: a disk may be slow.
async fn write(volumes: BTreeMap<String, (PathBuf, Files)>) -> Result<(BTreeMap<String, Files>, u64), KubeletError> {
    let work = move || {
        let mut changed = 0_u64;
        let mut written = BTreeMap::new();
        for (name, (directory, files)) in volumes {
            make(&directory, 0o755)?;
            let write = || -> Result<bool, VolumeError> { AtomicWriter::open(&directory)?.write(&files) };
            let new = write().map_err(|source| KubeletError::Write { volume: name.clone(), source })?;
            changed = changed.saturating_add(u64::from(new));
            written.insert(name, files);
        }
        Ok((written, changed))
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(KubeletError::Files {
            step: "write the volumes in",
            path: PathBuf::new(),
            source: std::io::Error::other(error),
        })
    })
}

/// Makes a directory, and sets its mode if it was not there.
pub(super) fn make(directory: &Path, mode: u32) -> Result<(), KubeletError> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory).map_err(KubeletError::files("make", directory))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(mode))
        .map_err(KubeletError::files("set the mode of", directory))
}
