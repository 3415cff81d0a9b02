//! The lookup of a type by a name that a person gives, as in kubectl.
//!
//! The rules are those of client-go's `restmapper` and of `schema.ParseResourceArg`:
//! - plural or singular first, then short name, then kind, in any case of letters;
//! - `name.group` and `name.version.group` narrow the search, and so do `group/name` and `group/version/name`;
//! - a group that no type has exactly may be the beginning of a group (`deployments.app`);
//! - without a version, the preferred version of the server counts, else the first that has the type;
//! - the core group comes before all others.
//!
//! Where several other groups have the name, kubectl takes the server's first without a word. The first changes with
//! another CRD, so here the name is an error that lists the groups.

use std::sync::Arc;

use thiserror::Error;

use super::discovery::{Discovery, MissingGroup, ResourceInfo};

/// The most characters of an unknown name in an error. The longest valid name is a plural and a group, 253 each.
const MAX_SHOWN: usize = 512;
/// The most candidates in an error.
const MAX_CANDIDATES: usize = 16;

/// A name that is of no type, or of several.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolveError {
    /// No type has this name.
    #[error("the server has no resource type {name:?}{}", besides(.silent))]
    Unknown {
        /// The name as given, cut to a readable length.
        name: String,
        /// The groups whose types are unknown; the type may be one of theirs.
        silent: Vec<String>,
    },
    /// The name is of a group whose types are unknown.
    #[error("{name:?}: the API group {group} does not answer: {why}")]
    Down {
        /// The name as given, cut to a readable length.
        name: String,
        /// Group and version, such as `metrics.k8s.io/v1beta1`.
        group: String,
        /// The failure in place of an answer.
        why: Arc<str>,
    },
    /// Types of several groups have this name.
    #[error("{name:?} may mean any of {}: give one of these names", .candidates.join(", "))]
    Ambiguous {
        /// The name as given, cut to a readable length.
        name: String,
        /// Names by which [`Discovery::resolve`] finds one type, in the server's order.
        candidates: Vec<String>,
    },
}

/// One reading of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted<'a> {
    name: &'a str,
    version: Option<&'a str>,
    group: Option<&'a str>,
}

impl Discovery {
    /// Finds a type by kind, plural, singular or short name, alone or narrowed by group and version.
    ///
    /// # Errors
    /// When no type has the name, or types of several groups do and none of them is core.
    pub fn resolve(&self, name: &str) -> Result<&ResourceInfo, ResolveError> {
        let found = readings(name).into_iter().map(|wanted| self.candidates(wanted)).find(|found| !found.is_empty());
        let candidates = found.unwrap_or_default();
        match candidates.as_slice() {
            [] => Err(self.unresolved(name)),
            [one] => Ok(one),
            many => many.iter().find(|of| of.group.is_empty()).copied().ok_or_else(|| ResolveError::Ambiguous {
                name: shown(name),
                candidates: many.iter().take(MAX_CANDIDATES).map(|of| of.full_name()).collect(),
            }),
        }
    }

    /// Returns the error for a name that no type has.
    fn unresolved(&self, name: &str) -> ResolveError {
        if let Some(missing) = self.missing().iter().find(|missing| missing.is_named_in(name)) {
            return missing.error(name);
        }
        let silent = self.missing().iter().take(MAX_CANDIDATES).map(MissingGroup::name).collect();
        ResolveError::Unknown { name: shown(name), silent }
    }

    /// Returns the types that a reading fits, each in one version.
    fn candidates(&self, wanted: Wanted<'_>) -> Vec<&ResourceInfo> {
        let exact = |of: &ResourceInfo| wanted.group.is_none_or(|group| of.group == group);
        let begun =
            |of: &ResourceInfo| wanted.group.is_some_and(|group| !group.is_empty() && of.group.starts_with(group));
        let by_group: [&dyn Fn(&ResourceInfo) -> bool; 2] = [&exact, &begun];
        let by_name: [fn(&ResourceInfo, &str) -> bool; 3] = [is_named, is_short_named, is_of_kind];
        for in_group in by_group {
            for fits in by_name {
                let fits = |of: &&ResourceInfo| {
                    in_group(of) && fits(of, wanted.name) && wanted.version.is_none_or(|version| of.version == version)
                };
                let found: Vec<_> = self.types().iter().filter(fits).collect();
                if !found.is_empty() {
                    return one_version_each(&found);
                }
            }
        }
        Vec::new()
    }
}

impl MissingGroup {
    /// Returns the error for a request for a type of this group.
    pub(super) fn error(&self, name: &str) -> ResolveError {
        ResolveError::Down { name: shown(name), group: self.name(), why: Arc::clone(&self.why) }
    }

    /// Returns whether a reading of the name narrows the search to this group.
    pub(super) fn is_named_in(&self, name: &str) -> bool {
        readings(name).into_iter().any(|wanted| {
            wanted.group.is_some_and(|group| !group.is_empty() && self.group.starts_with(group))
                && wanted.version.is_none_or(|version| self.version == version)
        })
    }
}

fn besides(silent: &[String]) -> String {
    if silent.is_empty() {
        String::new()
    } else {
        format!("; it may be one of {}, which do not answer", silent.join(", "))
    }
}

fn is_named(of: &ResourceInfo, name: &str) -> bool {
    of.plural.eq_ignore_ascii_case(name) || of.singular.eq_ignore_ascii_case(name)
}

fn is_short_named(of: &ResourceInfo, name: &str) -> bool {
    of.short_names.iter().any(|short| short.eq_ignore_ascii_case(name))
}

fn is_of_kind(of: &ResourceInfo, name: &str) -> bool {
    of.kind.eq_ignore_ascii_case(name)
}

/// Returns each type in its preferred version, else in the first.
fn one_version_each<'a>(found: &[&'a ResourceInfo]) -> Vec<&'a ResourceInfo> {
    let mut chosen: Vec<&ResourceInfo> = Vec::new();
    for &of in found {
        match chosen.iter_mut().find(|has| has.group == of.group && has.plural == of.plural) {
            Some(has) if of.preferred && !has.preferred => *has = of,
            Some(_) => {}
            None => chosen.push(of),
        }
    }
    chosen
}

/// Returns the readings of a name, the likeliest first: `a.b.c` is version `b` of group `c`, else group `b.c`.
fn readings(name: &str) -> Vec<Wanted<'_>> {
    if let Some((group, rest)) = name.split_once('/') {
        return match rest.split_once('/') {
            None => vec![Wanted { name: rest, version: None, group: Some(group) }],
            Some((version, name)) => vec![Wanted { name, version: Some(version), group: Some(group) }],
        };
    }
    let Some((name, rest)) = name.split_once('.') else {
        return vec![Wanted { name, version: None, group: None }];
    };
    let grouped = Wanted { name, version: None, group: Some(rest) };
    match rest.split_once('.') {
        None => vec![grouped],
        Some((version, group)) => vec![Wanted { name, version: Some(version), group: Some(group) }, grouped],
    }
}

fn shown(name: &str) -> String {
    name.chars().take(MAX_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn info(group: &str, version: &str, kind: &str, plural: &str, shorts: &[&str], preferred: bool) -> ResourceInfo {
        ResourceInfo {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
            plural: plural.into(),
            singular: kind.to_lowercase(),
            short_names: shorts.iter().map(|&short| short.to_owned()).collect(),
            preferred,
            ..ResourceInfo::default()
        }
    }

    fn server() -> Discovery {
        Discovery::new(vec![
            info("", "v1", "Pod", "pods", &["po"], true),
            info("", "v1", "Event", "events", &["ev"], true),
            info("", "v1", "Service", "services", &["svc"], true),
            info("apps", "v1", "Deployment", "deployments", &["deploy"], true),
            info("events.k8s.io", "v1", "Event", "events", &["ev"], true),
            info("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", &["hpa"], true),
            info("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", &["hpa"], false),
            info("serving.knative.dev", "v1", "Service", "services", &["kservice"], true),
            info("b.example.com", "v1beta1", "Cluster", "clusters", &["cl"], true),
            info("a.example.com", "v1", "Cluster", "clusters", &["cl"], true),
            info("a.example.com", "v2alpha1", "Novelty", "novelties", &[], false),
            info("v1.example.com", "v3", "Odd", "odds", &["po"], true),
        ])
    }

    #[test]
    fn names_are_found_as_kubectl_finds_them() {
        let table = [
            ("pods", "pods.v1."),
            ("pod", "pods.v1."),
            ("Pod", "pods.v1."),
            ("PODS", "pods.v1."),
            ("po", "pods.v1."),
            ("pods.", "pods.v1."),
            ("pods.v1.", "pods.v1."),
            ("/pods", "pods.v1."),
            ("/v1/pods", "pods.v1."),
            ("deploy", "deployments.v1.apps"),
            ("Deployment", "deployments.v1.apps"),
            ("deployments.apps", "deployments.v1.apps"),
            ("deploy.apps", "deployments.v1.apps"),
            ("deploy.app", "deployments.v1.apps"),
            ("Deployment.apps", "deployments.v1.apps"),
            ("deployments.v1.apps", "deployments.v1.apps"),
            ("Deployment.v1.apps", "deployments.v1.apps"),
            ("apps/deploy", "deployments.v1.apps"),
            ("apps/v1/deployments", "deployments.v1.apps"),
            ("events", "events.v1."),
            ("ev", "events.v1."),
            ("events.events.k8s.io", "events.v1.events.k8s.io"),
            ("events.k8s.io/events", "events.v1.events.k8s.io"),
            ("svc", "services.v1."),
            ("service", "services.v1."),
            ("kservice", "services.v1.serving.knative.dev"),
            ("services.serving", "services.v1.serving.knative.dev"),
            ("hpa", "horizontalpodautoscalers.v2.autoscaling"),
            ("hpa.v1.autoscaling", "horizontalpodautoscalers.v1.autoscaling"),
            ("HorizontalPodAutoscaler", "horizontalpodautoscalers.v2.autoscaling"),
            ("novelties", "novelties.v2alpha1.a.example.com"),
            ("clusters.a.example.com", "clusters.v1.a.example.com"),
            ("clusters.v1beta1.b.example.com", "clusters.v1beta1.b.example.com"),
            ("cl.b", "clusters.v1beta1.b.example.com"),
            ("odds.v1.example.com", "odds.v3.v1.example.com"),
        ];
        let server = server();
        for (name, full) in table {
            assert_eq!(server.resolve(name).map(ResourceInfo::full_name), Ok(full.to_owned()), "{name}");
        }
    }

    #[test]
    fn every_type_is_found_by_its_full_name() {
        let server = server();
        for of in server.types() {
            assert_eq!(server.resolve(&of.full_name()), Ok(of));
        }
    }

    #[test]
    fn several_groups_without_core_are_ambiguous_and_listed() {
        let error = server().resolve("clusters").unwrap_err();
        let candidates = vec!["clusters.v1beta1.b.example.com".to_owned(), "clusters.v1.a.example.com".to_owned()];
        assert_eq!(error, ResolveError::Ambiguous { name: "clusters".into(), candidates });
        assert!(error.to_string().contains("clusters.v1.a.example.com: give one"), "{error}");
    }

    #[test]
    fn what_nobody_serves_is_unknown() {
        for name in [
            "",
            ".",
            "/",
            "//",
            "..",
            "nope",
            "pods.v2.",
            "pods.apps",
            "apps/pods",
            "v1/pods",
            "pods/log",
            "deployments.v1",
            "a/b/c/d",
        ] {
            assert!(matches!(server().resolve(name), Err(ResolveError::Unknown { .. })), "{name}");
        }
        let long = "x".repeat(1 << 20);
        assert!(server().resolve(&long).unwrap_err().to_string().len() < 1000);
    }
}
