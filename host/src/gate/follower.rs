//! The permit of a follower: a reader of a collection that the host itself lists and watches.

use super::slots::Slot;
use super::{Channel, Gate, GateError, Permit};
use crate::policy::ApiRequest;

impl Gate {
    /// Judges and meters an extension that wants to follow a collection. Never waits.
    ///
    /// The grant has to allow both `list` and `watch`; the permit is that of the watch. The follower holds the permit
    /// as long as it may receive events, and occupies one of the grant's `watches`. Beginning and end are recorded.
    ///
    /// # Errors
    /// [`GateError`], as [`Gate::admit`].
    pub fn admit_follower(
        &self,
        way: Channel,
        list: &ApiRequest,
        watch: ApiRequest,
    ) -> Result<FollowerPermit, GateError> {
        let decided = self.decide(&[list, &watch], Slot::Watch);
        self.permit(way, watch, Slot::Watch, decided).map(FollowerPermit)
    }

    /// Returns the number of open watches.
    pub fn watches(&self) -> u32 {
        self.state.slots.occupied(Slot::Watch)
    }
}

/// One judged and metered follower of a collection; made by [`Gate::admit_follower`] alone.
///
/// Threat: an extension that may watch and not list, and reads the list by following. RBAC separates the two verbs, and
/// a follower begins with the list. So a follower needs a permit for both, and the permit of a watch is none:
///
/// ```compile_fail,E0308
/// # use attache::{cluster::{ApiClient, watch::Scope}, gate::Permit};
/// # fn follow(cluster: &ApiClient, scope: &Scope, watch: Permit) {
/// cluster.follow(scope, watch);
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a permit that is dropped is recorded as a watch that passed nothing on"]
pub struct FollowerPermit(Permit);

impl FollowerPermit {
    /// Returns the watch that was judged, together with its list.
    pub fn request(&self) -> &ApiRequest {
        self.0.request()
    }

    /// Returns the most bytes of one object that may be passed on.
    pub fn piece_limit(&self) -> u64 {
        self.0.piece_limit()
    }

    /// Records that so many more bytes of objects were passed on.
    pub fn record_bytes(&mut self, bytes: u64) {
        self.0.record_status(200);
        self.0.record_bytes(bytes);
    }
}
