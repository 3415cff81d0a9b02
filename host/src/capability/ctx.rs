//! What one guest's store holds for `attache:pod`.

use crate::cluster::Cluster;
use crate::gate::Gate;
use crate::podinfo::PodInfo;
use wasmtime::component::ResourceTable;

/// The pod and the API server as one guest may see them. Cheap to clone: clones share the pod, the gate's budgets and
/// the connections.
#[derive(Clone, Debug)]
pub struct PodCtx {
    pub(super) pod: PodInfo,
    pub(super) gate: Gate,
    pub(super) cluster: Option<Cluster>,
}

impl PodCtx {
    /// Opens as much of `pod` as the gate's grant names, and no API server: calls of `api` answer `unavailable`.
    pub fn new(pod: &PodInfo, gate: Gate) -> Self {
        let grant = gate.grant();
        let items = match &grant.podinfo {
            Some(mount) => mount.items.as_deref(),
            None => Some(&[][..]),
        };
        let pod = pod.narrowed(items, &grant.env);
        Self { pod, gate, cluster: None }
    }

    /// Answers calls of `api` from this API server, as far as the gate lets them pass.
    #[must_use]
    pub fn with_cluster(mut self, cluster: Cluster) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Returns the gate that judges this guest's requests.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Returns what the grant opens of the pod.
    pub fn pod_info(&self) -> &PodInfo {
        &self.pod
    }
}

/// Gives access to the [`PodCtx`] inside the embedder's store data.
pub trait PodView: Send {
    /// Returns the context and the table of the guest's handles.
    fn pod(&mut self) -> PodCtxView<'_>;
}

/// What the host functions of `attache:pod` work on.
pub struct PodCtxView<'a> {
    /// The guest's pod and API server.
    pub ctx: &'a mut PodCtx,
    /// The guest's handles. Bound it with `ResourceTable::set_max_capacity`.
    pub table: &'a mut ResourceTable,
}
