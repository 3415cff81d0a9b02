//! The log lines of a gate, beside its audit records: limits of requests that were reached, and requests that failed.
//!
//! Each line is logged at its first time, and then at intervals with the number of times: see
//! [`LogThrottle`](crate::telemetry).

use std::fmt::Display;

use super::{Gate, GateError, GateState};
use crate::policy::{Limit, LimitHit};
use crate::telemetry::{LimitRecord, LogThrottle};

/// The lines that one gate has logged.
#[derive(Default)]
pub(super) struct Reported {
    limits: LogThrottle<(LimitHit, bool)>,
    failures: LogThrottle<&'static str>,
}

impl GateError {
    /// Returns the limit of the grant that was reached, if any.
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
    /// Reports to the operator that a request reached a limit: in the log (target `attache::limits`) and the audit.
    /// Repetitions are throttled, and reported with their number.
    pub fn report_limit(&self, limit: Limit) {
        if let Some(hit) = self.state.grant.limits.reached(limit) {
            self.report_limit_hit(hit, false);
        }
    }

    /// Reports as [`Gate::report_limit`] that a call reached a limit, and whether that ended the call.
    pub(crate) fn report_limit_hit(&self, hit: LimitHit, ended: bool) {
        if let Some(times) = self.state.reported.limits.note((hit, ended)) {
            self.state.log_limit(hit, ended, times);
        }
    }

    /// Logs that a request that was let through failed. Repetitions of one `kind` are throttled, and logged with their
    /// number.
    pub(crate) fn report_failure(&self, kind: &'static str, error: &dyn Display) {
        if let Some(times) = self.state.reported.failures.note(kind) {
            self.state.log_failure(error, times);
        }
    }

    pub(super) fn report_refusal(&self, refusal: &GateError) {
        refusal.limit().into_iter().for_each(|limit| self.report_limit(limit));
    }
}

impl GateState {
    fn log_limit(&self, hit: LimitHit, ended: bool, times: u64) {
        LimitRecord { times, ..LimitRecord::now(&self.extension, hit, ended) }.report(&*self.audit);
    }

    fn log_failure(&self, error: &dyn Display, times: u64) {
        let extension = &*self.extension;
        tracing::warn!(extension, %error, times, "the API server could not be asked");
    }

    /// Logs the repetitions that were throttled and not yet logged.
    pub(super) fn report_rest(&mut self) {
        for ((hit, ended), times) in self.reported.limits.rest() {
            self.log_limit(hit, ended, times);
        }
        for (kind, times) in self.reported.failures.rest() {
            self.log_failure(&kind, times);
        }
    }
}
