//! Requests to destinations outside the API server, judged by the grant's `egress`.

use std::error::Error;
use std::fmt;

use http::Method;
use jiff::Timestamp;

use super::exchange::{Exchange, Subject};
use super::slots::Slot;
use super::{Channel, Gate, GateError};
use crate::policy::{Destination, Limit};
use crate::telemetry::AuditRecord;

impl Gate {
    /// Judges and meters a request to a destination of the grant's `egress`. Never waits.
    ///
    /// A refusal is recorded at once, a permit when it is dropped. The permit covers the destination's name and not
    /// the address that the name resolves to: see [`EgressPermit::record_denial`].
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
        let call = Call { method: method.clone(), destination: destination.to_string(), target: target.to_owned() };
        match self.decide_egress(destination, target) {
            Ok(()) => Ok(EgressPermit { exchange: Exchange::new(self.clone(), way, Slot::InFlight, call) }),
            Err(refusal) => {
                self.record_refusal(&refusal, call.record(Timestamp::now(), self.extension(), way));
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

/// One judged and metered request to a destination outside the API server.
///
/// The permit occupies a slot of the grant's `inFlight` until it is dropped. Drop writes the audit record.
#[must_use = "a permit that is dropped is recorded as a request that got no answer"]
pub struct EgressPermit {
    exchange: Exchange<Call>,
}

/// A request to a destination outside the API server.
struct Call {
    method: Method,
    destination: String,
    target: String,
}

impl Subject for Call {
    fn record<'a>(&'a self, time: Timestamp, extension: &'a str, way: Channel) -> AuditRecord<'a> {
        AuditRecord::of_egress(time, extension, way, &self.method, &self.destination, &self.target)
    }
}

impl EgressPermit {
    /// Returns the most bytes of the answer's body that may be passed on.
    pub fn response_limit(&self) -> u64 {
        self.exchange.gate.grant().limits.response_bytes
    }

    /// Returns the most bytes of the request's body that may be sent.
    pub fn request_limit(&self) -> u64 {
        self.exchange.gate.grant().limits.request_bytes
    }

    /// Records the HTTP status of the answer.
    pub fn record_status(&mut self, status: u16) {
        self.exchange.record_status(status);
    }

    /// Records that so many more bytes of the answer's body were passed on.
    pub fn record_bytes(&mut self, bytes: u64) {
        self.exchange.record_bytes(bytes);
    }

    /// Records that the exchange was cut off at a limit, and reports the limit to the operator.
    pub fn record_limit(&mut self, limit: Limit) {
        self.exchange.record_limit(limit);
    }

    /// Records the error that came in place of a whole answer. After [`EgressPermit::record_limit`] this does nothing:
    /// the record names the limit.
    pub fn record_error(&mut self, error: &(dyn Error + 'static)) {
        self.exchange.record_error(error);
    }

    /// Records that the request was denied after all, because of the address that the destination's name resolved to.
    pub fn record_denial(&mut self, reason: &str) {
        self.exchange.record_denial(reason);
    }
}

impl fmt::Debug for EgressPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let destination = &self.exchange.subject.destination;
        f.debug_struct("EgressPermit").field("destination", destination).finish_non_exhaustive()
    }
}
