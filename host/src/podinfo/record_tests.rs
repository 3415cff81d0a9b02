//! The cases in which the volume is read again, and those in which it is not.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::PodInfo;

/// Nothing is polled while a test lives.
fn podinfo(dir: &Path) -> PodInfo {
    PodInfo::builder().volume(dir).poll_period(Duration::from_hours(1)).build().unwrap()
}

#[test]
fn when_the_thread_ended_the_next_use_starts_another() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("labels"), "app=\"one\"").unwrap();
    let podinfo = podinfo(dir.path());
    podinfo.label("app").unwrap();
    assert!(podinfo.record.followed.load(Ordering::Relaxed));
    podinfo.record.unfollowed();
    fs::write(dir.path().join("labels"), "app=\"two\"").unwrap();
    assert_eq!(podinfo.label("app").unwrap().as_deref(), Some("two"));
    assert!(podinfo.record.followed.load(Ordering::Relaxed));
}

#[test]
fn a_file_that_stays_unreadable_is_not_read_for_every_question() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("..1")).unwrap();
    symlink("..1", dir.path().join("..data")).unwrap();
    symlink("/etc/hostname", dir.path().join("..1/labels")).unwrap();
    let podinfo = podinfo(dir.path());
    // Nothing has been read yet, so there is no thread that reads on its own.
    let before = podinfo.record.reading();
    podinfo.record.retry();
    let same = Arc::ptr_eq(&before, &podinfo.record.reading());
    assert!(same || before.is_due_for_retry(), "read again at once");
}

#[test]
fn a_volume_that_is_missing_is_looked_for_on_every_use() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("podinfo");
    let podinfo = podinfo(&dir);
    assert!(podinfo.label("app").is_err());
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("labels"), "app=\"one\"").unwrap();
    assert_eq!(podinfo.label("app").unwrap().as_deref(), Some("one"));
}
