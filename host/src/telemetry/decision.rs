//! The channels by which requests come in, and the decisions on them.

use serde::Serialize;

/// The channel by which a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// The typed WIT interface `attache:pod/api`.
    Api,
    /// `wasi:http` of a guest.
    WasiHttp,
    /// The local proxy for sibling containers.
    Proxy,
    /// The host itself, for its discovery, for instance.
    Host,
}

impl Channel {
    /// Returns the name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::WasiHttp => "wasi-http",
            Self::Proxy => "proxy",
            Self::Host => "host",
        }
    }
}

/// The decision on a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// A rule allows it.
    Allowed,
    /// A rule allows it, and its answer, which has no end of its own, begins. The end is recorded as allowed.
    Begun,
    /// No rule allows it.
    Denied,
    /// The rate is spent.
    Throttled,
    /// Too many requests are in flight, or too many watches are open.
    TooMany,
    /// It could not be parsed.
    Invalid,
    /// It came with credentials that are not the caller's.
    Unauthorized,
}

impl Decision {
    /// Returns the name in records.
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
