//! The permit to send one request to the API server.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::exchange::{Exchange, Subject};
use super::slots::Slot;
use super::{Channel, Gate};
use crate::policy::{ApiRequest, Limit, Limits};
use crate::telemetry::AuditRecord;

/// One judged and metered request, good for sending it once.
///
/// A permit occupies a slot of the grant's `inFlight` or `watches` until it is dropped. Keep it until the answer's body
/// has been read, and record in it the answer. Drop writes the audit record.
#[must_use = "a permit that is dropped is recorded as a request that got no answer"]
pub struct Permit {
    exchange: Exchange<Judged>,
}

/// A request and the rule of the grant that allows it.
struct Judged {
    request: ApiRequest,
    rule: usize,
}

impl Subject for Judged {
    fn record<'a>(&'a self, time: Timestamp, extension: &'a str, way: Channel) -> AuditRecord<'a> {
        AuditRecord { rule: Some(self.rule), ..AuditRecord::of_request(time, extension, way, &self.request) }
    }
}

impl Permit {
    /// Makes a permit for a request that `rule` allows and that occupies `slot`.
    ///
    /// Requests with an answer that has no end of its own, and requests for an upgrade, are recorded now as well.
    pub(super) fn new(gate: Gate, way: Channel, slot: Slot, request: ApiRequest, rule: usize) -> Self {
        let lasts = request.is_stream() || request.upgrades();
        let exchange = Exchange::new(gate, way, slot, Judged { request, rule });
        if lasts {
            exchange.gate.state.audit.record(&exchange.begun());
        }
        Self { exchange }
    }

    fn gate(&self) -> &Gate {
        &self.exchange.gate
    }

    /// Returns the request exactly as it must be sent.
    pub fn request(&self) -> &ApiRequest {
        &self.exchange.subject.request
    }

    /// Returns the name of the extension that asks, as records have it.
    pub fn extension(&self) -> &str {
        self.gate().extension()
    }

    /// Returns the most bytes of the answer's body that may be passed on.
    ///
    /// There is no such limit for an answer without an end: it is passed on in pieces, and never kept.
    pub fn response_limit(&self) -> u64 {
        if self.request().is_stream() { u64::MAX } else { self.gate().grant().limits.response_bytes }
    }

    /// Returns the most bytes of one piece of an answer without an end, such as one event of a watch.
    pub fn piece_limit(&self) -> u64 {
        self.gate().grant().limits.response_bytes
    }

    /// Returns the most bytes of the request's body that may be sent.
    pub fn request_limit(&self) -> u64 {
        self.gate().grant().limits.request_bytes
    }

    /// Returns the end of the run that asks: see [`Gate::until`].
    pub fn ends(&self) -> Option<Instant> {
        self.gate().ends
    }

    /// Records the HTTP status of the answer.
    pub fn record_status(&mut self, status: u16) {
        self.exchange.record_status(status);
    }

    /// Records the answer's `Audit-Id`, which names the request in the API server's own audit log.
    pub fn record_audit_id(&mut self, id: &[u8]) {
        self.exchange.record_audit_id(id);
    }

    /// Records that so many more bytes of the answer's body were passed on.
    pub fn record_bytes(&mut self, bytes: u64) {
        self.exchange.record_bytes(bytes);
    }

    /// Records that so many more bytes were sent to the server after an upgrade to another protocol.
    pub(crate) fn record_sent(&mut self, bytes: u64) {
        self.exchange.record_sent(bytes);
    }

    /// Records that the exchange was cut off at a limit, and reports the limit to the operator.
    pub fn record_limit(&mut self, limit: Limit) {
        self.exchange.record_limit(limit);
    }

    /// Records the error that came in place of a whole answer. After [`Permit::record_limit`] this does nothing: the
    /// record names the limit.
    pub fn record_error(&mut self, error: &(dyn Error + 'static)) {
        self.exchange.record_error(error);
    }

    /// Returns the longest life of a connection that is upgraded to another protocol: the grant's `deadline`, where it
    /// differs from the default. The default is for calls of guests, and would end every `kubectl exec` after seconds.
    pub(crate) fn upgrade_deadline(&self) -> Option<Duration> {
        let deadline = self.gate().grant().limits.deadline;
        (deadline != Limits::default().deadline).then_some(deadline)
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("gate", self.gate()).field("request", self.request()).finish_non_exhaustive()
    }
}
