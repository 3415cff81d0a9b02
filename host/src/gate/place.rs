//! What a request takes up for as long as it is under way: a place among those in flight, or among the watches.
//!
//! A watch stays for hours. Among the requests in flight a few of them would leave no room for any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{FollowerPermit, Gate, HostRate, Refusal};
use crate::policy::{ApiRequest, Grant, Limits, Rule, Verdict};
use crate::telemetry::{Audit, Way};

/// The name of the host itself in records.
const HOST: &str = "attache";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    InFlight,
    Watch,
}

impl Place {
    pub(super) fn of(request: &ApiRequest) -> Self {
        if request.is_watch() { Self::Watch } else { Self::InFlight }
    }
}

/// How many places are taken.
#[derive(Debug, Default)]
pub(super) struct Places {
    in_flight: AtomicU32,
    watches: AtomicU32,
}

impl Places {
    fn taken(&self, place: Place) -> &AtomicU32 {
        match place {
            Place::InFlight => &self.in_flight,
            Place::Watch => &self.watches,
        }
    }

    pub(super) fn number(&self, place: Place) -> u32 {
        self.taken(place).load(Ordering::Acquire)
    }

    /// Takes one more place.
    pub(super) fn enter(&self, place: Place, limits: &Limits) -> Result<(), Refusal> {
        let (limit, refusal) = match place {
            Place::InFlight => (limits.in_flight, Refusal::TooMany { limit: limits.in_flight }),
            Place::Watch => (limits.watches, Refusal::TooManyWatches { limit: limits.watches }),
        };
        let one_more = |now: u32| now.checked_add(1).filter(|next| *next <= limit);
        match self.taken(place).fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more) {
            Ok(_) => Ok(()),
            Err(_) => Err(refusal),
        }
    }

    /// Gives a place back.
    pub(super) fn leave(&self, place: Place) {
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
    /// [`Refusal`], as [`Gate::admit`].
    pub fn admit_follower(&self, way: Way, list: &ApiRequest, watch: ApiRequest) -> Result<FollowerPermit, Refusal> {
        let decided = self.decide(&[list, &watch], Place::Watch);
        self.permit(way, watch, Place::Watch, decided).map(FollowerPermit::new)
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
        self.inner.places.number(Place::Watch)
    }

    /// Whether the rules allow all of these requests, and by which rule the last.
    pub(super) fn judge(&self, requests: &[&ApiRequest]) -> Result<usize, Refusal> {
        match self.grant().judge_all(requests) {
            Verdict::Allowed { rule } => Ok(rule),
            Verdict::Denied { reason, .. } => Err(Refusal::Denied(reason)),
        }
    }
}
