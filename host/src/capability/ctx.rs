//! The state of one guest's `attache:pod`.

use std::time::Instant;

use wasmtime::component::ResourceTable;

use super::http::HttpCtx;
use crate::ambassador::ScopedTokens;
use crate::ambassador::egress::EgressClient;
use crate::cluster::ApiClient;
use crate::gate::Gate;
use crate::podinfo::PodInfo;

/// The pod and the API server, as far as one guest may see them. Cheap to clone. Clones share the pod, the gate's
/// budgets and the connections.
#[derive(Clone, Debug)]
pub struct PodCtx {
    pub(super) pod: PodInfo,
    pub(super) gate: Gate,
    pub(super) cluster: Option<ApiClient>,
    pub(super) http: HttpCtx,
}

impl PodCtx {
    /// Makes a context with the granted part of `pod` and without an API server. Calls of `api` then fail with
    /// `unavailable`.
    pub fn new(pod: &PodInfo, gate: Gate) -> Self {
        let grant = gate.grant();
        let mut http = HttpCtx::new(gate.clone());
        // The pod's own addresses are no destinations, even where the grant does not show them.
        let addresses = pod.identity().map(|identity| identity.pod_ips).unwrap_or_default();
        http.set_pod(&addresses.iter().filter_map(|address| address.parse().ok()).collect::<Vec<_>>());
        let pod = pod.granted(&grant.podinfo, &grant.env);
        Self { pod, gate, cluster: None, http }
    }

    /// Sets the API server for calls of `api` and for plain HTTP to the server's names. The gate judges each request.
    #[must_use]
    pub fn with_cluster(mut self, cluster: ApiClient) -> Self {
        self.http.set_cluster(cluster.clone());
        self.cluster = Some(cluster);
        self
    }

    /// Accepts these tokens in the guest's plain HTTP to the API server: those in the guest's files. Without them a
    /// request with any token is refused.
    #[must_use]
    pub fn with_tokens(mut self, tokens: ScopedTokens) -> Self {
        self.http.set_tokens(tokens);
        self
    }

    /// Sets the client for plain HTTP to the destinations of the grant's `egress`. The default trusts the system's
    /// roots and uses its resolver.
    #[must_use]
    pub fn with_egress(mut self, client: EgressClient) -> Self {
        self.http.set_egress(client);
        self
    }

    /// Adds the address in the pod's `KUBERNETES_SERVICE_HOST` and `_PORT` to the API server's names. `variable` looks
    /// them up.
    #[must_use]
    pub fn with_server_variables(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        self.http.rename(|names| names.with_variables(variable));
        self
    }

    /// Sets the end of the guest's run. A `Retry-After` beyond it is returned to the guest at once instead of waited
    /// for. The default is [`ApiClient::deadline`].
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

    /// Returns the granted part of the pod.
    pub fn pod_info(&self) -> &PodInfo {
        &self.pod
    }
}

/// Gives access to the [`PodCtx`] inside the embedder's store data.
pub trait PodView: Send {
    /// Returns the context and the table of the guest's handles.
    fn pod(&mut self) -> PodCtxView<'_>;
}

/// The view on which the host functions of `attache:pod` work.
pub struct PodCtxView<'a> {
    /// The guest's pod and API server.
    pub ctx: &'a mut PodCtx,
    /// The guest's handles. Bound it with `ResourceTable::set_max_capacity`.
    pub table: &'a mut ResourceTable,
}
