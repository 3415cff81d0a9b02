//! The newest version of a volume, kept in memory.
//!
//! Threat: a mount that shows every file of a directory. Only a kubelet's volume can be kept, and of that only the
//! files that a [`Choice`] knows and admits. A file that the choice does not know is not even read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, openat, readlinkat};
use rustix::io::Errno;

use super::path::RelativePath;
use super::version::{Version, is_single_element, read_consistently, read_plain};
use super::{DATA_LINK, VolumeError};

/// The most that is kept of one volume, in bytes. A pod's object has at most some 1.5 MiB (etcd's limit), and quoting
/// makes at most four bytes of one.
pub const MAX_VOLUME: usize = 8 << 20;

/// The most left-out files that are named: enough to see the kind of a volume.
pub const MAX_LEFT_OUT: usize = 64;

/// The pause after a version that could not be read: each open of a guest asks for the newest version.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Directories of the kernel, in which no kubelet mounts a volume.
const OF_KERNEL: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Decides which files of a volume are kept.
pub trait Choice {
    /// Returns whether the file was asked for. Any other file is not reported as left out.
    fn names(&self, path: &RelativePath) -> bool;

    /// Returns whether a file with this path may be read at all.
    fn knows(&self, path: &RelativePath) -> bool;

    /// Returns whether the file may be shown with this content.
    fn admits(&self, path: &RelativePath, data: &[u8]) -> bool;
}

/// One file of a kept version.
#[derive(Debug, Clone)]
pub struct KeptFile {
    /// The whole content, or the kind of the error with which reading it failed.
    pub data: Result<Bytes, io::ErrorKind>,
    /// The permission bits.
    pub mode: u32,
}

/// One version of a volume, whole.
#[derive(Debug, Clone)]
pub struct KeptVersion {
    /// The name of the dated directory.
    pub name: String,
    /// The time when it was written.
    pub modified: SystemTime,
    /// The files that were chosen.
    pub files: BTreeMap<RelativePath, KeptFile>,
    /// The first of the files that were asked for and are not shown, at most [`MAX_LEFT_OUT`].
    pub left_out: Vec<RelativePath>,
}

/// A volume on disk, the newest version of which is kept in memory.
pub struct KeptVolume<C> {
    directory: PathBuf,
    choice: C,
    state: Mutex<State>,
}

struct State {
    version: Arc<KeptVersion>,
    /// The time of the last try, if it failed.
    failed: Option<Instant>,
    /// The error of the first try that failed, until [`KeptVolume::take_error`].
    error: Option<VolumeError>,
}

impl<C: Choice> KeptVolume<C> {
    /// Reads the newest version of the volume at `directory`.
    ///
    /// # Errors
    /// [`VolumeError::NotAVolume`] for a directory without the layout of a kubelet's volume, and for the kernel's
    /// directories; the errors of [`read_consistently`].
    pub fn open(directory: impl Into<PathBuf>, choice: C) -> Result<Self, VolumeError> {
        let directory = directory.into();
        refuse_kernel(&directory)?;
        let version = Arc::new(read(&directory, &choice)?);
        Ok(Self { directory, choice, state: Mutex::new(State { version, failed: None, error: None }) })
    }

    /// Returns the newest version. While the volume has not changed, the cost is one look at a link. A version that
    /// cannot be read is tried again a second later; until then the version before it is returned.
    pub fn newest(&self) -> Arc<KeptVersion> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = state.failed.is_some_and(|failed| failed.elapsed() < RETRY_PAUSE);
        if waits || dated_name(&self.directory).is_ok_and(|name| name == state.version.name) {
            return Arc::clone(&state.version);
        }
        match read(&self.directory, &self.choice) {
            Ok(version) => *state = State { version: Arc::new(version), failed: None, error: None },
            Err(error) => {
                if state.failed.is_none() {
                    state.error = Some(error);
                }
                state.failed = Some(Instant::now());
            }
        }
        Arc::clone(&state.version)
    }

    /// Takes the first error since the volume could last be read. Each such series of errors is returned once.
    pub fn take_error(&self) -> Option<VolumeError> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).error.take()
    }
}

impl<C> std::fmt::Debug for KeptVolume<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptVolume").field("directory", &self.directory).finish_non_exhaustive()
    }
}

/// Reads the single file `path` of a volume: from the volume's directory, or from `host_path` itself where it is the
/// file, as in a container that mounts it by `subPath`.
///
/// # Errors
/// As [`KeptVolume::open`]; [`VolumeError::Missing`] if there is no such file.
pub fn read_single(host_path: &Path, path: &RelativePath) -> Result<Vec<u8>, VolumeError> {
    refuse_kernel(host_path)?;
    if host_path.is_dir() {
        dated_name(host_path)?;
        return read_consistently(host_path, |version| version.read(path).map(|file| file.data));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(CWD, host_path, flags, Mode::empty())
        .map_err(|error: Errno| VolumeError::io("open", host_path)(error.into()))?;
    read_plain(file, host_path).map(|file| file.data)
}

fn refuse_kernel(directory: &Path) -> Result<(), VolumeError> {
    let real = fs::canonicalize(directory).map_err(VolumeError::io("open the volume", directory))?;
    let is_root = real.components().all(|component| component == Component::RootDir);
    if is_root || OF_KERNEL.iter().any(|kernel| real.starts_with(kernel)) {
        return Err(VolumeError::NotAVolume { path: directory.into() });
    }
    Ok(())
}

/// Returns the dated directory that `..data` names. Only that link makes a directory a volume.
fn dated_name(directory: &Path) -> Result<String, VolumeError> {
    let not_a_volume = || VolumeError::NotAVolume { path: directory.into() };
    let target = match readlinkat(CWD, directory.join(DATA_LINK), Vec::new()) {
        Ok(target) => target,
        Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR) => return Err(not_a_volume()),
        Err(error) => return Err(VolumeError::io("read the link", directory.join(DATA_LINK))(error.into())),
    };
    let dated = |name: &&str| is_single_element(name) && name.starts_with("..") && *name != DATA_LINK;
    target.to_str().ok().filter(dated).map(str::to_owned).ok_or_else(not_a_volume)
}

fn read(directory: &Path, choice: &impl Choice) -> Result<KeptVersion, VolumeError> {
    dated_name(directory)?;
    read_consistently(directory, |version| {
        let name = version.name().filter(|name| name.starts_with("..") && *name != DATA_LINK);
        let name = name.ok_or_else(|| VolumeError::NotAVolume { path: directory.into() })?.to_owned();
        let modified = fs::metadata(directory.join(&name)).and_then(|status| status.modified());
        let mut kept = KeptVersion {
            name,
            modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
            files: BTreeMap::new(),
            left_out: Vec::new(),
        };
        let mut room = MAX_VOLUME;
        for path in version.entries()? {
            match keep(version, &path, choice, &mut room)? {
                Some(file) => drop(kept.files.insert(path, file)),
                None if choice.names(&path) && kept.left_out.len() < MAX_LEFT_OUT => kept.left_out.push(path),
                None => {}
            }
        }
        // A version that was being deleted while it was listed may have been listed in part.
        if version.is_current() { Ok(kept) } else { Err(VolumeError::Missing { path: directory.into() }) }
    })
}

/// Reads one file, if it is chosen. The error starts over: the version is being deleted.
fn keep(
    version: &Version,
    path: &RelativePath,
    choice: &impl Choice,
    room: &mut usize,
) -> Result<Option<KeptFile>, VolumeError> {
    if !choice.knows(path) {
        return Ok(None);
    }
    let unreadable = |kind| Ok(Some(KeptFile { data: Err(kind), mode: 0 }));
    match version.read(path) {
        Ok(file) if file.data.len() > *room => unreadable(io::ErrorKind::FileTooLarge),
        Ok(file) if choice.admits(path, &file.data) => {
            *room = room.saturating_sub(file.data.len());
            Ok(Some(KeptFile { data: Ok(file.data.into()), mode: file.mode & 0o777 }))
        }
        Ok(_) => Ok(None),
        Err(error @ VolumeError::Missing { .. }) => Err(error),
        Err(VolumeError::TooLarge { .. }) => unreadable(io::ErrorKind::FileTooLarge),
        Err(VolumeError::Io { source, .. }) => unreadable(source.kind()),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{AtomicWriter, File};
    use super::*;
    use std::os::unix::fs::symlink;

    struct Named(&'static [&'static str]);

    impl Choice for Named {
        fn names(&self, _path: &RelativePath) -> bool {
            true
        }

        fn knows(&self, path: &RelativePath) -> bool {
            self.0.contains(&path.as_str())
        }

        fn admits(&self, _path: &RelativePath, data: &[u8]) -> bool {
            data != b"secret"
        }
    }

    fn write(directory: &Path, files: &[(&str, &str)]) {
        let file = |text: &str| File { data: text.into(), mode: 0o640 };
        let files = files.iter().map(|(name, text)| (RelativePath::new(name).unwrap(), file(text))).collect();
        AtomicWriter::open(directory).unwrap().write(&files).unwrap();
    }

    fn shown(version: &KeptVersion) -> Vec<(&str, Bytes)> {
        version.files.iter().map(|(path, file)| (path.as_str(), file.data.clone().unwrap())).collect()
    }

    #[test]
    fn what_is_not_chosen_is_left_out_and_named() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &[("labels", "a"), ("name", "secret"), ("deep/token", "t")]);
        let volume = KeptVolume::open(directory.path(), Named(&["labels", "name"])).unwrap();
        let version = volume.newest();
        assert_eq!(shown(&version), [("labels", Bytes::from_static(b"a"))]);
        assert_eq!(version.left_out.iter().map(RelativePath::as_str).collect::<Vec<_>>(), ["deep/token", "name"]);
        assert_eq!(version.files.values().next().unwrap().mode, 0o640);
    }

    #[test]
    fn a_change_is_seen_at_the_next_look_and_no_change_gives_the_same_version() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &[("labels", "a")]);
        let volume = KeptVolume::open(directory.path(), Named(&["labels"])).unwrap();
        let first = volume.newest();
        assert!(Arc::ptr_eq(&first, &volume.newest()));
        write(directory.path(), &[("labels", "b")]);
        assert_eq!(shown(&volume.newest()), [("labels", Bytes::from_static(b"b"))]);
        std::fs::remove_dir_all(directory.path()).unwrap();
        assert_eq!(shown(&volume.newest()), [("labels", Bytes::from_static(b"b"))]);
    }

    #[test]
    fn only_a_kubelets_volume_is_one() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("labels"), "a").unwrap();
        let refused = |path: &Path| {
            let opened = KeptVolume::open(path, Named(&["labels"]));
            assert!(matches!(opened, Err(VolumeError::NotAVolume { .. })), "{}", path.display());
        };
        for path in
            [directory.path(), Path::new("/proc/self"), Path::new("/"), Path::new("/sys"), Path::new("/dev/shm")]
        {
            refused(path);
        }
        for target in ["/proc/self", "..data", ".", "..", "../x", "plain"] {
            let link = directory.path().join(DATA_LINK);
            symlink(target, &link).unwrap();
            refused(directory.path());
            fs::remove_file(link).unwrap();
        }
    }
}
