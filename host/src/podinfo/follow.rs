//! Follows the volumes: one thread for each record, woken by inotify when `..data` is swapped.
//!
//! The *directory* is watched, not the files: each update brings new files, and a watch on an old file would stay with
//! that file. Reads wake no thread. Neither do writes below another name before a swap.
//!
//! Where inotify reports nothing, the thread looks at the volume every [`POLL_PERIOD`] instead, at the cost of one link
//! read each. That is so in three cases:
//! - the system's limit of watches is reached, until a watch is free again;
//! - other machines can change the file system (NFS, SMB, 9P, FUSE, Ceph);
//! - the directory is missing or has no file of interest, since inotify does not report a mount over it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::record::Record;
use crate::volume::DATA_LINK;

/// The time between two looks at the volume where inotify reports nothing. The kubelet itself takes up to a minute for
/// a change, so this adds little.
pub const POLL_PERIOD: Duration = Duration::from_secs(5);

/// The way to follow the volume.
#[derive(Debug, Clone, Copy)]
pub(super) struct Following {
    pub(super) inotify: bool,
    pub(super) poll_period: Duration,
}

impl Default for Following {
    fn default() -> Self {
        Self { inotify: true, poll_period: POLL_PERIOD }
    }
}

/// Starts the thread. The thread ends when the record is gone: dropping the record wakes the thread through the sender.
pub(super) fn start(
    record: Weak<Record>,
    directories: Vec<PathBuf>,
    following: Following,
) -> io::Result<SyncSender<()>> {
    // One slot is enough: a pending wake stands for all that happen before the thread receives it.
    let (waker, calls) = sync_channel(1);
    let watch = |dir| Watch {
        dir,
        inotify: following.inotify,
        waker: waker.clone(),
        lost: Arc::new(AtomicBool::new(false)),
        armed: None,
        seen: None,
    };
    let watches = directories.into_iter().map(watch).collect();
    let run = move || run(&record, watches, &calls, following.poll_period);
    thread::Builder::new().name("podinfo".to_owned()).spawn(run)?;
    Ok(waker)
}

/// Marks the record as not followed when the thread ends, also by a panic. notify panics where the system gives it no
/// thread, and a record that believed itself followed would never read again.
struct Ending(Weak<Record>);

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(record) = self.0.upgrade() {
            record.unfollowed();
        }
    }
}

fn run(record: &Weak<Record>, mut watches: Vec<Watch>, calls: &Receiver<()>, poll_period: Duration) {
    let _ending = Ending(Weak::clone(record));
    loop {
        // Armed before the reading, so that a change after arming wakes the thread again.
        // Each watch is armed, whatever the result of the watch before.
        let another = watches.iter_mut().filter_map(|watch| watch.arm().then_some(())).count() > 0;
        let Some(record) = record.upgrade() else { return };
        let settled = record.refresh(another);
        drop(record);
        if settled && watches.iter().all(|watch| watch.armed.is_some()) {
            // Cannot fail: the watch has a sender of its own.
            let _ = calls.recv();
        } else {
            let _ = calls.recv_timeout(poll_period);
        }
    }
}

/// Device and inode of a directory.
type Identity = (u64, u64);

/// The watch on the directory, created anew when another directory takes its place.
struct Watch {
    dir: PathBuf,
    inotify: bool,
    waker: SyncSender<()>,
    /// Set by the events: the watched directory was deleted or moved. A new one may well have the same inode.
    lost: Arc<AtomicBool>,
    armed: Option<RecommendedWatcher>,
    seen: Option<Identity>,
}

impl Watch {
    /// Watches the directory, if possible. Returns whether it is another directory than last time.
    fn arm(&mut self) -> bool {
        let identity = fs::metadata(&self.dir).map(|status| (status.dev(), status.ino())).ok();
        let lost = self.lost.swap(false, Ordering::AcqRel);
        let another = lost || (self.seen.is_some() && self.seen != identity);
        if another {
            self.armed = None;
        }
        if self.armed.is_none() && self.inotify && identity.is_some() && is_told_of(&self.dir) {
            self.armed = self.watch().inspect_err(|error| tracing::debug!(%error, "podinfo is polled")).ok();
        }
        self.seen = identity;
        another
    }

    fn watch(&self) -> notify::Result<RecommendedWatcher> {
        let (waker, lost, dir) = (self.waker.clone(), Arc::clone(&self.lost), self.dir.clone());
        let on_event = move |event: notify::Result<Event>| {
            let told = event.as_ref().map_or(Told::Change, |event| told(event, &dir));
            if told == Told::Lost {
                lost.store(true, Ordering::Release);
            }
            if told != Told::Nothing {
                let _ = waker.try_send(());
            }
        };
        let mut watcher = notify::recommended_watcher(on_event)?;
        watcher.watch(&self.dir, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    }
}

/// The meaning of an event for the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Change,
    /// The directory itself was deleted or moved.
    Lost,
}

fn told(event: &Event, dir: &Path) -> Told {
    if event.need_rescan() {
        return Told::Change;
    }
    let moved_or_removed = matches!(event.kind, EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)));
    if moved_or_removed && event.paths.iter().any(|path| path == dir) {
        return Told::Lost;
    }
    let completes = moved_or_removed || event.kind == EventKind::Access(AccessKind::Close(AccessMode::Write));
    let concerns = event.paths.iter().any(|path| match name(path) {
        Some(DATA_LINK) => completes || event.kind.is_create(),
        // In a tree made by hand, files change in place. A change counts once the file is complete.
        Some(name) => completes && !name.starts_with(".."),
        None => false,
    });
    if concerns { Told::Change } else { Told::Nothing }
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// File systems that another machine or process may change without this kernel knowing, by their magic numbers [Linux
/// `include/uapi/linux/magic.h`, `fs/smb/client/cifsglob.h`].
const REMOTE: [u32; 7] = [
    0x6969,      // NFS
    0x0102_1997, // 9P
    0x6573_5546, // FUSE, and virtio-fs with it
    0x517b,      // SMB 1
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB 2 and 3
    0x00c3_6400, // Ceph
];

#[cfg(target_os = "linux")]
fn is_told_of(dir: &Path) -> bool {
    // The field's type differs between architectures; magic numbers have 32 bits.
    let magic =
        |status: rustix::fs::StatFs| REMOTE.iter().any(|remote| i128::from(status.f_type) == i128::from(*remote));
    !rustix::fs::statfs(dir).is_ok_and(magic)
}

#[cfg(not(target_os = "linux"))]
fn is_told_of(_dir: &Path) -> bool {
    true
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
