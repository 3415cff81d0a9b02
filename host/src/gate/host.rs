//! The gates of the host itself: for discovery, for reviews of its own rights, and for shared watches.
//!
//! Threat: a guest that makes the host ask for something beyond what the guest was granted. Each of these gates has a
//! grant of its own, which opens the purpose of the gate and nothing else.

use std::sync::Arc;

use super::{Gate, HostRate};
use crate::policy::{ApiRequest, Grant, Rule};
use crate::telemetry::Audit;

/// The name of the host itself in records.
const HOST: &str = "attache";

/// The paths that the host may read for discovery. Every account of a cluster may read them (`system:discovery`).
const DISCOVERY: [&str; 5] = ["/version", "/api", "/api/*", "/apis", "/apis/*"];

/// The most bytes of one discovery document. The aggregated document of a cluster with some thousand types of its own
/// has about 10 MiB.
const DISCOVERY_BYTES: u64 = 32 << 20;

/// The resources by which the host asks for its own rights. Every account of a cluster may create them
/// (`system:basic-user`).
const REVIEWS: [&str; 2] = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"];

/// Reviews a second, and at once after a pause: enough for ten extensions that ask at their default rate. An extension
/// that asks more than all others together makes the others wait, but only as long as its own rate lets it ask.
const REVIEW_RATE: (u32, u32) = (200, 400);

/// Requests of one shared watch at once after a pause. A list of ten thousand objects has twenty pages; retries after
/// failures have a backoff.
const STORE_BURST: u32 = 100;

impl Gate {
    /// Makes the gate of the host's discovery: `/version`, `/api`, `/apis` and the paths below that name no resource,
    /// to read.
    pub(crate) fn for_host(host_rate: Option<HostRate>, audit: Arc<dyn Audit>) -> Self {
        let mut grant = Grant::nothing(HOST);
        grant.limits.response_bytes = DISCOVERY_BYTES;
        grant.api.push(Rule::default().verbs(["get"]).non_resource_urls(DISCOVERY));
        Self::within(host_rate, HOST, Arc::new(grant), audit)
    }

    /// Makes the gate of the host's reviews of its own rights. Guests cause them, so they are metered apart from
    /// discovery.
    pub(crate) fn for_reviews(host_rate: Option<HostRate>, audit: Arc<dyn Audit>) -> Self {
        let mut grant = Grant::nothing(HOST);
        // Of each guest at most one is in flight, and counts against the guest's own rate.
        grant.limits.in_flight = u32::MAX;
        (grant.limits.requests_per_second, grant.limits.burst) = REVIEW_RATE;
        let reviews = Rule::default().api_groups(["authorization.k8s.io"]).resources(REVIEWS);
        grant.api.push(reviews.verbs(["create"]).namespaces(["*"]));
        Self::within(host_rate, HOST, Arc::new(grant), audit)
    }

    /// Makes the gate of the shared watch of one collection: its list and its watch, and nothing else. `list` is a
    /// request for the whole collection; `bytes` bound one answer.
    pub(crate) fn for_store(host_rate: Option<HostRate>, audit: Arc<dyn Audit>, list: &ApiRequest, bytes: u64) -> Self {
        let mut grant = Grant::nothing(HOST);
        grant.limits.response_bytes = bytes;
        grant.limits.burst = STORE_BURST;
        grant.api.push(Rule::needed_for(list).verbs(["list", "watch"]));
        Self::within(host_rate, HOST, Arc::new(grant), audit)
    }
}
