//! The permit: what one judged request may do, and the record that is written when it ends.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::place::Slot;
use super::{Channel, Gate};
use crate::policy::{ApiRequest, Limit, LimitHit, Limits};
use crate::telemetry::{AuditRecord, chain};

/// One judged and metered request, good for sending it once.
///
/// It holds the request's place among those under way until it is dropped: keep it for as long as the answer's body is
/// read, and tell it what came.
#[must_use = "a permit that is dropped is recorded as a request that got no answer"]
pub struct Permit {
    pub(super) gate: Gate,
    pub(super) way: Channel,
    pub(super) request: ApiRequest,
    pub(super) place: Slot,
    pub(super) rule: usize,
    pub(super) time: Timestamp,
    pub(super) since: Instant,
    pub(super) status: Option<u16>,
    pub(super) bytes: u64,
    pub(super) sent: u64,
    pub(super) reached: Option<LimitHit>,
    pub(super) error: Option<String>,
}

impl Permit {
    /// The request, as it must be sent.
    pub fn request(&self) -> &ApiRequest {
        &self.request
    }

    /// The most bytes of the answer's body that may be passed on. An answer without an end has none: it is passed on
    /// piece by piece, never kept, and ends with whoever reads it.
    pub fn response_limit(&self) -> u64 {
        if self.request.is_stream() { u64::MAX } else { self.gate.inner.grant.limits.response_bytes }
    }

    /// The most bytes of one piece of an answer without an end, such as one event of a watch.
    pub fn piece_limit(&self) -> u64 {
        self.gate.inner.grant.limits.response_bytes
    }

    /// The most bytes of the request's body that may be sent.
    pub fn request_limit(&self) -> u64 {
        self.gate.inner.grant.limits.request_bytes
    }

    /// When whoever asked will be gone: see [`Gate::until`].
    pub fn ends(&self) -> Option<Instant> {
        self.gate.ends
    }

    /// Notes that the exchange was cut off at a limit, for the record, and tells the operator.
    pub fn reached(&mut self, limit: Limit) {
        self.gate.reached(limit);
        self.reached = self.gate.inner.grant.limits.reached(limit);
    }

    /// Notes the server's HTTP status.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// Notes why there is no answer, or not a whole one, for the record. A limit that was reached says so itself.
    pub fn failed(&mut self, why: &(dyn Error + 'static)) {
        if self.reached.is_none() {
            self.error = Some(chain(why).to_string());
        }
    }

    /// Notes that this many more bytes of the answer's body were passed on.
    pub fn read(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Notes that this many more bytes were sent to the server after an upgrade to another protocol.
    pub(crate) fn sent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// The longest life of a connection that is upgraded to another protocol: the grant's `deadline`, where the grant
    /// has another one than the default. The default is for calls of guests, and would end every `kubectl exec` after
    /// seconds.
    pub(crate) fn upgrade_deadline(&self) -> Option<Duration> {
        let deadline = self.gate.inner.grant.limits.deadline;
        (deadline != Limits::default().deadline).then_some(deadline)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("gate", &self.gate).field("request", &self.request).finish_non_exhaustive()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let gate = &self.gate.inner;
        gate.places.leave(self.place);
        gate.audit.record(&AuditRecord {
            rule: Some(self.rule),
            status: self.status,
            duration: self.since.elapsed(),
            bytes: self.bytes,
            sent: self.sent,
            reason: self.reached.map(|reached| reached.to_string().into()),
            ..AuditRecord::of_request(self.time, &gate.extension, self.way, &self.request).failed(self.error.as_deref())
        });
    }
}
