//! One record of every decision on a request, whichever way it came in.
//!
//! Threat: a guest that writes records of its own by putting line breaks, quotes or endless names into a path. Texts
//! that a guest chose are cut to [`MAX_TEXT`] and escaped before a writer sees them.

use std::borrow::Cow;
use std::time::Duration;

use attache_base::untrusted::{beginning, in_record, sentence_in_record};
use http::Method;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::LimitRecord;
use crate::policy::{ApiRequest, ResourcePath};

/// The most of a text that a guest chose, in bytes. Names of Kubernetes have at most 253; a record of all texts at this
/// length is 4 KiB, which a pipe still takes in one piece.
pub const MAX_TEXT: usize = 512;

/// The longest reason in a record, in bytes: what was asked, and the rule that would allow it.
const MAX_REASON: usize = 2 * MAX_TEXT;

/// The way by which a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// The typed WIT interface `attache:pod/api`.
    Api,
    /// `wasi:http` of a guest.
    WasiHttp,
    /// The local proxy for sibling containers.
    Proxy,
    /// The host itself, such as its discovery.
    Host,
}

impl Channel {
    /// The name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::WasiHttp => "wasi-http",
            Self::Proxy => "proxy",
            Self::Host => "host",
        }
    }
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// A rule allows it.
    Allowed,
    /// A rule allows it, and its answer, which has no end of its own, begins; its end is recorded as allowed.
    Begun,
    /// No rule allows it.
    Denied,
    /// The rate is spent.
    Throttled,
    /// Too many are under way.
    TooMany,
    /// It could not be understood.
    Invalid,
    /// It came with credentials that are not the asker's.
    Unauthorized,
}

impl Decision {
    /// The name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Begun => "begun",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::TooMany => "too-many",
            Self::Invalid => "invalid",
            Self::Unauthorized => "unauthorized",
        }
    }
}

/// One decision. It borrows from the request; a writer that keeps it serialises it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord<'a> {
    /// When the request came; RFC 3339 in UTC with microseconds.
    #[serde(serialize_with = "to_the_microsecond")]
    pub time: Timestamp,
    /// Which extension asked.
    pub extension: &'a str,
    /// By which way.
    pub way: Channel,
    /// The API's verb; of what could not be understood the method.
    pub verb: Cow<'a, str>,
    /// Whether it is a server-side apply, whose verb is `patch` and which needs `create` too.
    #[serde(rename = "apply", skip_serializing_if = "std::ops::Not::not")]
    pub applies: bool,
    /// Whether it creates where there is nothing to change, and so needs `create` beside its verb: an apply, and the
    /// PUT of some types.
    #[serde(skip)]
    pub creates: bool,
    /// Whether it asks to change to another protocol on its connection, as `kubectl exec` does.
    #[serde(rename = "upgrade", skip_serializing_if = "std::ops::Not::not")]
    pub upgrades: bool,
    /// Where it went, if not to the API server: scheme, host and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Cow<'a, str>>,
    /// What it is about; absent for a non-resource path.
    #[serde(flatten)]
    pub resource: Option<AuditedResource<'a>>,
    /// The path, without the query: selectors may hold what is nobody else's business.
    pub path: Cow<'a, str>,
    /// What was decided.
    pub verdict: Decision,
    /// The index in `spec.api` of the rule that allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// Why it was refused, or the limit at which it was cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// How many refusals of this extension before this one were not recorded, for their number.
    #[serde(skip_serializing_if = "is_zero")]
    pub unrecorded: u64,
    /// The server's HTTP status; absent when it was not asked or did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why a request that is allowed got no answer, or not a whole one, other than for a limit. Absent where it got
    /// one, and where whoever asked did not wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'a, str>>,
    /// From admission to the end of the answer; in microseconds.
    #[serde(rename = "durationMicros", serialize_with = "micros")]
    pub duration: Duration,
    /// Bytes of the answer's body that were passed on; after an upgrade, all bytes of the server's.
    pub bytes: u64,
    /// Bytes that were passed on to the server after an upgrade.
    #[serde(skip_serializing_if = "is_zero")]
    pub sent: u64,
}

/// The resource of a record, beside its verb.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct AuditedResource<'a> {
    /// Empty for the core group.
    pub group: &'a str,
    /// Such as `v1`.
    pub version: &'a str,
    /// Lower-case plural.
    pub resource: &'a str,
    /// Such as `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresource: Option<&'a str>,
    /// Absent for a cluster-scoped object or a list over all namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<&'a str>,
    /// Absent for a collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
}

impl<'a> AuditRecord<'a> {
    /// The record of a request that was understood. Verdict, rule, reason, status, error, duration and bytes are for
    /// the caller to fill in.
    pub fn of_request(time: Timestamp, extension: &'a str, way: Channel, request: &'a ApiRequest) -> Self {
        // What was parsed is plain ASCII: cutting it is enough.
        let (verb, path) = (request.verb().into(), cut(request.path()).into());
        let (applies, creates, upgrades) = (request.applies(), request.creates(), request.upgrades());
        let resource = request.resource().map(Into::into);
        Self { applies, creates, upgrades, resource, ..Self::bare(time, extension, way, verb, path) }
    }

    /// The record of a request that was not understood.
    pub fn of_invalid(time: Timestamp, extension: &'a str, way: Channel, method: &'a Method, target: &'a str) -> Self {
        let path = target.split('?').next().unwrap_or_default();
        Self { verdict: Decision::Invalid, ..Self::bare(time, extension, way, escaped(method.as_str()), escaped(path)) }
    }

    /// The record of a request to another place than the API server.
    pub fn of_egress(
        time: Timestamp,
        extension: &'a str,
        way: Channel,
        method: &'a Method,
        destination: &'a str,
        target: &'a str,
    ) -> Self {
        let path = target.split('?').next().unwrap_or_default();
        let bare = Self::bare(time, extension, way, escaped(method.as_str()), escaped(path));
        Self { destination: Some(escaped(destination)), ..bare }
    }

    /// The same with why it was refused: the grant's answer repeats what was asked, which may be long.
    #[must_use]
    pub fn because(self, reason: impl Into<Cow<'a, str>>) -> Self {
        let reason = match reason.into() {
            long if long.len() > MAX_REASON => beginning(&long, MAX_REASON).to_owned().into(),
            whole => whole,
        };
        Self { reason: Some(reason), ..self }
    }

    /// The same with why there was no answer: cut, and in ASCII without control characters.
    #[must_use]
    pub fn failed(self, error: Option<&'a str>) -> Self {
        Self { error: error.map(|error| sentence_in_record(error, MAX_TEXT)), ..self }
    }

    fn bare(time: Timestamp, extension: &'a str, way: Channel, verb: Cow<'a, str>, path: Cow<'a, str>) -> Self {
        Self {
            time,
            extension,
            way,
            verb,
            applies: false,
            creates: false,
            upgrades: false,
            destination: None,
            resource: None,
            path,
            verdict: Decision::Allowed,
            rule: None,
            reason: None,
            unrecorded: 0,
            status: None,
            error: None,
            duration: Duration::ZERO,
            bytes: 0,
            sent: 0,
        }
    }
}

impl<'a> From<&'a ResourcePath> for AuditedResource<'a> {
    fn from(path: &'a ResourcePath) -> Self {
        Self {
            group: cut(&path.group),
            version: cut(&path.version),
            resource: cut(&path.resource),
            subresource: path.subresource.as_deref().map(cut),
            namespace: path.namespace.as_deref().map(cut),
            name: path.name.as_deref().map(cut),
        }
    }
}

fn cut(text: &str) -> &str {
    beginning(text, MAX_TEXT)
}

fn escaped(text: &str) -> Cow<'_, str> {
    in_record(text, MAX_TEXT)
}

pub(super) fn to_the_microsecond<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.6}"))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn micros<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// Where decisions are recorded.
///
/// `record` is called once for each refusal, at once, and once for each permit, when it is dropped; possibly from many
/// threads, and possibly while a thread unwinds. It must not panic, and must not hold its caller up: the caller is
/// answering a guest.
pub trait Audit: Send + Sync {
    /// Takes one decision down.
    fn record(&self, line: &AuditRecord<'_>);

    /// Takes down that an extension reached a limit: at its first time, and then now and then with how often; the
    /// default does nothing, for the log has it too.
    fn limit(&self, line: &LimitRecord<'_>) {
        let _ = line;
    }

    /// Takes down how many refusals of an extension were not recorded for their number, when no record follows that
    /// could say so: at the end of its gate. The default does nothing.
    fn unrecorded(&self, extension: &str, number: u64) {
        let _ = (extension, number);
    }
}

/// Records decisions as `tracing` events of the target `attache::audit`: the default. Refusals are warnings.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToTracing;

impl Audit for ToTracing {
    fn record(&self, line: &AuditRecord<'_>) {
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    target: "attache::audit",
                    extension = line.extension,
                    way = line.way.as_str(),
                    verb = &*line.verb,
                    destination = line.destination.as_deref(),
                    path = &*line.path,
                    verdict = line.verdict.as_str(),
                    rule = line.rule,
                    reason = line.reason.as_deref(),
                    unrecorded = (line.unrecorded > 0).then_some(line.unrecorded),
                    status = line.status,
                    error = line.error.as_deref(),
                    micros = u64::try_from(line.duration.as_micros()).unwrap_or(u64::MAX),
                    bytes = line.bytes,
                )
            };
        }
        if matches!(line.verdict, Decision::Allowed | Decision::Begun) { event!(info) } else { event!(warn) }
    }

    fn unrecorded(&self, extension: &str, number: u64) {
        tracing::warn!(target: "attache::audit", extension, unrecorded = number, "more requests were refused than were recorded");
    }
}

/// Records nothing: for measurements, and for hosts that audit elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoAudit;

impl Audit for NoAudit {
    fn record(&self, _: &AuditRecord<'_>) {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_guests_text_is_cut_and_escaped() {
        let path = format!("/a\"\n{{\u{202e}\u{2028}{}", "x".repeat(5000));
        let record = AuditRecord::of_invalid(Timestamp::UNIX_EPOCH, "e", Channel::WasiHttp, &Method::GET, &path);
        let line = serde_json::to_string(&record).unwrap();
        assert!(line.is_ascii() && !line.contains('\n') && line.len() < 2 * MAX_TEXT, "{line}");
        assert!(record.path.starts_with("/a\\\"\\n{\\u{202e}\\u{2028}xxx"), "{}", record.path);
    }

    #[test]
    fn a_failures_words_are_cut_and_escaped() {
        let request = ApiRequest::parse(&Method::GET, "/version").unwrap();
        let error = format!("it said \"no\": \u{202e}\n{}", "\u{7}".repeat(5000));
        let record = AuditRecord::of_request(Timestamp::UNIX_EPOCH, "e", Channel::Api, &request).failed(Some(&error));
        let told = record.error.as_deref().unwrap();
        assert!(told.starts_with("it said \"no\": \\u{202e}\\n\\u{7}") && told.len() <= MAX_TEXT, "{told}");
    }

    #[test]
    fn a_record_is_one_flat_object() {
        let request =
            ApiRequest::parse(&Method::GET, "/apis/apps/v1/namespaces/n/deployments/d/scale?x=secret").unwrap();
        let time = Timestamp::from_microsecond(1_500_000).unwrap();
        let record = AuditRecord {
            rule: Some(2),
            status: Some(200),
            duration: Duration::from_micros(1234),
            bytes: 7,
            ..AuditRecord::of_request(time, "pod-card", Channel::Api, &request)
        };
        assert_eq!(
            serde_json::to_string(&record).unwrap(),
            "{\"time\":\"1970-01-01T00:00:01.500000Z\",\"extension\":\"pod-card\",\"way\":\"api\",\"verb\":\"get\",\
             \"group\":\"apps\",\"version\":\"v1\",\"resource\":\"deployments\",\"subresource\":\"scale\",\"namespace\":\"n\",\
             \"name\":\"d\",\"path\":\"/apis/apps/v1/namespaces/n/deployments/d/scale\",\"verdict\":\"allowed\",\"rule\":2,\
             \"status\":200,\"durationMicros\":1234,\"bytes\":7}"
        );
    }
}
