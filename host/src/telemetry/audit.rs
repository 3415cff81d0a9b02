//! One record of every decision on a request, on whichever channel it came in.
//!
//! Threat: a guest or a server that writes records of its own by line breaks, quotes or endless names. Texts of
//! strangers are cut, to [`MAX_TEXT`] mostly, and escaped before a writer sees them.

use std::borrow::Cow;
use std::time::Duration;

use attache_base::untrusted::{beginning, in_record, sentence_in_record};
use http::Method;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Channel, Decision, LimitRecord};
use crate::policy::{ApiRequest, ResourcePath};

/// The most bytes of a text that a guest chose. Names of Kubernetes have at most 253; a record of all texts at this
/// length is 4 KiB, which a pipe still takes in one piece.
pub const MAX_TEXT: usize = 512;

/// The most bytes of a reason in a record: what was asked, and the rule that would allow it.
const MAX_REASON: usize = 2 * MAX_TEXT;

/// The most bytes of an `Audit-Id` in a record. A server makes a UUID (36), or takes the identifier that a client
/// sends, and cuts that at 64 in its own log.
const MAX_AUDIT_ID: usize = 64;

/// One decision. It borrows from the request; a writer that keeps it serialises it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AuditRecord<'a> {
    /// The time at which the request came; RFC 3339 in UTC with microseconds.
    #[serde(serialize_with = "to_the_microsecond")]
    pub time: Timestamp,
    /// The name of the extension.
    pub extension: &'a str,
    /// The channel by which the request came.
    pub way: Channel,
    /// The API's verb; the HTTP method where the request could not be parsed.
    pub verb: Cow<'a, str>,
    /// True for a server-side apply, whose verb is `patch` and which needs `create` too.
    #[serde(rename = "apply", skip_serializing_if = "std::ops::Not::not")]
    pub applies: bool,
    /// True for a request that creates the object if there is none, and so needs `create` beside its verb: an apply,
    /// and the PUT of some types.
    #[serde(skip)]
    pub creates: bool,
    /// True for a request to change to another protocol on its connection, as `kubectl exec` does.
    #[serde(rename = "upgrade", skip_serializing_if = "std::ops::Not::not")]
    pub upgrades: bool,
    /// Scheme, host and port of a destination that is not the API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Cow<'a, str>>,
    /// The resource; absent for a non-resource path.
    #[serde(flatten)]
    pub resource: Option<AuditedResource<'a>>,
    /// The path, without the query: selectors may be confidential.
    pub path: Cow<'a, str>,
    /// The decision.
    pub verdict: Decision,
    /// The index in `spec.api` of the rule that allows the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// The reason of a refusal, or the limit at which the answer was cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Cow<'a, str>>,
    /// The number of refusals of this extension before this one that were not recorded because there were too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub unrecorded: u64,
    /// The server's HTTP status; absent when the server was not asked or did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The identifier of the request in the API server's own audit log, from the answer's `Audit-Id`: at most 64
    /// bytes of printable ASCII.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit_id: Option<Cow<'a, str>>,
    /// The error in place of a whole answer, other than a limit. Absent where the answer was whole, and where the
    /// caller did not wait for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'a, str>>,
    /// The time from admission to the end of the answer; in microseconds.
    #[serde(rename = "durationMicros", serialize_with = "micros")]
    pub duration: Duration,
    /// Bytes of the answer's body that were passed on; after an upgrade, all bytes from the server.
    pub bytes: u64,
    /// Bytes that were passed on to the server after an upgrade.
    #[serde(skip_serializing_if = "is_zero")]
    pub sent: u64,
}

/// The resource of a record.
#[derive(Debug, Clone, Copy, Serialize)]
#[non_exhaustive]
pub struct AuditedResource<'a> {
    /// The API group; empty for the core group.
    pub group: &'a str,
    /// The version, such as `v1`.
    pub version: &'a str,
    /// The plural in lower case.
    pub resource: &'a str,
    /// The subresource, such as `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresource: Option<&'a str>,
    /// The namespace; absent for a cluster-scoped object and a list over all namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<&'a str>,
    /// The object's name; absent for a collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
}

impl<'a> AuditRecord<'a> {
    /// Makes the record of a request that was parsed. The caller fills in verdict, rule, reason and what came of it.
    pub fn of_request(time: Timestamp, extension: &'a str, way: Channel, request: &'a ApiRequest) -> Self {
        // What was parsed is plain ASCII: cutting it is enough.
        let (verb, path) = (request.verb().into(), cut(request.path()).into());
        let (applies, creates, upgrades) = (request.applies(), request.creates(), request.upgrades());
        let resource = request.resource().map(Into::into);
        Self { applies, creates, upgrades, resource, ..Self::bare(time, extension, way, verb, path) }
    }

    /// Makes the record of a request that could not be parsed.
    pub fn of_invalid(time: Timestamp, extension: &'a str, way: Channel, method: &'a Method, target: &'a str) -> Self {
        let path = target.split('?').next().unwrap_or_default();
        Self { verdict: Decision::Invalid, ..Self::bare(time, extension, way, escaped(method.as_str()), escaped(path)) }
    }

    /// Makes the record of a request to a destination outside the API server.
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

    /// Sets the reason of a refusal, and cuts it: the gate's words repeat what was asked, which may be long.
    #[must_use]
    pub fn because(self, reason: impl Into<Cow<'a, str>>) -> Self {
        let reason = match reason.into() {
            long if long.len() > MAX_REASON => beginning(&long, MAX_REASON).to_owned().into(),
            whole => whole,
        };
        Self { reason: Some(reason), ..self }
    }

    /// Sets the error in place of an answer: cut, and in ASCII without control characters.
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
            audit_id: None,
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

/// Returns an `Audit-Id` as records have it: at most 64 bytes of printable ASCII.
pub(crate) fn audit_id(header: &[u8]) -> String {
    let id = String::from_utf8_lossy(header);
    beginning(&in_record(&id, MAX_AUDIT_ID), MAX_AUDIT_ID).to_owned()
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

/// A log of decisions.
///
/// `record` is called once for each refusal, at once, and once for each permit, when the permit is dropped. Calls may
/// come from many threads, and while a thread unwinds. `record` must not panic, and must not block: its caller is
/// answering a guest.
///
/// ```
/// use attache::telemetry::{Audit, AuditRecord, Decision};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// #[derive(Default)]
/// struct Denials(AtomicU64);
///
/// impl Audit for Denials {
///     fn record(&self, line: &AuditRecord<'_>) {
///         self.0.fetch_add(u64::from(line.verdict == Decision::Denied), Ordering::Relaxed);
///     }
/// }
/// ```
pub trait Audit: Send + Sync {
    /// Records one decision.
    fn record(&self, line: &AuditRecord<'_>);

    /// Records that an extension reached a limit: at the first time, and then every ten seconds at most with the number
    /// of times. The default does nothing, since the log has it too.
    fn limit(&self, line: &LimitRecord<'_>) {
        let _ = line;
    }

    /// Records the number of an extension's refusals that were too many to record one by one, at the end of its gate:
    /// no record follows that could have the number. The default does nothing.
    fn unrecorded(&self, extension: &str, number: u64) {
        let _ = (extension, number);
    }
}

/// The default [`Audit`]: `tracing` events of the target `attache::audit`. Refusals are warnings.
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
                    audit_id = line.audit_id.as_deref(),
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

/// An [`Audit`] that records nothing, for measurements, and for hosts that audit elsewhere.
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
    fn an_audit_id_is_short_and_in_plain_letters_whatever_the_server_sends() {
        let uuid = "0b6ccd31-2b0e-4a5c-9d0a-3e5b8f0f6f37";
        assert_eq!(audit_id(uuid.as_bytes()), uuid);
        for hostile in
            ["x".repeat(5000).into_bytes(), vec![0xff; 100], b"a b\t\"c\"".to_vec(), "\u{202e}".repeat(99).into()]
        {
            let id = audit_id(&hostile);
            assert!(id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '), "{id}");
        }
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
