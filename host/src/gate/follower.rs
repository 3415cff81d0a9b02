//! The permit of one who follows.

use super::Permit;
use crate::policy::ApiRequest;

/// One judged and metered following of a collection that the host lists and watches; made by
/// [`Gate::admit_follower`](super::Gate::admit_follower) alone.
///
/// Threat: a watch that shows what is there by a permit for which only the watch was judged. RBAC lets somebody watch
/// and not list; here a watch begins with the list, so the permit for a watch is none for following, and the other way
/// round:
///
/// ```compile_fail,E0308
/// # use attache::{cluster::{ApiClient, watch::Scope}, gate::Permit};
/// # fn follow(cluster: &ApiClient, scope: &Scope, watch: Permit) {
/// cluster.follow(scope, watch);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a permit that is dropped is recorded as a watch that told nothing"]
pub struct FollowerPermit(Permit);

impl FollowerPermit {
    pub(super) fn new(permit: Permit) -> Self {
        Self(permit)
    }

    /// The watch that was judged, together with its list.
    pub fn request(&self) -> &ApiRequest {
        self.0.request()
    }

    /// The most bytes of one object that may be passed on.
    pub fn piece_limit(&self) -> u64 {
        self.0.piece_limit()
    }

    /// Notes that this many more bytes of objects were passed on.
    pub fn told(&mut self, bytes: u64) {
        self.0.answered(200);
        self.0.read(bytes);
    }
}
