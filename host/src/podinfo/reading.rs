//! One consistent reading of each volume: every file with a known meaning, all from the same update.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::{Fault, PodInfoError};
use super::field::{Field, Meaning};
use super::item::FileSource;
use super::mounted::holds_credential;
use super::record::VolumeSource;
use super::syntax::{self, Pairs};
use crate::volume::{DATA_LINK, RelativePath, Version, VolumeError, read_consistently, read_single};

/// The most bytes of all annotations together, keys and values (`apimachinery/pkg/api/validation/objectmeta.go`).
pub const MAX_ANNOTATIONS: usize = 256 << 10;

/// The most bytes of a file of all labels or annotations. Quoting makes at most four bytes of one, and the syntax
/// around keys and values adds at most as many again. Labels have no bound of their own, but an object of more than 1.5
/// MiB does not fit into etcd.
pub const MAX_PAIRS_FILE: usize = 8 * MAX_ANNOTATIONS;

/// The most labels or annotations of one file. Each costs the host some hundred bytes beside its text. Annotations of
/// 16 bytes each, keys included, reach this number.
pub const MAX_PAIRS: usize = MAX_ANNOTATIONS / 16;

/// The most bytes of any other file: one annotation may be as long as all of them.
pub const MAX_VALUE_FILE: usize = MAX_ANNOTATIONS;

/// The time for which a reading with an unreadable file is used. A missing volume is checked on each use, which costs
/// one failed open. Reading all files again on each call of a guest would let the guest keep the host busy.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The content of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    Pairs(Pairs),
    Text(String),
}

/// The result of one file; `None` if the volume does not have it.
type Outcome = Result<Option<Content>, PodInfoError>;

/// The index of a file's volume among the sources, and its own index in the volume.
pub(super) type FileIndex = (usize, usize);

/// One reading of all volumes, in the order of the sources.
#[derive(Debug)]
pub(super) struct Reading {
    volumes: Vec<Arc<VolumeReading>>,
}

impl Reading {
    /// Reads all volumes.
    pub(super) fn of(sources: &[VolumeSource]) -> Self {
        Self { volumes: sources.iter().map(|source| Arc::new(VolumeReading::of(source))).collect() }
    }

    /// Returns the next reading if a volume may have changed, or in any case if `anew`. Unchanged volumes are not read
    /// again.
    pub(super) fn after(&self, sources: &[VolumeSource], anew: bool) -> Option<Self> {
        let mut changed = false;
        let next = self.volumes.iter().zip(sources).map(|(last, source)| {
            if last.still_stands(source, anew) {
                return Arc::clone(last);
            }
            changed = true;
            Arc::new(VolumeReading::of(source))
        });
        let volumes = next.collect();
        changed.then_some(Self { volumes })
    }

    /// Returns the content of the source with this index; `None` if the file was not read.
    pub(super) fn get(&self, (volume, file): FileIndex) -> Result<Option<&Content>, PodInfoError> {
        self.volumes.get(volume).map_or(Ok(None), |volume| volume.get(file))
    }

    /// Returns whether a volume or a file of one could not be read.
    pub(super) fn is_unreadable(&self) -> bool {
        self.volumes.iter().any(|volume| volume.is_unreadable())
    }

    /// Returns whether it is time to retry an unreadable file or volume.
    pub(super) fn is_due_for_retry(&self) -> bool {
        self.volumes.iter().any(|volume| volume.is_unreadable() && volume.is_due_for_retry())
    }

    /// Returns whether each volume has a file of interest and was read completely. A directory without such a file may
    /// be the place of a future mount, which inotify does not report.
    pub(super) fn is_settled(&self) -> bool {
        self.volumes.iter().all(|volume| volume.has_any() && !volume.is_unreadable())
    }
}

/// One reading of one volume.
#[derive(Debug)]
struct VolumeReading {
    /// The dated directory that was read; `None` where files may change in place.
    version: Option<String>,
    /// The files in the order of the sources, or the error of the volume.
    files: Result<Vec<Outcome>, PodInfoError>,
    made: Instant,
}

impl VolumeReading {
    /// Reads all files of `source` from the volume's newest version. A file that fails does not affect the others.
    fn of(source: &VolumeSource) -> Self {
        let read = match &source.sub_path {
            Some(path) => read_single(&source.host_path, path).map(|data| (None, single(data, source))),
            None => read_consistently(&source.host_path, |version| {
                let files: Result<_, _> = source.files.iter().map(|source| read_file(version, source)).collect();
                Ok((version.name().filter(|name| *name != DATA_LINK).map(str::to_owned), files?))
            }),
        };
        match read {
            Ok((version, files)) => Self { version, files: Ok(files), made: Instant::now() },
            Err(error) => Self { version: None, files: Err(error.into()), made: Instant::now() },
        }
    }

    fn get(&self, index: usize) -> Result<Option<&Content>, PodInfoError> {
        let files = self.files.as_ref().map_err(Clone::clone)?;
        match files.get(index) {
            Some(Ok(content)) => Ok(content.as_ref()),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(None),
        }
    }

    /// Returns whether a new reading would have the same result: the volume still shows the dated directory that was
    /// read completely. A single file never changes after it was read.
    fn still_stands(&self, source: &VolumeSource, anew: bool) -> bool {
        let dir = &source.host_path;
        let shown = || Version::newest(dir).is_ok_and(|newest| newest.name() == self.version.as_deref());
        let same = || source.sub_path.is_some() || (!anew && self.version.is_some() && shown());
        !self.is_unreadable() && same()
    }

    fn is_unreadable(&self) -> bool {
        let unreadable = |outcome: &Outcome| outcome.as_ref().is_err_and(PodInfoError::is_unreadable);
        self.files.as_ref().map_or(true, |files| files.iter().any(unreadable))
    }

    fn is_due_for_retry(&self) -> bool {
        self.files.is_err() || self.made.elapsed() >= RETRY_PAUSE
    }

    fn has_any(&self) -> bool {
        let there = |outcome: &Outcome| !matches!(outcome, Ok(None));
        self.files.as_ref().is_ok_and(|files| files.iter().any(there))
    }
}

/// Returns the results of a volume of which a single file is mounted.
fn single(data: Vec<u8>, source: &VolumeSource) -> Vec<Outcome> {
    source.files.first().map(|file| understand(data, file)).into_iter().collect()
}

/// Reads and parses one file. The outer error starts the whole reading over, because the version is being deleted.
fn read_file(version: &Version, source: &FileSource) -> Result<Outcome, VolumeError> {
    match version.read(&source.path) {
        Ok(file) => Ok(understand(file.data, source)),
        Err(VolumeError::Missing { .. }) if version.is_current() => Ok(Ok(None)),
        Err(error @ VolumeError::Missing { .. }) => Err(error),
        Err(VolumeError::TooLarge { .. }) => Ok(Err(too_large(source))),
        Err(error) => Ok(Err(error.into())),
    }
}

/// Parses a file as a mount would show it. Content that no kubelet writes for the file's meaning is treated as if the
/// file did not exist. Files of labels and annotations that are cut or damaged are errors instead.
fn understand(data: Vec<u8>, source: &FileSource) -> Outcome {
    let is_map = matches!(source.meaning, Meaning::Field(Field::All(_)));
    if data.len() > limit(&source.meaning) || (is_map && lines(&data) > MAX_PAIRS) {
        return Err(too_large(source));
    }
    if is_map {
        let failed = |error| malformed(&source.path, Fault::Syntax(error));
        let pairs = syntax::parse(&data).map_err(failed)?;
        return Ok(source.meaning.admits(&data).then_some(Content::Pairs(pairs)));
    }
    if matches!(source.meaning, Meaning::Resource(_)) && !holds_credential(&data) {
        // An invalid number is an error for its readers, and the error shows nothing of the text.
        return Ok(Some(Content::Text(syntax::text(data))));
    }
    Ok(source.meaning.admits(&data).then(|| Content::Text(syntax::text(data))))
}

fn lines(data: &[u8]) -> usize {
    data.split(|byte| *byte == b'\n').count()
}

fn limit(meaning: &Meaning) -> usize {
    match meaning {
        Meaning::Field(Field::All(_)) => MAX_PAIRS_FILE,
        _ => MAX_VALUE_FILE,
    }
}

fn too_large(source: &FileSource) -> PodInfoError {
    malformed(&source.path, Fault::TooLarge { limit: limit(&source.meaning) })
}

pub(super) fn malformed(path: &RelativePath, fault: Fault) -> PodInfoError {
    PodInfoError::Malformed { origin: format!("file {path}"), fault }
}
