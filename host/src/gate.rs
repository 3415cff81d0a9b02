//! The only maker of a permit.
//!
//! Threat: a request that reaches the API server without having been judged, metered and recorded. The API client takes a
//! [`Permit`] by value, a permit is made by [`Gate::admit`] alone, and it is recorded once when it is dropped, however the
//! request ended.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};
use http::Method;
use jiff::Timestamp;
use thiserror::Error;

use crate::policy::{ApiRequest, Grant, InvalidRequest, Limits, Rule, Verdict};
use crate::telemetry::{Audit, AuditRecord, Decision};

pub use crate::telemetry::Way;

/// Why a request was not let through.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The grant does not allow it; the payload says which rule would.
    #[error("{0}")]
    Denied(String),
    /// The rate is spent; try again after this long.
    #[error("the rate is spent; try again in {} ms", .0.as_millis())]
    Throttled(Duration),
    /// As many requests as the grant allows are under way.
    #[error("{limit} requests are under way, which is the grant's limit")]
    TooMany {
        /// The grant's `inFlight`.
        limit: u32,
    },
}

/// Judges, meters and records the requests of one extension. Cheap to clone; clones share the meters.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    extension: Arc<str>,
    grant: Arc<Grant>,
    audit: Arc<dyn Audit>,
    rate: DefaultDirectRateLimiter,
    in_flight: AtomicU32,
}

/// One judged and metered request.
pub struct Permit {
    gate: Gate,
    way: Way,
    request: ApiRequest,
    rule: usize,
    time: Timestamp,
    since: Instant,
    status: Option<u16>,
    bytes: u64,
}

impl Gate {
    /// A gate for one extension under one grant.
    pub fn new(extension: impl Into<Arc<str>>, grant: Arc<Grant>, audit: Arc<dyn Audit>) -> Self {
        let rate = DefaultDirectRateLimiter::direct(quota(&grant.limits));
        Self(Arc::new(Inner {
            extension: extension.into(),
            grant,
            audit,
            rate,
            in_flight: AtomicU32::new(0),
        }))
    }

    /// A gate for the host's own discovery requests: `/version`, `/api`, `/apis` and below them, to read, and nothing else.
    pub fn for_host(audit: Arc<dyn Audit>) -> Self {
        let paths = ["/version", "/api", "/api/*", "/apis", "/apis/*"];
        let mut grant = Grant::nothing("attache");
        grant.api.push(Rule {
            verbs: vec!["get".into()],
            non_resource_urls: paths.map(str::to_owned).into(),
            ..Rule::default()
        });
        Self::new("attache", Arc::new(grant), audit)
    }

    /// The grant that this gate judges by.
    pub fn grant(&self) -> &Arc<Grant> {
        &self.0.grant
    }

    /// Who asks at this gate, as records say it.
    pub fn extension(&self) -> &str {
        &self.0.extension
    }

    /// Lets a request through, or says why not. Never waits. A refusal is recorded at once, a permit when it is dropped.
    ///
    /// # Errors
    /// [`Refusal`], which is the guest's to mend or to wait for.
    pub fn admit(&self, way: Way, request: ApiRequest) -> Result<Permit, Refusal> {
        let (time, since) = (Timestamp::now(), Instant::now());
        let outcome = self
            .meter()
            .and_then(|()| self.judge(&request))
            .and_then(|rule| self.enter().map(|()| rule));
        match outcome {
            Ok(rule) => Ok(Permit {
                gate: self.clone(),
                way,
                request,
                rule,
                time,
                since,
                status: None,
                bytes: 0,
            }),
            Err(refusal) => {
                self.record_refusal(time, way, &request, &refusal);
                Err(refusal)
            }
        }
    }

    /// Records a request that could not be understood, and so was never judged.
    pub fn refuse_invalid(&self, way: Way, method: &Method, target: &str, why: &InvalidRequest) {
        self.0.audit.record(&AuditRecord {
            time: Timestamp::now(),
            extension: &self.0.extension,
            way,
            verb: method.as_str(),
            resource: None,
            path: target,
            verdict: Decision::Invalid,
            rule: None,
            reason: Some(&why.to_string()),
            status: None,
            duration: Duration::ZERO,
            bytes: 0,
        });
    }

    fn meter(&self) -> Result<(), Refusal> {
        self.0.rate.check().map_err(|until| {
            Refusal::Throttled(until.wait_time_from(DefaultClock::default().now()))
        })
    }

    fn judge(&self, request: &ApiRequest) -> Result<usize, Refusal> {
        match self.0.grant.judge(request) {
            Verdict::Allowed { rule } => Ok(rule),
            Verdict::Denied { reason, .. } => Err(Refusal::Denied(reason)),
        }
    }

    /// Counts one more request under way. [`Permit`]'s drop counts it out.
    fn enter(&self) -> Result<(), Refusal> {
        let limit = self.0.grant.limits.in_flight;
        let one_more = |now: u32| now.checked_add(1).filter(|next| *next <= limit);
        match self
            .0
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(Refusal::TooMany { limit }),
        }
    }

    fn record_refusal(&self, time: Timestamp, way: Way, request: &ApiRequest, refusal: &Refusal) {
        self.0.audit.record(&AuditRecord {
            time,
            extension: &self.0.extension,
            way,
            verb: request.verb(),
            resource: request.resource().map(Into::into),
            path: request.path(),
            verdict: refusal.decision(),
            rule: None,
            reason: Some(&refusal.to_string()),
            status: None,
            duration: Duration::ZERO,
            bytes: 0,
        });
    }
}

impl Refusal {
    fn decision(&self) -> Decision {
        match self {
            Self::Denied(_) => Decision::Denied,
            Self::Throttled(_) => Decision::Throttled,
            Self::TooMany { .. } => Decision::TooMany,
        }
    }
}

/// A steady rate with a burst.
fn quota(limits: &Limits) -> Quota {
    let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least_one(limits.requests_per_second))
        .allow_burst(at_least_one(limits.burst))
}

impl Permit {
    /// The request that may be sent, as it must be sent.
    pub fn request(&self) -> &ApiRequest {
        &self.request
    }

    /// The most bytes of the answer's body that may be passed on.
    pub fn response_limit(&self) -> u64 {
        self.gate.0.grant.limits.response_bytes
    }

    /// Notes the server's HTTP status.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }

    /// Notes that this many more bytes of the answer's body were passed on.
    pub fn read(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let gate = &self.gate.0;
        gate.in_flight.fetch_sub(1, Ordering::AcqRel);
        gate.audit.record(&AuditRecord {
            time: self.time,
            extension: &gate.extension,
            way: self.way,
            verb: self.request.verb(),
            resource: self.request.resource().map(Into::into),
            path: self.request.path(),
            verdict: Decision::Allowed,
            rule: Some(self.rule),
            reason: None,
            status: self.status,
            duration: self.since.elapsed(),
            bytes: self.bytes,
        });
    }
}
