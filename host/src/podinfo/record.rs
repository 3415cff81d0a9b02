//! The one record of a pod that all its views share: the projected files and variables, their newest reading, and the
//! views.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::field::Meaning;
use super::follow::{self, Following};
use super::item::FileSource;
use super::reading::Reading;
use super::view::{Seen, Sight, View};
use crate::policy::MountPath;
use crate::volume::RelativePath;

/// The files and variables that are projected into the container.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) volumes: Vec<VolumeSource>,
    pub(super) variables: Vec<Variable>,
    /// The container that the variables belong to, where its name is known.
    pub(super) container: Option<String>,
}

/// One Downward API volume of the container, or one file of it.
#[derive(Debug)]
pub(super) struct VolumeSource {
    /// The volume's directory on the host; with `sub_path` it may be the file itself.
    pub(super) host_path: PathBuf,
    /// The path at which the container sees the volume; `None` stands for wherever a grant mounts it.
    pub(super) mount_path: Option<MountPath>,
    /// The one file that is mounted. It is read once, because it never changes.
    pub(super) sub_path: Option<RelativePath>,
    /// The files whose meaning is known.
    pub(super) files: Vec<FileSource>,
}

/// A variable with a known meaning.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) meaning: Meaning,
}

/// The state that all views and followers of one pod share. Dropping the last of them ends the following.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) sources: Sources,
    following: Following,
    newest: Mutex<Newest>,
    /// Set once the follower's thread runs. From then on, reading from memory is enough.
    followed: AtomicBool,
    waker: Mutex<Option<SyncSender<()>>>,
}

#[derive(Debug)]
struct Newest {
    reading: Arc<Reading>,
    /// One view for each sight in use. Two extensions with the same grant share one view and its memory.
    views: Vec<Weak<View>>,
}

impl Record {
    /// Reads the volume for the first time. Following starts only with the first use.
    pub(super) fn new(sources: Sources, following: Following) -> Self {
        let reading = Reading::of(&sources.volumes);
        let newest = Newest { reading: Arc::new(reading), views: Vec::new() };
        Self {
            sources,
            following,
            newest: Mutex::new(newest),
            followed: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// Returns the existing view with this sight, or a new one.
    pub(super) fn view(&self, sight: Sight) -> Arc<View> {
        let mut newest = lock(&self.newest);
        newest.views.retain(|view| view.strong_count() > 0);
        let same = newest.views.iter().filter_map(Weak::upgrade).find(|view| view.sight == sight);
        same.unwrap_or_else(|| {
            let view = Arc::new(View::new(sight, &self.sources, &newest.reading));
            newest.views.push(Arc::downgrade(&view));
            view
        })
    }

    /// Calls `look` with the newest reading as a view shows it. An unreadable one is read again first.
    pub(super) fn see<T>(self: &Arc<Self>, view: &View, look: impl FnOnce(Seen<'_>) -> T) -> T {
        self.follow();
        if self.reading().is_unreadable() {
            self.retry();
        }
        look(Seen { sources: &self.sources, sight: &view.sight, reading: &self.reading() })
    }

    fn reading(&self) -> Arc<Reading> {
        Arc::clone(&lock(&self.newest).reading)
    }

    /// Keeps the state in memory up to date: by the follower's thread, or by reading now where the system gives no
    /// thread.
    pub(super) fn follow(self: &Arc<Self>) {
        if self.followed.load(Ordering::Acquire) {
            return;
        }
        let changing: Vec<_> = self.sources.volumes.iter().filter(|volume| volume.sub_path.is_none()).collect();
        if changing.is_empty() {
            return;
        }
        self.start_following(changing.iter().map(|volume| volume.host_path.clone()).collect());
        // Catches changes between the first reading and the watch.
        self.refresh(false);
        // Under the lock, since the thread may have ended already.
        let waker = lock(&self.waker);
        self.followed.store(waker.is_some(), Ordering::Release);
    }

    fn start_following(self: &Arc<Self>, directories: Vec<PathBuf>) {
        let mut waker = lock(&self.waker);
        if waker.is_none() {
            let started = follow::start(Arc::downgrade(self), directories, self.following);
            let failed = |error: &io::Error| tracing::debug!(%error, "no thread: podinfo is read on each use");
            *waker = started.inspect_err(failed).ok();
        }
    }

    /// Marks the record as not followed when the thread has ended before the record. The next use starts another
    /// thread.
    pub(super) fn unfollowed(&self) {
        let mut waker = lock(&self.waker);
        *waker = None;
        self.followed.store(false, Ordering::Release);
    }

    /// Reads again after a failure, because the cause may be gone.
    pub(super) fn retry(&self) {
        if self.reading().is_due_for_retry() {
            self.refresh(false);
        }
    }

    /// Reads the volumes that may have changed, or all of them if `anew`, and updates the views. Returns whether
    /// inotify reports the next change of every volume.
    pub(super) fn refresh(&self, anew: bool) -> bool {
        let mut newest = lock(&self.newest);
        if let Some(next) = newest.reading.after(&self.sources.volumes, anew) {
            newest.reading = Arc::new(next);
            let Newest { reading, views } = &mut *newest;
            views.retain(|view| view.upgrade().inspect(|view| view.update(&self.sources, reading)).is_some());
        }
        newest.reading.is_settled()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(waker) = lock(&self.waker).take() {
            // A full channel means that the thread is about to wake anyway. It then finds no record.
            let _ = waker.try_send(());
        }
    }
}

/// Locks a mutex. A panic elsewhere leaves the value complete, so poisoning is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
