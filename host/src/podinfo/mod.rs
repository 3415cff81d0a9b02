//! The Downward API: what a pod knows about itself.
//!
//! A [`PodInfo`] reads the Downward API volume and the container's variables as the pod spec says
//! (`downwardAPI.items`, `env`), or by their usual names where nobody gives the spec, and keeps what it read up to date
//! while the pod lives:
//!
//! - Labels and annotations always come from one update of the volume, through `..data`; never from a mixture.
//! - They are kept in memory. One thread for each pod waits in inotify for the swap and reads anew
//!   (see [`POLL_PERIOD`] for where inotify does not do); asking for a label touches no disk.
//! - [`PodInfo::narrowed`] gives the view that one grant opens. What a view does not show is as if it were not
//!   projected, and its changes are no changes: they make no revision and wake no follower.
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
//! # What it means where nobody gives the spec
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
//! As soon as items are given, files have no meaning but theirs; the same holds for variables.

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

/// What a pod knows about itself, as far as one view of it goes.
///
/// Cheap to clone and to narrow; all clones and views share one reading and one watch, which end with the last of them.
/// Readings of the disk are short, bounded ones of files in memory (the kubelet mounts a tmpfs), and block meanwhile.
#[derive(Debug, Clone)]
pub struct PodInfo {
    record: Arc<Record>,
    view: Arc<View>,
}

impl PodInfo {
    /// Starts with no volume and no variables.
    pub fn builder() -> PodInfoBuilder {
        PodInfoBuilder::default()
    }

    /// Who the pod is and where it runs.
    ///
    /// # Errors
    /// When a file that tells it cannot be read, and no variable tells the same.
    pub fn identity(&self) -> Result<Identity, PodInfoError> {
        self.record.see(&self.view, Identity::seen)
    }

    /// The newest labels and annotations.
    ///
    /// # Errors
    /// When a file of them is malformed or cannot be read. Asked again, a volume that could not be read is tried again;
    /// a malformed file is an error until it changes.
    pub fn snapshot(&self) -> Result<Arc<Snapshot>, PodInfoError> {
        self.look(State::snapshot)
    }

    /// The newest value of one label; none if the pod lacks it or does not project it. From memory.
    ///
    /// A label that is projected by itself (`metadata.labels['K']`) and is empty is none: a kubelet writes the empty
    /// text for a label that the pod lacks, too. Where a file of all labels is shown, that file answers, and tells the
    /// two apart.
    ///
    /// # Errors
    /// When a file of labels is malformed or cannot be read.
    pub fn label(&self, key: &str) -> Result<Option<String>, PodInfoError> {
        self.look(|state| state.value(Map::Labels, key))
    }

    /// The newest value of one annotation; as [`PodInfo::label`].
    ///
    /// # Errors
    /// When a file of annotations is malformed or cannot be read.
    pub fn annotation(&self, key: &str) -> Result<Option<String>, PodInfoError> {
        self.look(|state| state.value(Map::Annotations, key))
    }

    /// A request or limit of the named container, if it is projected: millicores for CPU, bytes for all else. The empty
    /// name is the own container.
    ///
    /// Kubernetes has rounded up to the divisor in the pod spec: a coarse divisor gives a coarse bound. Where the
    /// container has no limit, what is projected is what the node can give.
    ///
    /// # Errors
    /// When the number is none, does not fit into 64 bits with its divisor, or cannot be read.
    pub fn resource_bound(&self, container: &str, field: &ResourceField) -> Result<Option<u64>, PodInfoError> {
        self.record.see(&self.view, |seen| identity::bound(seen, container, field))
    }

    /// The files that the volume has and the view shows, with their permission bits, sorted by path. Read from disk.
    ///
    /// # Errors
    /// When a volume cannot be read.
    pub fn files(&self) -> Result<Vec<ProjectedFile>, PodInfoError> {
        files::shown(&self.record.sources.volumes, &self.view.sight)
    }

    /// Starts to follow changes of labels and annotations. Any number may follow; each has its own place.
    pub fn follow(&self) -> Changes {
        self.record.follow();
        Changes::new(Arc::clone(&self.record), Arc::clone(&self.view))
    }

    /// The view that one grant opens: only the named files (none stands for all of them) and the named variables, and
    /// nothing that this view does not show itself.
    ///
    /// Views that show the same are one, and so are their revisions.
    #[must_use]
    pub fn narrowed<S: AsRef<str>>(&self, items: Option<&[S]>, env: &[S]) -> Self {
        let sight = self.view.sight.narrowed(items, env);
        Self { record: Arc::clone(&self.record), view: self.record.view(sight) }
    }

    /// The view that the mounts and variables of a grant open, and nothing that this view does not show itself.
    #[must_use]
    pub fn granted(&self, mounts: &[PodInfoMount], env: &[String]) -> Self {
        let sight = self.view.sight.granted(&self.record.sources.volumes, mounts, env);
        Self { record: Arc::clone(&self.record), view: self.record.view(sight) }
    }

    /// The volume that a mount of a grant shows, if the pod has it.
    pub fn mounted(&self, mount: &PodInfoMount) -> Option<Mounted> {
        self.record.sources.mounted(mount)
    }

    /// Looks at what is in memory; first reads again if the last reading failed, since that may have passed.
    fn look<T>(&self, look: impl FnOnce(&State) -> Result<T, PodInfoError>) -> Result<T, PodInfoError> {
        self.record.follow();
        if self.view.state().is_unreadable() {
            self.record.retry();
        }
        look(&self.view.state())
    }
}
