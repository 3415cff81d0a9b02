//! Changes of credentials' files, reported at once instead of at the next read.
//!
//! The folders are watched and not the files: a kubelet and most tools replace a file by a new one. Where the system
//! cannot watch (its limit is reached, or the file system is remote), only the periods of `cached` hold.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use notify::event::{AccessKind, AccessMode, Event, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;

use super::Credentials;
use crate::volume::DATA_LINK;

/// Credentials whose files are watched. Their values expire when a file changes.
pub(crate) struct Watched {
    changes: watch::Receiver<u64>,
    _watcher: RecommendedWatcher,
}

impl Watched {
    /// Watches the files of `credentials`, if there are any and the system allows it.
    pub(crate) fn start(credentials: &Credentials) -> Option<Self> {
        let folders: BTreeSet<_> = credentials.files().filter_map(Path::parent).collect();
        if folders.is_empty() {
            return None;
        }
        let names: BTreeSet<_> = credentials.files().filter_map(Path::file_name).map(OsString::from).collect();
        let (sender, changes) = watch::channel(0_u64);
        let credentials = credentials.clone();
        let on_event = move |event: notify::Result<Event>| {
            if event.is_err() || event.is_ok_and(|event| concerns(&event, &names)) {
                credentials.expire();
                sender.send_modify(|count| *count = count.wrapping_add(1));
            }
        };
        // notify panics where the system gives it no thread.
        let made = catch_unwind(AssertUnwindSafe(|| notify::recommended_watcher(on_event)));
        let mut watcher =
            made.ok()?.inspect_err(|error| tracing::debug!(%error, "credentials are not watched")).ok()?;
        for folder in folders {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, folder = %folder.display(), "credentials are not watched");
            }
        }
        Some(Self { changes, _watcher: watcher })
    }

    /// Returns the count of changes.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

/// Returns whether an event may be a change of a file's content. Reads, including our own, are none.
fn concerns(event: &Event, names: &BTreeSet<OsString>) -> bool {
    let reading = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
    let ours = |path: &Path| path.file_name().is_some_and(|name| name == DATA_LINK || names.contains(name));
    event.need_rescan() || (!reading && event.paths.iter().any(|path| ours(path)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::credentials::ServiceAccount;

    /// Longer than a busy machine takes to report an event.
    const SOON: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn a_file_that_is_written_or_swapped_is_told_and_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "first").unwrap();
        let credentials = Credentials::from(ServiceAccount::at(folder.path()));
        let sent = || credentials.token().unwrap().unwrap().expose().to_owned();
        assert_eq!(sent(), "first");
        let mut changes = Watched::start(&credentials).unwrap();
        std::fs::write(&token, "second").unwrap();
        tokio::time::timeout(SOON, changes.changes.wait_for(|_| sent() == "second")).await.unwrap().unwrap();
        let new = folder.path().join("new");
        std::fs::write(&new, "third").unwrap();
        std::fs::rename(&new, &token).unwrap();
        tokio::time::timeout(SOON, changes.changes.wait_for(|_| sent() == "third")).await.unwrap().unwrap();
    }
}
