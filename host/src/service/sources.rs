//! Manifests in files and folders, applied to a supervisor whenever they change.
//!
//! A folder may be the volume of a ConfigMap: its files are links into `..data`, which the kubelet exchanges
//! atomically. Files whose names begin with a dot are ignored, and so are files with a grant, because manifests name
//! their grants.
//!
//! Threat: a half-written file that removes an extension. A manifest that is not valid, or whose component does not
//! load, leaves the previous version in place. Only a deleted file removes its extension.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::definition::{Definition, DefinitionError};
use super::supervisor::Supervisor;
use super::version::ServiceError;

/// The largest number of manifests that are read from all paths together.
const MAX_MANIFESTS: usize = 20_000;

/// The quiet time after a change before files are read. Editors and kubelets change several files in a row.
const SETTLE: Duration = Duration::from_millis(10);

/// The longest time for which changes are collected before files are read.
const SETTLE_WITHIN: Duration = Duration::from_millis(200);

/// The interval of checks for changed files when the system reports changes of all folders.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// The interval of checks for changed files when the system does not report the changes of a folder.
const POLL_EVERY: Duration = Duration::from_secs(5);

/// The metadata of one extension's files when they were last applied. A change of any file means a new version.
#[derive(Debug, PartialEq, Eq)]
struct Seen(Vec<Option<(u64, u64, i64, i64)>>);

impl Seen {
    fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let seen = |found: Metadata| (found.ino(), found.len(), found.mtime(), found.mtime_nsec());
        Self(files.into_iter().map(|file| std::fs::metadata(file).ok().map(seen)).collect())
    }
}

/// One manifest that was applied, successfully or not.
struct Kept {
    name: String,
    /// The manifest, its grant's file and its component.
    files: Vec<PathBuf>,
    seen: Seen,
    applied: bool,
}

impl Kept {
    fn has_changed(&self) -> bool {
        self.seen != Seen::of(self.files.iter().map(PathBuf::as_path))
    }
}

/// The files and folders of manifests that a supervisor follows.
///
/// ```no_run
/// use attache::service::{Sources, Supervisor};
///
/// # async fn example(supervisor: Supervisor) {
/// let mut sources = Sources::new(["/etc/attache/extensions"]);
/// for (path, error) in sources.sync(&supervisor).await {
///     eprintln!("{}: {error}", path.display());
/// }
/// # }
/// ```
pub struct Sources {
    paths: Vec<PathBuf>,
    kept: BTreeMap<PathBuf, Kept>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl Sources {
    /// Makes sources of files and folders. Nothing is read yet.
    pub fn new(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { paths: paths.into_iter().map(Into::into).collect(), kept: BTreeMap::new() }
    }

    /// Returns the definition of each manifest, by its file.
    ///
    /// # Errors
    /// The second part of a pair is an error if the manifest is not valid, or if the file or folder cannot be read.
    pub fn read(&self) -> Vec<(PathBuf, Result<Definition, DefinitionError>)> {
        let (found, mut read) = self.manifests();
        for path in found {
            match Definition::read(&path) {
                Err(error) if error.is_of_a_grant() => {}
                definition => read.push((path, definition)),
            }
        }
        read
    }

    /// Returns the files that may be manifests, and the paths that cannot be read.
    #[expect(clippy::type_complexity, reason = "both halves are results of the same walk")]
    fn manifests(&self) -> (BTreeSet<PathBuf>, Vec<(PathBuf, Result<Definition, DefinitionError>)>) {
        let (mut found, mut failed) = (BTreeSet::new(), Vec::new());
        for path in &self.paths {
            if !path.is_dir() {
                found.insert(path.clone());
                continue;
            }
            match std::fs::read_dir(path) {
                Ok(entries) => found.extend(entries.flatten().map(|entry| entry.path()).filter(|path| is_yaml(path))),
                Err(source) => failed.push((path.clone(), Err(DefinitionError::Read { path: path.clone(), source }))),
            }
        }
        (found.into_iter().take(MAX_MANIFESTS).collect(), failed)
    }

    /// Applies the manifests that have changed since the last call. Returns the manifests that cannot be applied, each
    /// with its error.
    pub async fn sync(&mut self, supervisor: &Supervisor) -> Vec<(PathBuf, ServiceError)> {
        self.sync_those(supervisor, false).await
    }

    /// Applies the manifests that have changed, and retries those that could not be applied before. Returns the
    /// manifests that cannot be applied, each with its error.
    pub async fn retry(&mut self, supervisor: &Supervisor) -> Vec<(PathBuf, ServiceError)> {
        self.sync_those(supervisor, true).await
    }

    async fn sync_those(&mut self, supervisor: &Supervisor, retry: bool) -> Vec<(PathBuf, ServiceError)> {
        let (found, failed) = self.manifests();
        let mut errors: Vec<_> =
            failed.into_iter().filter_map(|(path, error)| Some((path, error.err()?.into()))).collect();
        // While a folder cannot be read, no extension is removed.
        if errors.is_empty() {
            self.remove_those_gone(&found, supervisor).await;
        }
        for path in found {
            let known = self.kept.get(&path);
            if known.is_some_and(|kept| (kept.applied || !retry) && !kept.has_changed()) {
                continue;
            }
            if let Err(error) = self.apply(&path, supervisor).await {
                errors.push((path, error));
            }
        }
        errors
    }

    async fn remove_those_gone(&mut self, found: &BTreeSet<PathBuf>, supervisor: &Supervisor) {
        let gone: Vec<_> = self.kept.keys().filter(|path| !found.contains(*path)).cloned().collect();
        for path in gone {
            let Some(kept) = self.kept.remove(&path) else { continue };
            supervisor.forget_failure(&path);
            if !self.kept.values().any(|other| other.name == kept.name) {
                supervisor.remove(&kept.name).await;
            }
        }
    }

    async fn apply(&mut self, path: &Path, supervisor: &Supervisor) -> Result<(), ServiceError> {
        // The first reading names the files. The second follows the look at them, so that a change after the look is
        // noticed at the next one, and no half-written file is taken for the last word.
        let named = Definition::read(path);
        let files_of = |read: &Result<Definition, DefinitionError>| match read {
            Ok(found) => found.files.iter().cloned().chain([found.component()]).collect(),
            Err(_) => vec![path.to_owned()],
        };
        let files = files_of(&named);
        let seen = Seen::of(files.iter().map(PathBuf::as_path));
        let definition = match Definition::read(path) {
            Err(error) if error.is_of_a_grant() => return Ok(()),
            definition => definition,
        };
        // Files that only the second reading names have not been looked at: they count as changed next time.
        let files = if definition.is_ok() { files_of(&definition) } else { files };
        let name = match (&definition, self.kept.get(path)) {
            (Ok(definition), _) => definition.manifest.name.clone(),
            (Err(_), Some(kept)) => kept.name.clone(),
            (Err(_), None) => String::new(),
        };
        let twice = self.kept.iter().find(|(other, kept)| *other != path && kept.name == name && !name.is_empty());
        let applied = match (definition, twice) {
            (Err(error), _) => Err(error.into()),
            (Ok(_), Some((other, _))) => Err(ServiceError::Twice { name: name.clone(), other: other.clone() }),
            (Ok(definition), None) => {
                if let Some(kept) = self.kept.get(path).filter(|kept| kept.name != name) {
                    supervisor.remove(&kept.name).await;
                }
                supervisor.apply(definition).await
            }
        };
        supervisor.report(path, &name, applied.as_ref().err());
        self.kept.insert(path.to_owned(), Kept { name, files, seen, applied: applied.is_ok() });
        applied
    }

    /// Applies changes as they happen, until the future is dropped. A message in `wake` checks all files immediately
    /// and retries all manifests that failed.
    ///
    /// Errors are logged, and are part of the [statuses](Supervisor::statuses).
    pub async fn follow(mut self, supervisor: &Supervisor, mut wake: mpsc::Receiver<()>) {
        let (changed, mut changes) = mpsc::channel(1);
        let mut watcher = Folders::new(changed);
        loop {
            let watched = watcher.watch(&self);
            let every = if watched.all { LOOK_EVERY } else { POLL_EVERY };
            let retry = tokio::select! {
                biased;
                // Changes from before the folder was watched were not reported.
                () = std::future::ready(()), if watched.more => false,
                Some(()) = wake.recv() => true,
                Some(()) = changes.recv() => {
                    let _ = timeout(SETTLE_WITHIN, async {
                        while timeout(SETTLE, changes.recv()).await.is_ok() {}
                    })
                    .await;
                    false
                }
                () = sleep(every) => true,
            };
            for (path, error) in self.sync_those(supervisor, retry).await {
                let error = crate::telemetry::legible(&crate::telemetry::chain(&error).to_string());
                tracing::error!(path = %path.display(), error, "an extension is not (re)loaded");
            }
        }
    }
}

fn is_yaml(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    !name.starts_with(b".") && path.extension().is_some_and(|end| end == "yaml" || end == "yml") && path.is_file()
}

/// The result of [`Folders::watch`].
struct Watched {
    /// True when the system reports changes in all folders.
    all: bool,
    /// True when a folder is watched now that was not watched before.
    more: bool,
}

/// The watched folders of manifests, grants and components.
struct Folders {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Folders {
    fn new(changed: mpsc::Sender<()>) -> Self {
        let told = move |event: notify::Result<notify::Event>| {
            // Reading changes nothing.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                // A signal that is waiting already stands for this change too.
                let _ = changed.try_send(());
            }
        };
        Self { watcher: notify::recommended_watcher(told).ok(), watched: BTreeSet::new() }
    }

    /// Watches all folders of the current manifests, and no others.
    fn watch(&mut self, sources: &Sources) -> Watched {
        let Some(watcher) = &mut self.watcher else { return Watched { all: false, more: false } };
        let files = sources.kept.values().flat_map(|kept| &kept.files).filter_map(|file| file.parent());
        let named = sources.paths.iter().map(|path| if path.is_dir() { path } else { path.parent().unwrap_or(path) });
        let wanted: BTreeSet<PathBuf> = files.chain(named).map(|folder| folder.join(".")).collect();
        for gone in self.watched.difference(&wanted) {
            let _ = watcher.unwatch(gone);
        }
        let kept: BTreeSet<_> = wanted
            .iter()
            .filter(|folder| {
                self.watched.contains(*folder) || watcher.watch(folder, RecursiveMode::NonRecursive).is_ok()
            })
            .cloned()
            .collect();
        let more = kept.iter().any(|folder| !self.watched.contains(folder));
        self.watched = kept;
        Watched { all: self.watched.len() == wanted.len(), more }
    }
}
