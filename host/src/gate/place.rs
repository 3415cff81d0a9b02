//! What a request takes up for as long as it is under way: a place among those in flight, or among the watches.
//!
//! A watch stays for hours. Among the requests in flight a few of them would leave no room for any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{FollowerPermit, Gate, GateError, HostRate};
use crate::policy::{ApiRequest, Grant, Limits, Rule, Verdict};
use crate::telemetry::{Audit, Channel};

/// The name of the host itself in records.
const HOST: &str = "attache";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    InFlight,
    Watch,
}

impl Slot {
    pub(super) fn of(request: &ApiRequest) -> Self {
        if request.is_watch() { Self::Watch } else { Self::InFlight }
    }
}

/// How many places are taken.
#[derive(Debug, Default)]
pub(super) struct Slots {
    in_flight: AtomicU32,
    watches: AtomicU32,
}

impl Slots {
    fn taken(&self, place: Slot) -> &AtomicU32 {
        match place {
            Slot::InFlight => &self.in_flight,
            Slot::Watch => &self.watches,
        }
    }

    pub(super) fn number(&self, place: Slot) -> u32 {
        self.taken(place).load(Ordering::Acquire)
    }

    /// Takes one more place.
    pub(super) fn enter(&self, place: Slot, limits: &Limits) -> Result<(), GateError> {
        let (limit, refusal) = match place {
            Slot::InFlight => (limits.in_flight, GateError::TooMany { limit: limits.in_flight }),
            Slot::Watch => (limits.watches, GateError::TooManyWatches { limit: limits.watches }),
        };
        let one_more = |now: u32| now.checked_add(1).filter(|next| *next <= limit);
        match self.taken(place).fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more) {
            Ok(_) => Ok(()),
            Err(_) => Err(refusal),
        }
    }

    /// Gives a place back.
    pub(super) fn leave(&self, place: Slot) {
        self.taken(place).fetch_sub(1, Ordering::AcqRel);
    }
}

impl Gate {
    /// Lets an extension follow a collection that the host itself lists and watches, or says why not. Never waits.
    ///
    /// The permit is that of the watch, and the extension must be allowed the list as well. Whoever follows holds it,
    /// and is counted among the extension's watches, for as long as events may come. Both the beginning
    /// and the end are recorded.
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
        self.permit(way, watch, Slot::Watch, decided).map(FollowerPermit::new)
    }

    /// A gate for the watch that the host keeps of one collection: its list and its watch, and nothing else. `list` is
    /// a request for the whole of it; `bytes` bound one answer.
    pub fn for_store(host_rate: Option<HostRate>, audit: Arc<dyn Audit>, list: &ApiRequest, bytes: u64) -> Self {
        let mut grant = Grant::nothing(HOST);
        grant.limits.response_bytes = bytes;
        // A list of ten thousand objects takes twenty pages; what follows upon failures waits longer and longer.
        grant.limits.burst = 100;
        grant.api.push(Rule { verbs: vec!["list".into(), "watch".into()], ..Rule::needed_for(list) });
        Self::within(host_rate, HOST, Arc::new(grant), audit)
    }

    /// How many watches are open.
    pub fn watches(&self) -> u32 {
        self.inner.places.number(Slot::Watch)
    }

    /// Whether the rules allow all of these requests, and by which rule the last.
    pub(super) fn judge(&self, requests: &[&ApiRequest]) -> Result<usize, GateError> {
        match self.grant().judge_all(requests) {
            Verdict::Allowed { rule } => Ok(rule),
            Verdict::Denied { reason, .. } => Err(GateError::Denied(reason)),
        }
    }
}
