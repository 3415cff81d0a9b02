//! The running record of one request that was let through, written when the request ends.

use std::error::Error;
use std::time::Instant;

use jiff::Timestamp;

use super::slots::Slot;
use super::{Channel, Gate};
use crate::policy::{Limit, LimitHit};
use crate::telemetry::{AuditRecord, Decision, audit_id, chain};

/// The subject of an exchange: a request to the API server, or one to a destination of `egress`.
pub(super) trait Subject {
    /// Returns the record of this request, allowed and without an answer.
    fn record<'a>(&'a self, time: Timestamp, extension: &'a str, way: Channel) -> AuditRecord<'a>;
}

/// One request that was let through: its slot, and its record until it ends. Drop frees the slot and writes the record.
pub(super) struct Exchange<S: Subject> {
    pub(super) gate: Gate,
    pub(super) subject: S,
    way: Channel,
    slot: Slot,
    time: Timestamp,
    since: Instant,
    status: Option<u16>,
    audit_id: Option<String>,
    bytes: u64,
    sent: u64,
    denial: Option<String>,
    limit_hit: Option<LimitHit>,
    error: Option<String>,
}

impl<S: Subject> Exchange<S> {
    /// Begins the record of a request that occupies `slot`.
    pub(super) fn new(gate: Gate, way: Channel, slot: Slot, subject: S) -> Self {
        let (time, since) = (Timestamp::now(), Instant::now());
        let (status, audit_id, denial, limit_hit, error) = (None, None, None, None, None);
        let (bytes, sent) = (0, 0);
        Self { gate, subject, way, slot, time, since, status, audit_id, bytes, sent, denial, limit_hit, error }
    }

    pub(super) fn record_status(&mut self, status: u16) {
        self.status = Some(status);
    }

    pub(super) fn record_audit_id(&mut self, id: &[u8]) {
        self.audit_id = Some(audit_id(id));
    }

    pub(super) fn record_bytes(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn record_sent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// Records that the exchange was cut off at a limit, and reports it to the operator.
    pub(super) fn record_limit(&mut self, limit: Limit) {
        self.gate.report_limit(limit);
        self.limit_hit = self.gate.state.grant.limits.reached(limit);
    }

    /// Records an error, unless the record names a limit already.
    pub(super) fn record_error(&mut self, error: &(dyn Error + 'static)) {
        if self.limit_hit.is_none() {
            self.error = Some(chain(error).to_string());
        }
    }

    /// Makes the request one that was denied.
    pub(super) fn record_denial(&mut self, reason: &str) {
        self.denial = Some(reason.to_owned());
    }

    /// Returns the record as it is at its beginning.
    pub(super) fn begun(&self) -> AuditRecord<'_> {
        let record = self.subject.record(self.time, &self.gate.state.extension, self.way);
        AuditRecord { verdict: Decision::Begun, ..record }
    }
}

impl<S: Subject> Drop for Exchange<S> {
    fn drop(&mut self) {
        let gate = &self.gate.state;
        gate.slots.leave(self.slot);
        let record = self.subject.record(self.time, &gate.extension, self.way);
        let limit_hit = || self.limit_hit.map(|hit| hit.to_string().into());
        gate.audit.record(&AuditRecord {
            verdict: if self.denial.is_some() { Decision::Denied } else { Decision::Allowed },
            reason: self.denial.as_deref().map(Into::into).or_else(limit_hit),
            status: self.status,
            audit_id: self.audit_id.as_deref().map(Into::into),
            duration: self.since.elapsed(),
            bytes: self.bytes,
            sent: self.sent,
            ..record.failed(self.error.as_deref())
        });
    }
}
