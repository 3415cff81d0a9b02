//! One record of every decision on a request, whichever way it came in.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::policy::ResourcePath;

/// The way by which a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The typed WIT interface `attache:pod/api`.
    Api,
    /// `wasi:http` of a guest.
    WasiHttp,
    /// The local proxy for sibling containers.
    Proxy,
    /// The host itself, such as its discovery.
    Host,
}

impl Way {
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
    /// No rule allows it.
    Denied,
    /// The rate is spent.
    Throttled,
    /// Too many are under way.
    TooMany,
    /// It could not be understood.
    Invalid,
}

/// One decision. It borrows from the request; a writer that keeps it serialises it.
#[derive(Debug, Clone, Serialize)]
pub struct AuditRecord<'a> {
    /// When the request came.
    pub time: Timestamp,
    /// Which extension asked.
    pub extension: &'a str,
    /// By which way.
    pub way: Way,
    /// The API's verb, or for what could not be understood the method.
    pub verb: &'a str,
    /// What it is about; absent for a non-resource path.
    #[serde(flatten)]
    pub resource: Option<AuditedResource<'a>>,
    /// The path, without the query: selectors may hold what is nobody else's business.
    pub path: &'a str,
    /// What was decided.
    pub verdict: Decision,
    /// The index of the rule that allows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<usize>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// The server's HTTP status; absent when it was not asked or did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// From admission to the end of the answer, in microseconds.
    #[serde(rename = "durationMicros", serialize_with = "micros")]
    pub duration: Duration,
    /// Bytes of the answer's body that were passed on.
    pub bytes: u64,
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

impl<'a> From<&'a ResourcePath> for AuditedResource<'a> {
    fn from(path: &'a ResourcePath) -> Self {
        Self {
            group: &path.group,
            version: &path.version,
            resource: &path.resource,
            subresource: path.subresource.as_deref(),
            namespace: path.namespace.as_deref(),
            name: path.name.as_deref(),
        }
    }
}

fn micros<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}

/// Where decisions are recorded.
///
/// `record` is called once for each refusal, at once, and once for each permit, when it is dropped; possibly from many
/// threads. It must not panic, and must not hold its caller up: the caller is answering a guest.
pub trait Audit: Send + Sync {
    /// Takes one decision down.
    fn record(&self, line: &AuditRecord<'_>);
}

/// Records decisions as `tracing` events of the target `attache::audit`: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToTracing;

impl Audit for ToTracing {
    fn record(&self, line: &AuditRecord<'_>) {
        tracing::info!(target: "attache::audit", extension = line.extension, way = line.way.as_str(), verb = line.verb,
            path = line.path, verdict = ?line.verdict, rule = line.rule, reason = line.reason, status = line.status,
            duration = ?line.duration, bytes = line.bytes);
    }
}
