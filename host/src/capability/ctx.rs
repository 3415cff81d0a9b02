//! What one guest's store holds for `attache:pod`.

use std::time::Instant;

use wasmtime::component::ResourceTable;

use super::http::HttpCtx;
use crate::ambassador::ScopedTokens;
use crate::ambassador::egress::EgressClient;
use crate::cluster::ApiClient;
use crate::gate::Gate;
use crate::podinfo::PodInfo;

/// The pod and the API server as one guest may see them. Cheap to clone: clones share the pod, the gate's budgets and
/// the connections.
#[derive(Clone, Debug)]
pub struct PodCtx {
    pub(super) pod: PodInfo,
    pub(super) gate: Gate,
    pub(super) cluster: Option<ApiClient>,
    pub(super) http: HttpCtx,
}

impl PodCtx {
    /// Opens as much of `pod` as the gate's grant names, and no API server: calls of `api` answer `unavailable`.
    pub fn new(pod: &PodInfo, gate: Gate) -> Self {
        let grant = gate.grant();
        let mut http = HttpCtx::new(gate.clone());
        // All that is known of the pod, whatever the grant shows of it: its own addresses are no destinations.
        let addresses = pod.identity().map(|identity| identity.pod_ips).unwrap_or_default();
        http.set_pod(&addresses.iter().filter_map(|address| address.parse().ok()).collect::<Vec<_>>());
        let pod = pod.granted(&grant.podinfo, &grant.env);
        Self { pod, gate, cluster: None, http }
    }

    /// Answers calls of `api`, and plain HTTP to the API server's names, from this API server, as far as the gate lets
    /// them pass.
    #[must_use]
    pub fn with_cluster(mut self, cluster: ApiClient) -> Self {
        self.http.set_cluster(cluster.clone());
        self.cluster = Some(cluster);
        self
    }

    /// Takes these tokens in the guest's plain HTTP to the API server: those that it was given as files. Without them a
    /// request that carries any is refused.
    #[must_use]
    pub fn with_tokens(mut self, tokens: ScopedTokens) -> Self {
        self.http.set_tokens(tokens);
        self
    }

    /// Sends plain HTTP to the destinations of the grant's `egress` with this client; the default trusts the system's
    /// roots and asks its resolver.
    #[must_use]
    pub fn with_egress(mut self, client: EgressClient) -> Self {
        self.http.set_egress(client);
        self
    }

    /// Takes the address that the pod's `KUBERNETES_SERVICE_HOST` and `_PORT` make for the API server's too; `variable`
    /// looks them up.
    #[must_use]
    pub fn with_server_variables(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        self.http.rename(|names| names.with_variables(variable));
        self
    }

    /// Says when the guest's run will be over: a `Retry-After` beyond that is told the guest at once, not waited for.
    /// Without this the bound is [`ApiClient::deadline`].
    #[must_use]
    pub fn until(mut self, ends: Instant) -> Self {
        self.gate = self.gate.until(ends);
        self.http.until(ends);
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
