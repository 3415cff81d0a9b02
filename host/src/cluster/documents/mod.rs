//! The API server's discovery documents, parsed into types.
//!
//! `/api` and `/apis` have two forms. The aggregated form (`apidiscovery.k8s.io/v2`, since Kubernetes 1.26) has all
//! types. The plain form has groups and versions only, and each version has a document of its own. Groups are in the
//! server's order of priority and versions in its order of preference; both orders are kept.

mod aggregated;
mod plain;

use serde::{Deserialize, Deserializer};

use super::discovery::{MAX_TYPES, ObjectKind, ResourceInfo};
use aggregated::{Aggregated, AggregatedGroup};
use plain::PlainGroup;
pub(super) use plain::PlainVersion;

/// The `Accept` of discovery: aggregated, stable or beta, else plain.
pub(super) const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
/// The most versions of groups in plain discovery, each of which costs a request.
const MAX_PLAIN_VERSIONS: usize = 500;

/// One document of `/api` or `/apis`.
#[derive(Debug)]
pub(super) enum Root {
    /// All types, and the versions whose backend the server cannot reach.
    Whole(Vec<ResourceInfo>, Vec<PlainVersion>),
    /// The versions whose own documents hold the types.
    Plain(Vec<PlainVersion>),
}

impl Root {
    /// Reads the answer of `/api` or `/apis` in either form.
    ///
    /// The form is that of the body's `kind`; proxies are known to simplify the content type.
    pub(super) fn read(body: &[u8]) -> Result<Self, serde_json::Error> {
        let Kind { kind } = serde_json::from_slice(body)?;
        match kind.as_str() {
            "APIGroupDiscoveryList" => {
                let list: Aggregated = serde_json::from_slice(body)?;
                let stale = list.items.iter().flat_map(AggregatedGroup::stale).take(MAX_PLAIN_VERSIONS).collect();
                let types = list.items.into_iter().flat_map(AggregatedGroup::types).take(MAX_TYPES).collect();
                Ok(Self::Whole(types, stale))
            }
            "APIVersions" => {
                let Versions { versions } = serde_json::from_slice(body)?;
                Ok(Self::plain(vec![PlainGroup::core(versions)]))
            }
            "APIGroupList" => {
                let Groups { groups } = serde_json::from_slice(body)?;
                Ok(Self::plain(groups))
            }
            other => Err(serde::de::Error::custom(format_args!("{other:.40} is no discovery document"))),
        }
    }

    fn plain(groups: Vec<PlainGroup>) -> Self {
        Self::Plain(groups.into_iter().flat_map(PlainGroup::versions).take(MAX_PLAIN_VERSIONS).collect())
    }
}

fn singular(named: String, kind: &str) -> String {
    if named.is_empty() { kind.to_lowercase() } else { named }
}

/// Returns a kind with its group and version. A document leaves them out where they are those of the type, `of`.
fn named_kind((group, version, kind): (&str, &str, &str), of: (&str, &str)) -> Option<ObjectKind> {
    let (group, version) = if version.is_empty() { of } else { (group, version) };
    Some(ObjectKind::new(group, version, kind)).filter(|of| !of.kind.is_empty())
}

/// Reads a value that Go may have written as `null`.
fn nullable<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

#[derive(Deserialize)]
struct Versions {
    #[serde(default, deserialize_with = "nullable")]
    versions: Vec<String>,
}

#[derive(Deserialize)]
struct Groups {
    #[serde(default, deserialize_with = "nullable")]
    groups: Vec<PlainGroup>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::cluster::discovery::Subresource;

    fn whole(body: &str) -> Vec<ResourceInfo> {
        match Root::read(body.as_bytes()).unwrap() {
            Root::Whole(types, _) => types,
            Root::Plain(versions) => panic!("plain: {versions:?}"),
        }
    }

    fn plain(body: &str) -> Vec<PlainVersion> {
        match Root::read(body.as_bytes()).unwrap() {
            Root::Plain(versions) => versions,
            Root::Whole(types, _) => panic!("aggregated: {types:?}"),
        }
    }

    #[test]
    fn the_first_version_of_an_aggregated_group_is_preferred() {
        let types = whole(
            r#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":{"name":"autoscaling"},"versions":[
            {"version":"v2","resources":[{"resource":"hpas","responseKind":{"kind":"Hpa"},"scope":"Namespaced"}]},
            {"version":"v1","resources":[{"resource":"hpas","responseKind":{"kind":"Hpa"},"scope":"Cluster"}]}]}]}"#,
        );
        let seen: Vec<_> = types.iter().map(|of| (of.version.as_str(), of.preferred, of.namespaced)).collect();
        assert_eq!(seen, [("v2", true, true), ("v1", false, false)]);
        assert_eq!(types[0].singular, "hpa");
    }

    #[test]
    fn nulls_and_missing_lists_are_empty_lists() {
        assert_eq!(whole(r#"{"kind":"APIGroupDiscoveryList","items":null}"#), []);
        let types = whole(
            r#"{"kind":"APIGroupDiscoveryList","items":[{"metadata":null,"versions":[{"version":"v1","resources":[
            {"resource":"things","responseKind":{"kind":"Thing"},"verbs":null,"shortNames":null,"subresources":null},
            {"resource":"shadows","responseKind":null,"subresources":[{"subresource":"scale"}]}]}]}]}"#,
        );
        assert_eq!(types.len(), 1);
        assert_eq!((types[0].group.as_str(), types[0].verbs.len()), ("", 0));
    }

    #[test]
    fn plain_groups_name_their_documents() {
        let core = plain(r#"{"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[]}"#);
        assert_eq!(core[0].path(), "/api/v1");
        assert!(core[0].preferred);
        let named = plain(
            r#"{"kind":"APIGroupList","groups":[{"name":"g","versions":[{"version":"v1"},{"version":"v2"}],
            "preferredVersion":{"version":"v2"}}]}"#,
        );
        let seen: Vec<_> = named.iter().map(|of| (of.path(), of.preferred)).collect();
        assert_eq!(seen, [("/apis/g/v1".to_owned(), false), ("/apis/g/v2".to_owned(), true)]);
    }

    #[test]
    fn subresources_of_a_plain_document_join_their_resource() {
        let of = PlainVersion::core("v1");
        let types = of
            .read(
                br#"{"kind":"APIResourceList","resources":[
                {"name":"pods/log","kind":"Pod"},{"name":"pods","kind":"Pod","namespaced":true,"verbs":["get"],"shortNames":["po"]},
                {"name":"pods/eviction","kind":"Eviction","group":"policy","version":"v1"},{"name":"orphans/scale","kind":"Scale"}]}"#,
            )
            .unwrap();
        assert_eq!(types.len(), 1);
        let log = Subresource { name: "log".into(), kind: Some(ObjectKind::new("", "v1", "Pod")) };
        let eviction = Subresource { name: "eviction".into(), kind: Some(ObjectKind::new("policy", "v1", "Eviction")) };
        assert_eq!(types[0].subresources, [log, eviction]);
        assert_eq!(types[0].object_kind(Some("eviction")).map(|of| of.api_version), Some("policy/v1".into()));
        assert_eq!(types[0].full_name(), "pods.v1.");
        assert_eq!(of.read(br#"{"resources":null}"#).unwrap(), []);
    }

    #[test]
    fn garbage_is_an_error() {
        for body in [
            "",
            "{}",
            "[]",
            "404 page not found",
            r#"{"kind":"Status"}"#,
            r#"{"kind":7}"#,
            r#"{"kind":"APIVersions","versions":7}"#,
        ] {
            assert!(Root::read(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn types_beyond_the_bound_are_left_out() {
        let of = r#"{"resource":"a","responseKind":{"kind":"A"}},"#.repeat(MAX_TYPES + 5);
        let body = format!(
            r#"{{"kind":"APIGroupDiscoveryList","items":[{{"versions":[{{"version":"v1","resources":[{}]}}]}}]}}"#,
            of.trim_end_matches(',')
        );
        assert_eq!(whole(&body).len(), MAX_TYPES);
    }
}
