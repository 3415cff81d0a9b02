//! The only maker of a permit.
//!
//! Threat: a request that reaches the API server without having been judged, metered and recorded. The API client takes
//! a [`Permit`] by value, and only [`Gate::admit`] makes one. Each permit is recorded exactly once, when it is dropped,
//! however the request ended. Other code cannot make a permit:
//!
//! ```compile_fail,E0451
//! let forged = attache::gate::Permit { exchange: unreachable!() };
//! ```
//!
//! or send two requests with one:
//!
//! ```compile_fail,E0599
//! # fn twice(permit: attache::gate::Permit) {
//! let again = permit.clone();
//! # }
//! ```
//!
//! | file | holds |
//! | --- | --- |
//! | `permit`, `egress`, `follower` | what is let through: to the API server, past it, and to shared watches |
//! | `exchange` | the running record that every permit has |
//! | `host` | the gates of the host's own requests |
//! | `slots`, `rate` | the meters |
//! | `refusals` | refusals that are recorded, and those that are only counted |
//! | `operator_log` | log lines beside the audit |

mod egress;
mod exchange;
mod follower;
mod host;
mod operator_log;
mod permit;
mod rate;
mod refusals;
mod slots;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::DefaultDirectRateLimiter;
use http::Method;
use jiff::Timestamp;
use thiserror::Error;

use crate::policy::{ApiRequest, Grant, InvalidRequest, Limit, Verdict};
use crate::telemetry::{Audit, AuditRecord, Decision, Sampled};

pub use crate::telemetry::Channel;
pub use egress::EgressPermit;
pub use follower::FollowerPermit;
use operator_log::Reported;
pub use permit::Permit;
pub use rate::HostRate;
use slots::{Slot, Slots};

/// The refusal of a request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum GateError {
    /// The grant does not allow the request; the text has what was asked and the rule that would allow it.
    #[error("{0}")]
    Denied(String),
    /// The rate is spent; try again after this long.
    #[error("the grant's rate is spent; try again in {} ms", .0.as_millis())]
    Throttled(Duration),
    /// As many requests as the grant allows are in flight.
    #[error("as many requests are under way as the grant allows ({limit})")]
    TooMany {
        /// The grant's `inFlight`.
        limit: u32,
    },
    /// As many watches as the grant allows are open.
    #[error("as many watches are open as the grant allows ({limit}): close one, or raise limits.watches")]
    TooManyWatches {
        /// The grant's `watches`.
        limit: u32,
    },
    /// Path and query are longer than the grant allows, in bytes.
    #[error(
        "path and query are longer than the grant allows ({limit} bytes): select less, or raise limits.targetBytes"
    )]
    TargetTooLong {
        /// The grant's `targetBytes`.
        limit: u64,
    },
    /// The rate that all extensions of this host share is spent; try again after this long.
    #[error("this host's rate is spent by all that ask through it; try again in {} ms", .0.as_millis())]
    HostThrottled(Duration),
}

impl GateError {
    fn decision(&self) -> Decision {
        match self {
            Self::Denied(_) => Decision::Denied,
            Self::TargetTooLong { .. } => Decision::Invalid,
            Self::Throttled(_) | Self::HostThrottled(_) => Decision::Throttled,
            Self::TooMany { .. } | Self::TooManyWatches { .. } => Decision::TooMany,
        }
    }
}

/// The judge, meter and recorder of one extension's requests. Cheap to clone; clones share the meters.
///
/// ```
/// use attache::gate::{Channel, Gate};
/// use attache::policy::{ApiRequest, Grant};
/// use attache::telemetry::ToTracing;
/// use http::Method;
/// use std::sync::Arc;
///
/// let grant = Grant::parse("
/// apiVersion: attache.dev/v1alpha1
/// kind: Grant
/// metadata: {name: reader}
/// spec: {api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [demo]}]}
/// ")?;
/// let gate = Gate::new("reader", Arc::new(grant), Arc::new(ToTracing));
/// let pod = ApiRequest::parse(&Method::GET, "/api/v1/namespaces/demo/pods/a")?;
/// let permit = gate.admit(Channel::Api, pod)?; // for `ApiClient::send`
/// let secret = ApiRequest::parse(&Method::GET, "/api/v1/namespaces/demo/secrets/a")?;
/// assert!(gate.admit(Channel::Api, secret).is_err());
/// # drop(permit);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Gate {
    state: Arc<GateState>,
    ends: Option<Instant>,
}

/// The part that all clones of a gate share.
struct GateState {
    extension: Arc<str>,
    grant: Arc<Grant>,
    audit: Arc<dyn Audit>,
    rate: DefaultDirectRateLimiter,
    host_rate: Option<HostRate>,
    slots: Slots,
    refusals: Sampled,
    reported: Reported,
}

impl Drop for GateState {
    fn drop(&mut self) {
        self.report_rest();
        let unrecorded = self.refusals.left_out();
        if unrecorded > 0 {
            self.audit.unrecorded(&self.extension, unrecorded);
        }
    }
}

impl Gate {
    /// Makes a gate for one extension under one grant.
    pub fn new(extension: impl Into<Arc<str>>, grant: Arc<Grant>, audit: Arc<dyn Audit>) -> Self {
        Self::within(None, extension, grant, audit)
    }

    /// Makes a gate as [`Gate::new`] does, with the rate that all extensions of the host share.
    pub fn within(
        host_rate: Option<HostRate>,
        extension: impl Into<Arc<str>>,
        grant: Arc<Grant>,
        audit: Arc<dyn Audit>,
    ) -> Self {
        let (rate, slots, refusals) = (rate::of(&grant.limits), Slots::default(), refusals::sampled());
        let (extension, reported) = (extension.into(), Reported::default());
        let state = GateState { extension, grant, audit, rate, host_rate, slots, refusals, reported };
        Self { state: Arc::new(state), ends: None }
    }

    /// Returns this gate for one run of the extension that is over at `ends`: when a server asks to be retried later
    /// than that, there is no retry. The caller ends the run itself. An `ends` later than the present one has no
    /// effect.
    #[must_use]
    pub fn until(&self, ends: Instant) -> Self {
        Self { state: Arc::clone(&self.state), ends: Some(self.ends.map_or(ends, |sooner| sooner.min(ends))) }
    }

    /// Spends one request of the rate, for a request that the host makes in a guest's stead.
    ///
    /// # Errors
    /// [`GateError::Throttled`], which is not recorded: there is no request.
    pub(crate) fn spend(&self) -> Result<(), GateError> {
        self.meter()
    }

    /// Returns the grant that this gate judges by.
    pub fn grant(&self) -> &Arc<Grant> {
        &self.state.grant
    }

    /// Returns the name of the extension, as records have it.
    pub fn extension(&self) -> &str {
        &self.state.extension
    }

    /// Returns the number of requests in flight.
    pub fn in_flight(&self) -> u32 {
        self.state.slots.occupied(Slot::InFlight)
    }

    /// Judges and meters a request. Never waits.
    ///
    /// A refusal is recorded at once, a permit when it is dropped. Throttled requests are sampled: a record has the
    /// number of those left out before it. The rate is spent first, so that denied requests count too: each costs work
    /// and a record. A stream, such as a watch, and a request for an upgrade are recorded at their beginning as well.
    ///
    /// # Errors
    /// [`GateError`], which the guest can mend or wait for.
    pub fn admit(&self, way: Channel, request: ApiRequest) -> Result<Permit, GateError> {
        let slot = Slot::of(&request);
        let decided = self.decide(&[&request], slot);
        self.permit(way, request, slot, decided)
    }

    /// Checks that the grant allows at least something of a collection, before there is a request. Nothing is sent.
    ///
    /// A refusal spends the rate, and is recorded like that of a request for the whole collection.
    ///
    /// # Errors
    /// [`GateError`], as [`Gate::admit`].
    pub fn admit_opening(&self, way: Channel, collection: &ApiRequest) -> Result<(), GateError> {
        let judged = collection.resource().map(|path| self.grant().judge_opening(path));
        let Some(Verdict::Denied { reason, .. }) = judged else { return Ok(()) };
        let refusal = self.meter().err().unwrap_or(GateError::Denied(reason));
        self.record_refusal(&refusal, AuditRecord::of_request(Timestamp::now(), self.extension(), way, collection));
        Err(refusal)
    }

    /// Makes the permit that was decided on, or records the refusal.
    fn permit(
        &self,
        way: Channel,
        request: ApiRequest,
        slot: Slot,
        decided: Result<usize, GateError>,
    ) -> Result<Permit, GateError> {
        match decided {
            Ok(rule) => Ok(Permit::new(self.clone(), way, slot, request, rule)),
            Err(refusal) => {
                let record = AuditRecord::of_request(Timestamp::now(), self.extension(), way, &request);
                self.record_refusal(&refusal, record);
                Err(refusal)
            }
        }
    }

    /// Records a refusal. A throttled request has cost its sender nothing and is sampled; other refusals are bounded by
    /// the rate, and are all recorded.
    fn record_refusal(&self, refusal: &GateError, request: AuditRecord<'_>) {
        let (verdict, reason) = (refusal.decision(), self.reason(refusal));
        let Some(unrecorded) = self.sample(verdict) else { return };
        self.state.audit.record(&AuditRecord { verdict, unrecorded, ..request }.because(reason));
    }

    /// Returns the number of refusals left out so far, if one more of this kind is to be recorded.
    fn sample(&self, verdict: Decision) -> Option<u64> {
        if verdict == Decision::Throttled { self.state.refusals.note() } else { Some(0) }
    }

    /// Returns the refusal and the limit behind it, for the operator.
    fn reason(&self, refusal: &GateError) -> String {
        let limits = &self.state.grant.limits;
        let reached = |limit| limits.reached(limit).map(|hit| hit.to_string()).unwrap_or_default();
        match refusal {
            GateError::Denied(reason) => reason.clone(),
            GateError::Throttled(_) => format!("{}, {}", reached(Limit::RequestsPerSecond), reached(Limit::Burst)),
            GateError::HostThrottled(_) => "the rate of the whole host".to_owned(),
            GateError::TooMany { .. } => reached(Limit::InFlight),
            GateError::TooManyWatches { .. } => reached(Limit::Watches),
            GateError::TargetTooLong { .. } => reached(Limit::TargetBytes),
        }
    }

    /// Records a request that could not be parsed, and so is never judged. Many at once are sampled: a record has the
    /// number of those left out before it.
    pub(crate) fn refuse_invalid(&self, way: Channel, method: &Method, target: &str, why: &InvalidRequest) {
        let Some(unrecorded) = self.state.refusals.note() else { return };
        let record = AuditRecord::of_invalid(Timestamp::now(), self.extension(), way, method, target);
        self.state.audit.record(&AuditRecord { unrecorded, ..record }.because(why.to_string()));
    }

    /// Records a request that was refused before it was judged, because of what came with it: a token that is not the
    /// caller's, or a header that names another user. It spends the rate like any other request.
    ///
    /// # Errors
    /// [`GateError::Throttled`] when the rate is spent, so that guessing is no quicker than asking.
    pub(crate) fn refuse(
        &self,
        way: Channel,
        method: &Method,
        target: &str,
        verdict: Decision,
        why: &str,
    ) -> Result<(), GateError> {
        let metered = self.meter();
        let verdict = metered.as_ref().map_or_else(GateError::decision, |()| verdict);
        if let Some(unrecorded) = self.sample(verdict) {
            let record = AuditRecord::of_invalid(Timestamp::now(), self.extension(), way, method, target);
            self.state.audit.record(&AuditRecord { verdict, unrecorded, ..record }.because(why));
        }
        metered
    }

    /// Spends the rate, judges all requests, and occupies a slot. Returns the rule that allows the last request.
    fn decide(&self, requests: &[&ApiRequest], slot: Slot) -> Result<usize, GateError> {
        self.meter()?;
        requests.iter().try_for_each(|request| self.measure(request.target()))?;
        let rule = self.judge(requests)?;
        self.enter(slot)?;
        Ok(rule)
    }

    /// Returns the rule that allows the last request, if the rules allow all of them.
    fn judge(&self, requests: &[&ApiRequest]) -> Result<usize, GateError> {
        match self.grant().judge_all(requests) {
            Verdict::Allowed { rule } => Ok(rule),
            Verdict::Denied { reason, .. } => Err(GateError::Denied(reason)),
        }
    }

    /// Refuses a target that is longer than the grant allows.
    fn measure(&self, target: &str) -> Result<(), GateError> {
        let limit = self.state.grant.limits.target_bytes;
        if target.len() as u64 <= limit {
            return Ok(());
        }
        Err(GateError::TargetTooLong { limit }).inspect_err(|refusal| self.report_refusal(refusal))
    }

    /// Spends one request. The extension's own rate comes first, so that its refusals cost other extensions nothing.
    fn meter(&self) -> Result<(), GateError> {
        rate::spend(&self.state.rate)
            .map_err(GateError::Throttled)
            .inspect_err(|refusal| self.report_refusal(refusal))?;
        self.state.host_rate.as_ref().map_or(Ok(()), HostRate::spend).map_err(GateError::HostThrottled)
    }

    /// Occupies a slot, which the permit frees when it is dropped.
    fn enter(&self, slot: Slot) -> Result<(), GateError> {
        let entered = self.state.slots.enter(slot, &self.state.grant.limits);
        entered.inspect_err(|refusal| self.report_refusal(refusal))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("extension", &self.state.extension)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
