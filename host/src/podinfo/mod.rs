//! The Downward API: the facts that a pod knows about itself.
//!
//! A [`PodInfo`] reads the Downward API volume and the container's variables as the pod spec says (`downwardAPI.items`,
//! `env`). Without a spec it goes by their usual names. It keeps its facts up to date while the pod lives:
//!
//! - Labels and annotations always come from one update of the volume, through `..data`; never from a mixture.
//! - Labels and annotations are kept in memory, so reading a label touches no disk. One thread for each pod waits in
//!   inotify for the swap and then reads again (see [`POLL_PERIOD`] for volumes on which inotify does not work).
//! - [`PodInfo::narrowed`] returns the view that one grant opens. A fact outside a view looks as if it were not
//!   projected, and its changes are no changes: they create no revision and wake no follower.
//!
//! ```
//! use attache::podinfo::PodInfo;
//!
//! let podinfo = PodInfo::builder().volume("/etc/podinfo").variables(std::env::vars()).build()?;
//! let grant = podinfo.narrowed(Some(&["labels"]), &["POD_NAME"]);
//! let mut changes = grant.follow();
//! match changes.next() {
//!     Ok(Some(snapshot)) => println!("{} labels", snapshot.labels.len()),
//!     Ok(None) => println!("nothing new"),
//!     Err(error) => println!("not in a pod, perhaps: {error}"),
//! }
//! # Ok::<(), attache::podinfo::ItemError>(())
//! ```
//!
//! # Meanings by name, without a pod spec
//!
//! | file | means |
//! | --- | --- |
//! | `labels`, `annotations` | all of them |
//! | `name`, `podName`, `pod_name` | the pod's name |
//! | `namespace`, `podNamespace`, `pod_namespace` | its namespace |
//! | `uid`, `podUid`, `pod_uid` | its UID |
//! | `cpu_limit`, `cpu_request`, `cpuLimit`, `cpuRequest` | own CPU bound, divisor `1m` as in Kubernetes' example |
//! | `mem_limit`, `mem_request`, `memLimit`, `memRequest` | own memory bound, divisor `1Mi` as in Kubernetes' example |
//! | `containerCpuRequestMilliCores`, `containerCpuLimitMilliCores` | own CPU bound, divisor `1m` |
//! | `containerMemoryRequestBytes`, `containerMemoryLimitBytes` | own memory bound, divisor `1` |
//!
//! | variable | means |
//! | --- | --- |
//! | `POD_NAME`, `POD_NAMESPACE`, `POD_UID`, `POD_IP`, `POD_IPS`, `HOST_IP`, `NODE_IP`, `HOST_IPS`, `NODE_NAME` | that field |
//! | `POD_SERVICE_ACCOUNT`, `POD_SERVICE_ACCOUNT_NAME`, `SERVICE_ACCOUNT`, `SERVICE_ACCOUNT_NAME` | the service account |
//! | any of these after `MY_` | the same |
//! | `MY_CPU_LIMIT`, `MY_CPU_REQUEST`, `MY_MEM_LIMIT`, `MY_MEM_REQUEST` | own bound, divisor `1`: cores, bytes |
//! | `CONTAINER_CPU_LIMIT_MILLICORES`, `CONTAINER_CPU_REQUEST_MILLICORES` | own CPU bound |
//! | `CONTAINER_MEMORY_LIMIT_BYTES`, `CONTAINER_MEMORY_REQUEST_BYTES` | own memory bound |
//! | `CONTAINER_MEMORY_LIMIT_KIBIBYTES`, `CONTAINER_MEMORY_REQUEST_KIBIBYTES` | own memory bound |
//!
//! When items are given, only those files have a meaning. The same holds for variables.

mod builder;
mod changes;
mod defaults;
mod error;
mod field;
mod files;
mod follow;
mod identity;
mod item;
mod mounted;
mod reading;
mod record;
pub mod syntax;
mod view;

use std::sync::Arc;

pub use self::builder::{PodInfoBuilder, PodVolume};
pub use self::changes::Changes;
pub use self::error::{Fault, PodInfoError};
use self::field::Map;
pub use self::field::{FieldError, ResourceField};
pub use self::files::ProjectedFile;
pub use self::follow::POLL_PERIOD;
pub use self::identity::Identity;
pub use self::item::{EnvField, EnvSource, FieldRef, Item, ItemError, MAX_ITEMS, ResourceFieldRef};
pub use self::mounted::Mounted;
pub use self::reading::{MAX_ANNOTATIONS, MAX_PAIRS, MAX_PAIRS_FILE, MAX_VALUE_FILE};
use self::record::Record;
pub use self::view::Snapshot;
use self::view::{State, View};
use crate::policy::PodInfoMount;

/// The facts that a pod knows about itself, as far as one view shows them.
///
/// Cheap to clone and to narrow. All clones and views share one reading and one watch, which end with the last of them.
/// Readings from disk are short and bounded, but blocking; the kubelet mounts a tmpfs, so the files are in memory.
#[derive(Debug, Clone)]
pub struct PodInfo {
    record: Arc<Record>,
    view: Arc<View>,
}

impl PodInfo {
    /// Returns a builder with no volume and no variables.
    pub fn builder() -> PodInfoBuilder {
        PodInfoBuilder::default()
    }

    /// Returns the pod's identity and its node.
    ///
    /// # Errors
    /// When a file with one of these facts cannot be read, and no variable has the same fact.
    pub fn identity(&self) -> Result<Identity, PodInfoError> {
        self.record.see(&self.view, Identity::seen)
    }

    /// Returns the newest labels and annotations.
    ///
    /// # Errors
    /// When a file of labels or annotations is malformed or cannot be read. The next call tries an unreadable volume
    /// again; a malformed file is an error until it changes.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, PodInfoError> {
        self.look(State::snapshot)
    }

    /// Returns the newest value of one label, from memory; `None` if the pod lacks the label or does not project it.
    ///
    /// A label that is projected by itself (`metadata.labels['K']`) is `None` if it is empty, because a kubelet writes
    /// the empty text also for a label that the pod lacks. Where a file of all labels is shown, that file decides, and
    /// an empty label differs from a missing one.
    ///
    /// # Errors
    /// When a file of labels is malformed or cannot be read.
    pub fn label(&self, key: &str) -> Result<Option<String>, PodInfoError> {
        self.look(|state| state.value(Map::Labels, key))
    }

    /// Returns the newest value of one annotation, like [`PodInfo::label`].
    ///
    /// # Errors
    /// When a file of annotations is malformed or cannot be read.
    pub fn annotation(&self, key: &str) -> Result<Option<String>, PodInfoError> {
        self.look(|state| state.value(Map::Annotations, key))
    }

    /// Returns a request or limit of the named container, if it is projected: millicores for CPU, bytes for all else.
    /// The empty name is the own container.
    ///
    /// Kubernetes has rounded up to the divisor in the pod spec: a coarse divisor gives a coarse bound. For a container
    /// without a limit, Kubernetes projects the capacity that the node can give.
    ///
    /// # Errors
    /// When the text is no number, the number with its divisor does not fit into 64 bits, or the file cannot be read.
    pub fn resource_bound(&self, container: &str, field: &ResourceField) -> Result<Option<u64>, PodInfoError> {
        self.record.see(&self.view, |seen| identity::bound(seen, container, field))
    }

    /// Returns the files that the volume has and the view shows, with their permission bits, sorted by path. Reads from
    /// disk.
    ///
    /// # Errors
    /// When a volume cannot be read.
    pub fn files(&self) -> Result<Vec<ProjectedFile>, PodInfoError> {
        files::shown(&self.record.sources.volumes, &self.view.sight)
    }

    /// Starts to follow changes of labels and annotations. Any number of followers is possible; each has its own place.
    pub fn follow(&self) -> Changes {
        self.record.follow();
        Changes::new(Arc::clone(&self.record), Arc::clone(&self.view))
    }

    /// Returns the view that one grant opens: only the named files (`None` stands for all files) and the named
    /// variables. It shows nothing that this view does not show.
    ///
    /// Views that show the same facts are one view, with one revision.
    #[must_use]
    pub fn narrowed<S: AsRef<str>>(&self, items: Option<&[S]>, env: &[S]) -> Self {
        let sight = self.view.sight.narrowed(items, env);
        Self { record: Arc::clone(&self.record), view: self.record.view(sight) }
    }

    /// Returns the view that the mounts and variables of a grant open. It shows nothing that this view does not show.
    #[must_use]
    pub fn granted(&self, mounts: &[PodInfoMount], env: &[String]) -> Self {
        let sight = self.view.sight.granted(&self.record.sources.volumes, mounts, env);
        Self { record: Arc::clone(&self.record), view: self.record.view(sight) }
    }

    /// Returns the volume that a mount of a grant shows, if the pod has it.
    pub fn mounted(&self, mount: &PodInfoMount) -> Option<Mounted> {
        self.record.sources.mounted(mount)
    }

    /// Looks at the state in memory. If the last reading failed, reads again first, because the cause may be gone.
    fn look<T>(&self, look: impl FnOnce(&State) -> Result<T, PodInfoError>) -> Result<T, PodInfoError> {
        self.record.follow();
        if self.view.state().is_unreadable() {
            self.record.retry();
        }
        look(&self.view.state())
    }
}
