//! Requests to other places than the API server: judged by the grant's `egress`, metered and recorded like all others.

use std::error::Error;
use std::fmt;
use std::time::Instant;

use http::Method;
use jiff::Timestamp;

use super::{Channel, Gate, GateError, Slot};
use crate::policy::{Destination, Limit, LimitHit};
use crate::telemetry::{AuditRecord, Decision, chain};

impl Gate {
    /// Lets a request to a destination of the grant's `egress` through, or says why not. Never waits. A refusal is
    /// recorded at once, a permit when it is dropped.
    ///
    /// That the destination is granted says nothing yet of the address that its name leads to: see
    /// [`EgressPermit::refused`].
    ///
    /// # Errors
    /// [`GateError`], as [`Gate::admit`].
    pub fn admit_egress(
        &self,
        way: Channel,
        method: &Method,
        destination: &Destination,
        target: &str,
    ) -> Result<EgressPermit, GateError> {
        let permit = Record::new(self.clone(), way, method.clone(), destination.to_string(), target.to_owned());
        match self.decide_egress(destination, target) {
            Ok(()) => Ok(EgressPermit(permit)),
            Err(refusal) => {
                if let Some(unrecorded) = self.records(refusal.decision()) {
                    permit.write(refusal.decision(), Some(&self.reason(&refusal)), unrecorded);
                }
                Err(refusal)
            }
        }
    }

    fn decide_egress(&self, destination: &Destination, target: &str) -> Result<(), GateError> {
        self.meter()?;
        self.measure(target)?;
        if !self.grant().egress.names(destination) {
            let reason = format!("{destination} is not granted; it needs \"{destination}\" under `egress`");
            return Err(GateError::Denied(reason));
        }
        self.enter(Slot::InFlight)
    }
}

/// One judged and metered request to a destination outside the API server. It holds the request's place among those
/// under way until it is dropped.
#[must_use = "a permit that is dropped is recorded as a request that got no answer"]
pub struct EgressPermit(Record);

impl EgressPermit {
    /// The most bytes of the answer's body that may be passed on.
    pub fn response_limit(&self) -> u64 {
        self.0.gate.grant().limits.response_bytes
    }

    /// The most bytes of the request's body that may be sent.
    pub fn request_limit(&self) -> u64 {
        self.0.gate.grant().limits.request_bytes
    }

    /// Notes the HTTP status of the answer.
    pub fn answered(&mut self, status: u16) {
        self.0.status = Some(status);
    }

    /// Notes that this many more bytes of the answer's body were passed on.
    pub fn read(&mut self, bytes: u64) {
        self.0.bytes = self.0.bytes.saturating_add(bytes);
    }

    /// Notes that the exchange was cut off at a limit, for the record, and tells the operator.
    pub fn reached(&mut self, limit: Limit) {
        self.0.gate.reached(limit);
        self.0.reached = self.0.gate.grant().limits.reached(limit);
    }

    /// Notes why there is no answer, for the record. A limit that was reached says so itself.
    pub fn failed(&mut self, why: &(dyn Error + 'static)) {
        if self.0.reached.is_none() {
            self.0.error = Some(chain(why).to_string());
        }
    }

    /// Notes that it was refused after all, for where its name leads to.
    pub fn refused(&mut self, why: &str) {
        self.0.refused = Some(why.to_owned());
    }
}

impl fmt::Debug for EgressPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressPermit").field("destination", &self.0.destination).finish_non_exhaustive()
    }
}

impl Drop for EgressPermit {
    fn drop(&mut self) {
        self.0.gate.leave();
        let decision = if self.0.refused.is_some() { Decision::Denied } else { Decision::Allowed };
        let reached = self.0.reached.map(|reached| reached.to_string());
        self.0.write(decision, self.0.refused.as_deref().or(reached.as_deref()), 0);
    }
}

/// What is recorded of one request.
struct Record {
    gate: Gate,
    way: Channel,
    method: Method,
    destination: String,
    target: String,
    time: Timestamp,
    since: Instant,
    status: Option<u16>,
    bytes: u64,
    refused: Option<String>,
    reached: Option<LimitHit>,
    error: Option<String>,
}

impl Record {
    fn new(gate: Gate, way: Channel, method: Method, destination: String, target: String) -> Self {
        let (time, since) = (Timestamp::now(), Instant::now());
        let (status, refused, reached, error) = (None, None, None, None);
        Self { gate, way, method, destination, target, time, since, status, bytes: 0, refused, reached, error }
    }

    fn write(&self, verdict: Decision, reason: Option<&str>, unrecorded: u64) {
        let (time, extension) = (self.time, self.gate.extension());
        self.gate.inner.audit.record(&AuditRecord {
            verdict,
            reason: reason.map(Into::into),
            unrecorded,
            status: self.status,
            duration: self.since.elapsed(),
            bytes: self.bytes,
            ..AuditRecord::of_egress(time, extension, self.way, &self.method, &self.destination, &self.target)
                .failed(self.error.as_deref())
        });
    }
}
