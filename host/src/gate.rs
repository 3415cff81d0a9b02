//! The only maker of a permit.
//!
//! Threat: a request that reaches the API server without having been judged, metered and recorded. The API client takes
//! a
//! [`Permit`] by value, a permit is made by [`Gate::admit`] alone, and it is recorded exactly once when it is dropped,
//! however the request ended. Nobody else can make one:
//!
//! ```compile_fail,E0451
//! # fn forge(gate: attache::gate::Gate, request: attache::policy::ApiRequest, real: attache::gate::Permit) {
//! let forged = attache::gate::Permit { gate, request, ..real };
//! # }
//! ```
//!
//! or send two requests with one:
//!
//! ```compile_fail,E0599
//! # fn twice(permit: attache::gate::Permit) {
//! let again = permit.clone();
//! # }
//! ```

mod egress;
mod follower;
mod operator_log;
mod permit;
mod place;
mod rate;
mod refusals;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use governor::DefaultDirectRateLimiter;
use http::Method;
use jiff::Timestamp;
use thiserror::Error;

use crate::policy::{ApiRequest, Grant, InvalidRequest, Limit, Rule, Verdict};
use crate::telemetry::{Audit, AuditRecord, Decision, Sampled};

pub use crate::telemetry::Channel;
pub use egress::EgressPermit;
pub use follower::FollowerPermit;
use operator_log::Reported;
pub use permit::Permit;
use place::{Slot, Slots};
pub use rate::HostRate;

/// The name of the host itself in records.
const HOST: &str = "attache";

/// What the host may read on its own account: what there is in the API. Every account of a cluster may
/// (`system:discovery`).
const DISCOVERY: [&str; 5] = ["/version", "/api", "/api/*", "/apis", "/apis/*"];

/// The most bytes of one discovery document. The aggregated document of a cluster with some thousand types of its own
/// has about 10 MiB.
const DISCOVERY_BYTES: u64 = 32 << 20;

/// What the host asks about its own rights: every account of a cluster may (`system:basic-user`).
const REVIEWS: [&str; 2] = ["selfsubjectaccessreviews", "selfsubjectrulesreviews"];

/// How many of those questions a second, and at once: for ten extensions that ask at their default rate. Who asks more
/// than all others together makes them wait, but no longer than its own rate lets it ask.
const REVIEW_RATE: (u32, u32) = (200, 400);

/// Why a request was not let through.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GateError {
    /// The grant does not allow it; the payload says what was asked and which rule would allow it.
    #[error("{0}")]
    Denied(String),
    /// The rate is spent; try again after this long.
    #[error("the grant's rate is spent; try again in {} ms", .0.as_millis())]
    Throttled(Duration),
    /// As many requests as the grant allows are under way.
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

/// Judges, meters and records the requests of one extension. Cheap to clone; clones share the meters.
#[derive(Clone)]
pub struct Gate {
    inner: Arc<Inner>,
    ends: Option<Instant>,
}

struct Inner {
    extension: Arc<str>,
    grant: Arc<Grant>,
    audit: Arc<dyn Audit>,
    rate: DefaultDirectRateLimiter,
    host_rate: Option<HostRate>,
    places: Slots,
    refusals: Sampled,
    told: Reported,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tell_rest();
        let unrecorded = self.refusals.left_out();
        if unrecorded > 0 {
            self.audit.unrecorded(&self.extension, unrecorded);
        }
    }
}

impl Gate {
    /// A gate for one extension under one grant.
    pub fn new(extension: impl Into<Arc<str>>, grant: Arc<Grant>, audit: Arc<dyn Audit>) -> Self {
        Self::within(None, extension, grant, audit)
    }

    /// As [`Gate::new`], with what all extensions of the host may ask together.
    pub fn within(
        host_rate: Option<HostRate>,
        extension: impl Into<Arc<str>>,
        grant: Arc<Grant>,
        audit: Arc<dyn Audit>,
    ) -> Self {
        let (rate, places, refusals) = (rate::of(&grant.limits), Slots::default(), refusals::sampled());
        let (extension, told) = (extension.into(), Reported::default());
        let inner = Inner { extension, grant, audit, rate, host_rate, places, refusals, told };
        Self { inner: Arc::new(inner), ends: None }
    }

    /// The same gate, for one run of the extension that is over at `ends`: a server that says to come back later than
    /// that is not waited for. Ending the run is up to whoever runs it. A later end than before makes no difference.
    #[must_use]
    pub fn until(&self, ends: Instant) -> Self {
        Self { inner: Arc::clone(&self.inner), ends: Some(self.ends.map_or(ends, |sooner| sooner.min(ends))) }
    }

    /// A gate for the host's own discovery requests: `/version`, `/api`, `/apis` and what is below the two but no
    /// resource, to read.
    pub fn for_host(host_rate: Option<HostRate>, audit: Arc<dyn Audit>) -> Self {
        let mut grant = Grant::nothing(HOST);
        grant.limits.response_bytes = DISCOVERY_BYTES;
        grant.api.push(Rule {
            verbs: vec!["get".into()],
            non_resource_urls: DISCOVERY.map(str::to_owned).into(),
            ..Rule::default()
        });
        Self::within(host_rate, HOST, Arc::new(grant), audit)
    }

    /// A gate for the host's own questions about what its service account may do. Guests cause them, so they are
    /// metered apart from discovery.
    pub fn for_reviews(host_rate: Option<HostRate>, audit: Arc<dyn Audit>) -> Self {
        let mut grant = Grant::nothing(HOST);
        // Of each guest at most one is under way, and each pays for it with its own rate.
        grant.limits.in_flight = u32::MAX;
        (grant.limits.requests_per_second, grant.limits.burst) = REVIEW_RATE;
        grant.api.push(Rule {
            api_groups: vec!["authorization.k8s.io".into()],
            resources: REVIEWS.map(str::to_owned).into(),
            verbs: vec!["create".into()],
            namespaces: vec!["*".into()],
            ..Rule::default()
        });
        Self::within(host_rate, HOST, Arc::new(grant), audit)
    }

    /// Takes one request's worth of the rate, for what the host asks in a guest's stead.
    ///
    /// # Errors
    /// [`GateError::Throttled`]. It is not recorded: there is no request.
    pub fn spend(&self) -> Result<(), GateError> {
        self.meter()
    }

    /// The grant that this gate judges by.
    pub fn grant(&self) -> &Arc<Grant> {
        &self.inner.grant
    }

    /// Who asks at this gate, as records name it.
    pub fn extension(&self) -> &str {
        &self.inner.extension
    }

    /// How many requests are under way.
    pub fn in_flight(&self) -> u32 {
        self.inner.places.number(Slot::InFlight)
    }

    /// Lets a request through, or says why not. Never waits. A refusal is recorded at once, a permit when it is
    /// dropped; of many that are throttled only some are, with the number of the others.
    ///
    /// The rate is spent first, so that requests that are denied count too: asking is work, and is recorded.
    ///
    /// An answer without an end, such as a watch, and a request for an upgrade are recorded when they begin, too.
    ///
    /// # Errors
    /// [`GateError`], which is the guest's to mend or to wait for.
    pub fn admit(&self, way: Channel, request: ApiRequest) -> Result<Permit, GateError> {
        let place = Slot::of(&request);
        let decided = self.decide(&[&request], place);
        self.permit(way, request, place, decided)
    }

    /// Returns whether the grant opens anything at all of a collection, for whoever opens it before there is a request.
    /// Nothing is
    /// sent for it. A refusal spends the rate and is recorded as that of a request for the whole collection is.
    ///
    /// # Errors
    /// [`GateError`], as [`Gate::admit`].
    pub fn admit_opening(&self, way: Channel, collection: &ApiRequest) -> Result<(), GateError> {
        let judged = collection.resource().map(|path| self.grant().judge_opening(path));
        let Some(Verdict::Denied { reason, .. }) = judged else { return Ok(()) };
        let refusal = self.meter().err().unwrap_or(GateError::Denied(reason));
        self.record_refusal(
            &refusal,
            AuditRecord::of_request(Timestamp::now(), &self.inner.extension, way, collection),
        );
        Err(refusal)
    }

    /// Makes the permit that was decided on, or records the refusal.
    fn permit(
        &self,
        way: Channel,
        request: ApiRequest,
        place: Slot,
        decided: Result<usize, GateError>,
    ) -> Result<Permit, GateError> {
        let (time, since) = (Timestamp::now(), Instant::now());
        let record = || AuditRecord::of_request(time, &self.inner.extension, way, &request);
        let rule = match decided {
            Ok(rule) => rule,
            Err(refusal) => {
                self.record_refusal(&refusal, record());
                return Err(refusal);
            }
        };
        if request.is_stream() || request.upgrades() {
            self.inner.audit.record(&AuditRecord { verdict: Decision::Begun, rule: Some(rule), ..record() });
        }
        let gate = self.clone();
        Ok(Permit {
            gate,
            way,
            request,
            place,
            rule,
            time,
            since,
            status: None,
            bytes: 0,
            sent: 0,
            reached: None,
            error: None,
        })
    }

    /// A throttled request has cost its sender nothing; any other refusal has, and is always recorded.
    fn record_refusal(&self, refusal: &GateError, request: AuditRecord<'_>) {
        let (verdict, reason) = (refusal.decision(), self.reason(refusal));
        let Some(unrecorded) = self.records(verdict) else { return };
        self.inner.audit.record(&AuditRecord { verdict, unrecorded, ..request }.because(reason));
    }

    /// Returns whether one more refusal of this kind is recorded: then how many before it were not.
    fn records(&self, verdict: Decision) -> Option<u64> {
        if verdict == Decision::Throttled { self.inner.refusals.note() } else { Some(0) }
    }

    /// The refusal, and which limit it is, for the operator.
    fn reason(&self, refusal: &GateError) -> String {
        let limits = &self.inner.grant.limits;
        let reached = |limit| limits.reached(limit).map(|reached| reached.to_string()).unwrap_or_default();
        match refusal {
            GateError::Denied(reason) => reason.clone(),
            GateError::Throttled(_) => format!("{}, {}", reached(Limit::RequestsPerSecond), reached(Limit::Burst)),
            GateError::HostThrottled(_) => "the rate of the whole host".to_owned(),
            GateError::TooMany { .. } => reached(Limit::InFlight),
            GateError::TooManyWatches { .. } => reached(Limit::Watches),
            GateError::TargetTooLong { .. } => reached(Limit::TargetBytes),
        }
    }

    /// Records a request that could not be understood, and so never comes to be judged. Of many at once only some are
    /// recorded, with the number of the others.
    pub fn refuse_invalid(&self, way: Channel, method: &Method, target: &str, why: &InvalidRequest) {
        let Some(unrecorded) = self.inner.refusals.note() else { return };
        let record = AuditRecord::of_invalid(Timestamp::now(), &self.inner.extension, way, method, target);
        self.inner.audit.record(&AuditRecord { unrecorded, ..record }.because(why.to_string()));
    }

    /// Records a request that was refused for what came with it, before it came to be judged: a token that is not the
    /// asker's, a header that says who asks. It spends the rate like any other.
    ///
    /// # Errors
    /// [`GateError::Throttled`] when the rate is spent, so that guessing is no quicker than asking.
    pub fn refuse(
        &self,
        way: Channel,
        method: &Method,
        target: &str,
        verdict: Decision,
        why: &str,
    ) -> Result<(), GateError> {
        let metered = self.meter();
        let verdict = metered.as_ref().map_or_else(GateError::decision, |()| verdict);
        if let Some(unrecorded) = self.records(verdict) {
            let record = AuditRecord::of_invalid(Timestamp::now(), &self.inner.extension, way, method, target);
            self.inner.audit.record(&AuditRecord { verdict, unrecorded, ..record }.because(why));
        }
        metered
    }

    /// Returns whether the rate, the rules and the requests under way let all of these through, and by which rule the
    /// last.
    fn decide(&self, requests: &[&ApiRequest], place: Slot) -> Result<usize, GateError> {
        self.meter()?;
        requests.iter().try_for_each(|request| self.measure(request.target()))?;
        let rule = self.judge(requests)?;
        self.enter(place)?;
        Ok(rule)
    }

    /// Refuses a target that is longer than the grant allows.
    fn measure(&self, target: &str) -> Result<(), GateError> {
        let limit = self.inner.grant.limits.target_bytes;
        if target.len() as u64 <= limit {
            return Ok(());
        }
        Err(GateError::TargetTooLong { limit }).inspect_err(|refusal| self.tell_refusal(refusal))
    }

    /// The extension's own rate comes first: what that one refuses costs its neighbours nothing.
    fn meter(&self) -> Result<(), GateError> {
        rate::spend(&self.inner.rate)
            .map_err(GateError::Throttled)
            .inspect_err(|refusal| self.tell_refusal(refusal))?;
        self.inner.host_rate.as_ref().map_or(Ok(()), HostRate::spend).map_err(GateError::HostThrottled)
    }

    /// Counts one more request under way. The permit's drop counts it out.
    fn enter(&self, place: Slot) -> Result<(), GateError> {
        let entered = self.inner.places.enter(place, &self.inner.grant.limits);
        entered.inspect_err(|refusal| self.tell_refusal(refusal))
    }

    /// Counts one request less under way.
    fn leave(&self) {
        self.inner.places.leave(Slot::InFlight);
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("extension", &self.inner.extension)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
