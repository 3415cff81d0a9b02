//! The judgement of an extension's requests: pure functions, no I/O.
//!
//! [`ApiRequest`] is a parsed request, [`Grant`] holds the rights of an extension, and [`Grant::judge`] compares them.
//! Nothing here reads a file, waits or knows about wasmtime.
//!
//! | files | content |
//! | --- | --- |
//! | `request`, `segments`, `query`, `field_selector`, `build`, `path_prefix`, `invalid` | the request |
//! | `grant`, `rules`, `rule_text`, `mounts`, `egress`, `limits`, `duration` | the grant |
//! | `manifest` | the manifest of an extension |
//! | `document` | the strict reader of documents of every kind |
//! | `judgement`, `creation`, `powers` | the judgement of a request by a grant |
//! | `variables`, `narrowing`, `merging`, `suggested_grant` | a grant made from another grant, or from many requests |
//! | `rbac`, `account` | the rights that the service account needs, and those that it lacks |
//!
//! ```
//! use attache_policy::{ApiRequest, Grant, Rule, Verdict};
//!
//! let mut grant = Grant::nothing("reader");
//! grant.api.push(Rule::default().api_groups([""]).resources(["pods"]).verbs(["get"]).namespaces(["demo"]));
//! let pod = ApiRequest::parse(&http::Method::GET, "/api/v1/namespaces/demo/pods/web")?;
//! assert_eq!(grant.judge(&pod), Verdict::Allowed { rule: 0 });
//! # Ok::<(), attache_policy::InvalidRequest>(())
//! ```

mod account;
mod build;
mod creation;
mod document;
mod duration;
mod egress;
mod field_selector;
mod grant;
mod invalid;
mod judgement;
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
mod rule_text;
mod rules;
mod segments;
mod suggested_grant;
mod variables;

pub use account::AccountRules;
pub use attache_base::Location;
pub use build::PathBuilder;
pub use document::{API_VERSION, DocumentError, Problem};
pub use duration::{DurationError, GoDuration};
pub use egress::{Destination, DestinationError, Egress};
pub use grant::{ComponentPin, Grant, KIND};
pub use invalid::InvalidRequest;
pub use judgement::Verdict;
pub use limits::{Limit, LimitHit, LimitValue, Limits};
pub use manifest::{
    EXTENSION_KIND, ExtensionManifest, GrantSource, HttpTrigger, InstanceReuse, Overlap, Restart, RestartPolicy,
    ScheduleTrigger, Trigger,
};
pub use mounts::{
    CredentialsMode, CredentialsMount, MAX_PODINFO_MOUNTS, MountPath, MountPathError, PODINFO_PATH, PodInfoMount,
    SERVICE_ACCOUNT_PATH,
};
pub use path_prefix::PathPrefix;
pub use rbac::{Account, AccountError, Rbac};
pub use request::{ApiRequest, MAX_TARGET, ResourcePath};
pub use rules::Rule;
pub use suggested_grant::SuggestedGrant;
pub use variables::ResolveError;

/// Returns a guest's text as it may stand in a message: cut, and without control characters.
fn shown(text: &str) -> String {
    attache_base::untrusted::word(text)
}
