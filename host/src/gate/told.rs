//! What the operator is told beside the audit: limits of requests that were reached, and an API server that cannot be asked.
//! Each at its first time, and then now and then with how often: see [`Paced`](crate::telemetry).

use std::fmt::Display;

use super::{Gate, Inner, Refusal};
use crate::policy::Limit;
use crate::telemetry::{LimitRecord, Paced};

/// What was told of one gate.
#[derive(Default)]
pub(super) struct Told {
    limits: Paced<Limit>,
    unasked: Paced<&'static str>,
}

impl Refusal {
    /// The limit of the grant that was reached, if that is why.
    fn limit(&self) -> Option<Limit> {
        match self {
            Self::Throttled(_) => Some(Limit::RequestsPerSecond),
            Self::TooMany { .. } => Some(Limit::InFlight),
            Self::TooManyWatches { .. } => Some(Limit::Watches),
            Self::TargetTooLong { .. } => Some(Limit::TargetBytes),
            Self::Denied(_) | Self::HostThrottled(_) => None,
        }
    }
}

impl Gate {
    /// Tells the operator that a request ran into a limit: in the log (target `attache::limits`) and the audit. Of many times
    /// some are told, with their number.
    pub fn reached(&self, limit: Limit) {
        if let Some(times) = self.inner.told.limits.note(limit) {
            self.inner.tell(limit, times);
        }
    }

    /// Tells the operator that a request that was let through came to nothing, in the log. Of many times that are of one
    /// `kind` some are told, with their number.
    pub(crate) fn unasked(&self, kind: &'static str, error: &dyn Display) {
        if let Some(times) = self.inner.told.unasked.note(kind) {
            self.inner.tell_unasked(error, times);
        }
    }

    pub(super) fn tell_refusal(&self, refusal: &Refusal) {
        refusal.limit().into_iter().for_each(|limit| self.reached(limit));
    }
}

impl Inner {
    fn tell(&self, limit: Limit, times: u64) {
        if let Some(reached) = self.grant.limits.reached(limit) {
            LimitRecord { times, ..LimitRecord::now(&self.extension, reached, false) }.tell(&*self.audit);
        }
    }

    fn tell_unasked(&self, error: &dyn Display, times: u64) {
        let extension = &*self.extension;
        tracing::warn!(extension, %error, times, "the API server could not be asked");
    }

    /// Tells what was not told yet.
    pub(super) fn tell_rest(&mut self) {
        for (limit, times) in self.told.limits.rest() {
            self.tell(limit, times);
        }
        for (kind, times) in self.told.unasked.rest() {
            self.tell_unasked(&kind, times);
        }
    }
}
