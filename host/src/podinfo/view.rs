//! The part of the pod's facts that one grant opens, kept up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;

use super::error::PodInfoError;
use super::field::{Map, Meaning};
use super::reading::{Content, FileIndex, Reading};
use super::record::{Sources, Variable, VolumeSource};
use super::syntax::Pairs;
use crate::policy::PodInfoMount;
use crate::volume::RelativePath;

/// Labels and annotations at one moment, as far as the view shows them.
///
/// The content of files comes from one update of the volume. A label or annotation that only a variable projects has
/// its value from the start of the container. Where a file of all labels is shown, such a variable is ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of this state: 1 at first, and one more with each change that this view shows. Other changes do not
    /// count.
    pub revision: u64,
    /// The pairs, sorted by the bytes of the key.
    pub labels: Pairs,
    /// The pairs, sorted by the bytes of the key.
    pub annotations: Pairs,
}

/// Files or variables by name; `None` stands for all.
type Names = Option<BTreeSet<String>>;

/// The files and variables that a view shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// The files of each volume, in the order of the sources.
    files: Vec<Names>,
    variables: Names,
}

impl Sight {
    /// Returns the sight of all files of `volumes` volumes, and of all variables.
    pub(super) fn all(volumes: usize) -> Self {
        Self { files: vec![None; volumes], variables: None }
    }

    /// Returns this sight with only the named files and variables: a view is never wider than its parent.
    pub(super) fn narrowed<S: AsRef<str>>(&self, files: Option<&[S]>, variables: &[S]) -> Self {
        let files = self.files.iter().map(|own| narrowed(own, files)).collect();
        Self { files, variables: self.narrowed_variables(variables) }
    }

    /// Returns this sight with only the files and variables of a grant's mounts: a volume that is not mounted shows
    /// nothing.
    pub(super) fn granted(&self, volumes: &[VolumeSource], mounts: &[PodInfoMount], variables: &[String]) -> Self {
        let files = self.files.iter().zip(volumes).map(|(own, volume)| match volume.granted(volumes, mounts) {
            Some(names) => narrowed(own, names.as_deref()),
            None => Some(BTreeSet::new()),
        });
        Self { files: files.collect(), variables: self.narrowed_variables(variables) }
    }

    fn narrowed_variables<S: AsRef<str>>(&self, variables: &[S]) -> Names {
        let variables = variables.iter().map(|name| name.as_ref().to_owned()).collect();
        Some(common(self.variables.as_ref(), variables))
    }

    pub(super) fn shows_file(&self, volume: usize, path: &RelativePath) -> bool {
        let names = self.files.get(volume);
        names.is_some_and(|names| names.as_ref().is_none_or(|files| files.contains(path.as_str())))
    }

    pub(super) fn shows_variable(&self, name: &str) -> bool {
        self.variables.as_ref().is_none_or(|variables| variables.contains(name))
    }
}

fn narrowed<S: AsRef<str>>(own: &Names, files: Option<&[S]>) -> Names {
    let Some(files) = files else { return own.clone() };
    let clean = |path: &S| RelativePath::new(path.as_ref()).ok().map(|path| path.to_string());
    Some(common(own.as_ref(), files.iter().filter_map(clean).collect()))
}

fn common(own: Option<&BTreeSet<String>>, named: BTreeSet<String>) -> BTreeSet<String> {
    match own {
        Some(own) => own.intersection(&named).cloned().collect(),
        None => named,
    }
}

/// The part of one reading that one sight shows.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) sources: &'a Sources,
    pub(super) sight: &'a Sight,
    pub(super) reading: &'a Reading,
}

impl<'a> Seen<'a> {
    /// Returns the meaning of each file shown, and its index in the reading.
    pub(super) fn files(self) -> impl Iterator<Item = (FileIndex, &'a RelativePath, &'a Meaning)> {
        let volumes = self.sources.volumes.iter().enumerate();
        let files =
            volumes.flat_map(|(v, volume)| volume.files.iter().enumerate().map(move |(f, file)| ((v, f), file)));
        files
            .filter(move |((volume, _), file)| self.sight.shows_file(*volume, &file.path))
            .map(|(index, file)| (index, &file.path, &file.meaning))
    }

    /// Returns the variables shown.
    pub(super) fn variables(self) -> impl Iterator<Item = &'a Variable> {
        self.sources.variables.iter().filter(move |variable| self.sight.shows_variable(&variable.name))
    }

    /// Returns all labels or annotations that are shown: from a file of all of them, or else from single files and
    /// variables.
    fn pairs(self, map: Map) -> Result<Pairs, PodInfoError> {
        match self.whole(map)? {
            Some(pairs) => Ok(pairs.clone()),
            None => self.singles(map),
        }
    }

    fn whole(self, map: Map) -> Result<Option<&'a Pairs>, PodInfoError> {
        let mut failed = None;
        for (index, ..) in self.files().filter(|(_, _, meaning)| meaning.is_all(map)) {
            match self.reading.get(index) {
                Ok(Some(Content::Pairs(pairs))) => return Ok(Some(pairs)),
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Returns the labels or annotations that are projected one by one. A file takes precedence over a variable,
    /// because it follows changes. An empty value is left out: a kubelet also projects it for a key that the pod lacks.
    fn singles(self, map: Map) -> Result<Pairs, PodInfoError> {
        let mut singles = BTreeMap::new();
        for (index, _, meaning) in self.files() {
            if let Some(key) = meaning.key(map)
                && let Some(Content::Text(value)) = self.reading.get(index)?
            {
                singles.entry(key).or_insert(value);
            }
        }
        for variable in self.variables() {
            if let Some(key) = variable.meaning.key(map) {
                singles.entry(key).or_insert(&variable.value);
            }
        }
        singles.retain(|_, value| !value.is_empty());
        Ok(singles.into_iter().map(|(key, value)| (key.to_owned(), value.clone())).collect())
    }
}

/// The newest state of a view.
#[derive(Debug)]
pub(super) enum State {
    /// Both maps are good.
    Whole(Arc<Snapshot>),
    /// At least one of the maps has an error.
    Partial(Partial),
}

#[derive(Debug)]
pub(super) struct Partial {
    /// The last whole snapshot, for its revision and for comparison with the next.
    last: Option<Arc<Snapshot>>,
    error: PodInfoError,
    labels: Result<Pairs, PodInfoError>,
    annotations: Result<Pairs, PodInfoError>,
}

impl State {
    /// Returns the state after a reading, given the last whole snapshot.
    fn after(last: Option<Arc<Snapshot>>, seen: Seen<'_>) -> Self {
        let partial =
            |error: PodInfoError, labels, annotations| Partial { last: last.clone(), error, labels, annotations };
        match (seen.pairs(Map::Labels), seen.pairs(Map::Annotations)) {
            (Ok(labels), Ok(annotations)) => Self::Whole(successor(last, labels, annotations)),
            (Err(error), annotations) => Self::Partial(partial(error.clone(), Err(error), annotations)),
            (labels, Err(error)) => Self::Partial(partial(error.clone(), labels, Err(error))),
        }
    }

    pub(super) fn snapshot(&self) -> Result<Arc<Snapshot>, PodInfoError> {
        match self {
            Self::Whole(snapshot) => Ok(Arc::clone(snapshot)),
            Self::Partial(partial) => Err(partial.error.clone()),
        }
    }

    pub(super) fn value(&self, map: Map, key: &str) -> Result<Option<String>, PodInfoError> {
        let pairs = self.map(map)?;
        let found = pairs.binary_search_by(|(listed, _)| listed.as_str().cmp(key)).ok();
        Ok(found.and_then(|index| pairs.get(index)).map(|(_, value)| value.clone()))
    }

    fn map(&self, map: Map) -> Result<&Pairs, PodInfoError> {
        match (self, map) {
            (Self::Whole(snapshot), Map::Labels) => Ok(&snapshot.labels),
            (Self::Whole(snapshot), Map::Annotations) => Ok(&snapshot.annotations),
            (Self::Partial(partial), Map::Labels) => partial.labels.as_ref().map_err(Clone::clone),
            (Self::Partial(partial), Map::Annotations) => partial.annotations.as_ref().map_err(Clone::clone),
        }
    }

    fn last(&self) -> Option<Arc<Snapshot>> {
        match self {
            Self::Whole(snapshot) => Some(Arc::clone(snapshot)),
            Self::Partial(partial) => partial.last.clone(),
        }
    }

    pub(super) fn is_unreadable(&self) -> bool {
        let unreadable = |pairs: &Result<Pairs, PodInfoError>| pairs.as_ref().is_err_and(PodInfoError::is_unreadable);
        matches!(self, Self::Partial(partial) if unreadable(&partial.labels) || unreadable(&partial.annotations))
    }

    /// Returns whether followers must be woken when this state comes after `earlier`.
    fn is_news_after(&self, earlier: &Self) -> bool {
        match (earlier, self) {
            (Self::Whole(earlier), Self::Whole(now)) => !Arc::ptr_eq(earlier, now),
            (Self::Partial(earlier), Self::Partial(now)) => !now.error.says_as(&earlier.error),
            _ => true,
        }
    }
}

/// Returns the snapshot after `last`, which is `last` itself if nothing changed.
fn successor(last: Option<Arc<Snapshot>>, labels: Pairs, annotations: Pairs) -> Arc<Snapshot> {
    let unchanged = |last: &Arc<Snapshot>| last.labels == labels && last.annotations == annotations;
    match last {
        Some(last) if unchanged(&last) => last,
        last => {
            let revision = last.map_or(1, |last| last.revision.saturating_add(1));
            Arc::new(Snapshot { revision, labels, annotations })
        }
    }
}

/// One sight with its newest state, shared by all its readers.
#[derive(Debug)]
pub(super) struct View {
    pub(super) sight: Sight,
    state: watch::Sender<State>,
}

impl View {
    pub(super) fn new(sight: Sight, sources: &Sources, reading: &Reading) -> Self {
        let state = State::after(None, Seen { sources, sight: &sight, reading });
        Self { state: watch::Sender::new(state), sight }
    }

    /// Applies a newer reading. Followers are woken only if the visible facts have changed.
    pub(super) fn update(&self, sources: &Sources, reading: &Reading) {
        let last = self.state.borrow().last();
        let next = State::after(last, Seen { sources, sight: &self.sight, reading });
        self.state.send_if_modified(|state| {
            let news = next.is_news_after(state);
            *state = next;
            news
        });
    }

    pub(super) fn state(&self) -> watch::Ref<'_, State> {
        self.state.borrow()
    }

    /// Returns a receiver to which the current state is new.
    pub(super) fn subscribe(&self) -> watch::Receiver<State> {
        let mut receiver = self.state.subscribe();
        receiver.mark_changed();
        receiver
    }
}
