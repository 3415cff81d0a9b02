//! Decisions and limits, counted for a scraper.
//!
//! Threat: a series for each text that a guest makes up, until the scraper or the host has no memory left. Labels are
//! the names of at most [`MAX_EXTENSIONS`] extensions, which the operator chooses, and words of our own. Of a server's
//! answer only the class of its status becomes a label, and nothing of a guest.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::{Audit, AuditRecord, Decision, LimitRecord};

/// The most extensions with series of their own, more than a host runs. The others share the name [`OTHER`].
pub const MAX_EXTENSIONS: usize = 1024;

/// The common name of extensions beyond [`MAX_EXTENSIONS`]. No grant can have this name.
pub const OTHER: &str = "(other)";

/// The bounds of the durations of answers, in seconds: from an answer within the machine to a list of thousands.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// An [`Audit`] that counts records and passes each on.
///
/// | series | labels | counts |
/// | --- | --- | --- |
/// | `attache_requests_total` | `extension`, `way`, `verdict`, `status` | decisions on requests; `status` is the class of the server's answer, such as `2xx`, or empty |
/// | `attache_request_duration_seconds` | `extension`, `way` | from admission to the end of the answer, or to a failure; without watches |
/// | `attache_response_bytes_total` | `extension`, `way` | bytes of bodies that were passed on |
/// | `attache_unrecorded_refusals_total` | `extension` | refusals that were too many to record one by one |
/// | `attache_limits_total` | `extension`, `limit`, `ended` | limits that were reached, by their name in a grant, and whether that ended the call; limits of requests are counted every ten seconds, as they are logged |
///
/// ```
/// use attache::telemetry::{Metrics, NoAudit};
/// use prometheus_client::encoding::text::encode;
/// use prometheus_client::registry::Registry;
/// use std::sync::Arc;
///
/// let mut registry = Registry::default();
/// let audit = Arc::new(Metrics::new(Arc::new(NoAudit), &mut registry));
/// // For `RuntimeBuilder::audit` and `ApiClientSettings`. For a scraper:
/// let mut text = String::new();
/// encode(&mut text, &registry)?;
/// # drop(audit);
/// # Ok::<(), std::fmt::Error>(())
/// ```
pub struct Metrics {
    next: Arc<dyn Audit>,
    /// Extensions with series of their own.
    extensions: RwLock<HashSet<Arc<str>>>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<AnswerLabels, Histogram, fn() -> Histogram>,
    bytes: Family<AnswerLabels, Counter>,
    unrecorded: Family<ExtensionLabels, Counter>,
    limits: Family<LimitLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    extension: Arc<str>,
    way: &'static str,
    verdict: &'static str,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    extension: Arc<str>,
    way: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExtensionLabels {
    extension: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    extension: Arc<str>,
    limit: &'static str,
    ended: bool,
}

impl Metrics {
    /// Registers the series above. Each record is passed on to `next`.
    pub fn new(next: Arc<dyn Audit>, registry: &mut Registry) -> Self {
        let metrics = Self {
            next,
            extensions: RwLock::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            bytes: Family::default(),
            unrecorded: Family::default(),
            limits: Family::default(),
        };
        registry.register("attache_requests", "Decisions on requests", metrics.requests.clone());
        let help = "From admission to the end of the answer, or to why there was none; without watches";
        registry.register_with_unit("attache_request_duration", help, Unit::Seconds, metrics.durations.clone());
        let help = "Bytes of answers' bodies that were passed on";
        registry.register_with_unit("attache_response", help, Unit::Bytes, metrics.bytes.clone());
        let help = "Refusals that were too many to record one by one";
        registry.register("attache_unrecorded_refusals", help, metrics.unrecorded.clone());
        registry.register("attache_limits", "Limits that extensions reached", metrics.limits.clone());
        metrics
    }

    /// Returns the name of an extension's series.
    fn extension(&self, name: &str) -> Arc<str> {
        if let Some(known) = self.extensions.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Arc::clone(known);
        }
        let mut extensions = self.extensions.write().unwrap_or_else(PoisonError::into_inner);
        if extensions.len() >= MAX_EXTENSIONS && !extensions.contains(name) {
            return OTHER.into();
        }
        let name: Arc<str> = name.into();
        extensions.insert(Arc::clone(&name));
        name
    }

    fn count(&self, line: &AuditRecord<'_>) {
        let (extension, way) = (self.extension(line.extension), line.way.as_str());
        let status = line.status.map_or("", class);
        let request = RequestLabels { extension: Arc::clone(&extension), way, verdict: line.verdict.as_str(), status };
        self.requests.get_or_create(&request).inc();
        if line.unrecorded > 0 {
            self.unrecorded
                .get_or_create(&ExtensionLabels { extension: Arc::clone(&extension) })
                .inc_by(line.unrecorded);
        }
        if line.verdict != Decision::Allowed {
            return;
        }
        let asked = AnswerLabels { extension, way };
        self.bytes.get_or_create(&asked).inc_by(line.bytes);
        if (line.status.is_some() || line.error.is_some()) && line.verb != "watch" {
            self.durations.get_or_create(&asked).observe(line.duration.as_secs_f64());
        }
    }
}

/// Returns the class of a status; empty for a number outside of all classes.
fn class(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500..600 => "5xx",
        _ => "",
    }
}

impl Audit for Metrics {
    fn record(&self, line: &AuditRecord<'_>) {
        self.count(line);
        self.next.record(line);
    }

    fn limit(&self, line: &LimitRecord<'_>) {
        let extension = self.extension(line.extension);
        self.limits.get_or_create(&LimitLabels { extension, limit: line.limit, ended: line.ended }).inc_by(line.times);
        self.next.limit(line);
    }

    fn unrecorded(&self, extension: &str, number: u64) {
        self.unrecorded.get_or_create(&ExtensionLabels { extension: self.extension(extension) }).inc_by(number);
        self.next.unrecorded(extension, number);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::{ApiRequest, Limit, LimitHit, LimitValue};
    use crate::telemetry::{Channel, NoAudit};
    use http::Method;
    use jiff::Timestamp;
    use prometheus_client::encoding::text::encode;
    use std::time::Duration;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        encode(&mut text, registry).unwrap();
        text
    }

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|had| had == line), "{line}\nis not in\n{text}");
    }

    #[test]
    fn decisions_are_counted_by_extension_way_verdict_and_class() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(Arc::new(NoAudit), &mut registry);
        let record = |target: &str, verdict: Decision, status: Option<u16>| {
            let request = ApiRequest::parse(&Method::GET, target).unwrap();
            let asked = AuditRecord::of_request(Timestamp::UNIX_EPOCH, "card", Channel::Api, &request);
            let duration = Duration::from_micros(3500);
            metrics.record(&AuditRecord { verdict, status, duration, bytes: 40, ..asked });
        };
        record("/api/v1/pods", Decision::Allowed, Some(200));
        record("/api/v1/pods", Decision::Allowed, Some(204));
        record("/api/v1/pods?watch=1", Decision::Begun, Some(200));
        record("/api/v1/pods?watch=1", Decision::Allowed, Some(200));
        record("/api/v1/nodes", Decision::Denied, None);
        let request = ApiRequest::parse(&Method::GET, "/api/v1/pods").unwrap();
        let unanswered = AuditRecord::of_request(Timestamp::UNIX_EPOCH, "card", Channel::Api, &request);
        metrics.record(&unanswered.clone());
        metrics.record(&AuditRecord { duration: Duration::from_secs(9), ..unanswered.failed(Some("it is away")) });
        let text = text(&registry);
        let labels = "extension=\"card\",way=\"api\"";
        has(&text, &format!("attache_requests_total{{{labels},verdict=\"allowed\",status=\"2xx\"}} 3"));
        has(&text, &format!("attache_requests_total{{{labels},verdict=\"begun\",status=\"2xx\"}} 1"));
        has(&text, &format!("attache_requests_total{{{labels},verdict=\"denied\",status=\"\"}} 1"));
        has(&text, &format!("attache_response_bytes_total{{{labels}}} 120"));
        has(&text, &format!("attache_request_duration_seconds_count{{{labels}}} 3"));
        has(&text, &format!("attache_request_duration_seconds_bucket{{le=\"0.0025\",{labels}}} 0"));
        has(&text, &format!("attache_request_duration_seconds_bucket{{le=\"0.005\",{labels}}} 2"));
    }

    #[test]
    fn limits_are_counted_by_name() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(Arc::new(NoAudit), &mut registry);
        for _ in 0..2 {
            let reached = LimitHit { limit: Limit::Memory, allowed: LimitValue::Bytes(64 << 20) };
            metrics.limit(&LimitRecord::now("hog", reached, true));
        }
        has(&text(&registry), "attache_limits_total{extension=\"hog\",limit=\"memory\",ended=\"true\"} 2");
    }

    #[test]
    fn extensions_without_number_are_one() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(Arc::new(NoAudit), &mut registry);
        for number in 0..MAX_EXTENSIONS + 10 {
            let name = format!("e{number}");
            metrics.record(&AuditRecord::of_invalid(Timestamp::UNIX_EPOCH, &name, Channel::Api, &Method::GET, "/x"));
        }
        let text = text(&registry);
        has(&text, "attache_requests_total{extension=\"(other)\",way=\"api\",verdict=\"invalid\",status=\"\"} 10");
        assert_eq!(text.lines().filter(|line| line.starts_with("attache_requests_total")).count(), MAX_EXTENSIONS + 1);
    }
}
