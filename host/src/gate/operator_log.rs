//! What the operator is told beside the audit: limits of requests that were reached, and an API server that cannot be
//! asked. Each at its first time, and then now and then with how often: see [`LogThrottle`](crate::telemetry).

use std::fmt::Display;

use super::{Gate, GateError, Inner};
use crate::policy::{Limit, LimitHit};
use crate::telemetry::{LimitRecord, LogThrottle};

/// What was told of one gate.
#[derive(Default)]
pub(super) struct Reported {
    limits: LogThrottle<(LimitHit, bool)>,
    unasked: LogThrottle<&'static str>,
}

impl GateError {
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
    /// Tells the operator that a request ran into a limit: in the log (target `attache::limits`) and the audit. Of many
    /// times some are told, with their number.
    pub fn reached(&self, limit: Limit) {
        if let Some(reached) = self.inner.grant.limits.reached(limit) {
            self.tell_limit(reached, false);
        }
    }

    /// Tells the operator that a call ran into a limit, and whether that ended it: as [`Gate::reached`].
    pub(crate) fn tell_limit(&self, reached: LimitHit, ended: bool) {
        if let Some(times) = self.inner.told.limits.note((reached, ended)) {
            self.inner.tell(reached, ended, times);
        }
    }

    /// Tells the operator that a request that was let through came to nothing, in the log. Of many times that are of
    /// one `kind` some are told, with their number.
    pub(crate) fn unasked(&self, kind: &'static str, error: &dyn Display) {
        if let Some(times) = self.inner.told.unasked.note(kind) {
            self.inner.tell_unasked(error, times);
        }
    }

    pub(super) fn tell_refusal(&self, refusal: &GateError) {
        refusal.limit().into_iter().for_each(|limit| self.reached(limit));
    }
}

impl Inner {
    fn tell(&self, reached: LimitHit, ended: bool, times: u64) {
        LimitRecord { times, ..LimitRecord::now(&self.extension, reached, ended) }.tell(&*self.audit);
    }

    fn tell_unasked(&self, error: &dyn Display, times: u64) {
        let extension = &*self.extension;
        tracing::warn!(extension, %error, times, "the API server could not be asked");
    }

    /// Tells what was not told yet.
    pub(super) fn tell_rest(&mut self) {
        for ((reached, ended), times) in self.told.limits.rest() {
            self.tell(reached, ended, times);
        }
        for (kind, times) in self.told.unasked.rest() {
            self.tell_unasked(&kind, times);
        }
    }
}
