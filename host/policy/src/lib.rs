//! What an extension may do: pure judgement, no I/O.
//!
//! [`ApiRequest`] says what a request asks for, [`Grant`] what an extension may ask for, and [`Grant::judge`] compares
//! them. Nothing here reads a file, waits or knows about wasmtime.

mod account;
mod build;
mod creation;
mod cursor;
mod duration;
mod egress;
mod field_selector;
mod grant;
mod grant_error;
mod invalid;
mod judgement;
mod limit;
mod limits;
mod manifest;
mod merging;
mod mounts;
mod narrowing;
mod path_prefix;
mod powers;
mod query;
mod rbac;
mod request;
#[cfg(test)]
mod request_tests;
mod rule_text;
mod rules;
mod segments;
mod suggested_grant;
mod tree;
mod variables;

pub use account::AccountRules;
pub use build::{MAX_NAME, PathBuilder};
pub use duration::{DurationError, GoDuration};
pub use egress::{Destination, DestinationError, Egress};
pub use grant::{API_VERSION, ComponentPin, Grant, KIND};
pub use grant_error::{GrantError, Problem};
pub use invalid::InvalidRequest;
pub use judgement::Verdict;
pub use limit::{Limit, LimitHit, LimitValue};
pub use limits::Limits;
pub use manifest::{
    EXTENSION_KIND, ExtensionManifest, GrantSource, HttpTrigger, InstanceReuse, Overlap, Restart, RestartPolicy,
    ScheduleTrigger, Trigger,
};
pub use mounts::{
    CredentialsMode, CredentialsMount, MAX_PODINFO_MOUNTS, MountPath, MountPathError, PODINFO_PATH, PodInfoMount,
    SERVICE_ACCOUNT_PATH,
};
pub use path_prefix::PathPrefix;
pub use query::MAX_PARAMETERS;
pub use rbac::{Account, AccountError, Rbac};
pub use request::{ApiRequest, MAX_TARGET, ResourcePath};
pub use rules::Rule;
pub use suggested_grant::SuggestedGrant;
pub use tree::Location;
pub use variables::ResolveError;

/// A guest's text as it may stand in a message: cut, and without control characters.
fn shown(text: &str) -> String {
    attache_base::untrusted::word(text)
}
