//! The API server's discovery documents.
//!
//! `/api` and `/apis` answer in one of two forms. The aggregated one (`apidiscovery.k8s.io/v2`, since Kubernetes 1.26)
//! holds everything; the plain one lists groups and versions only, and each version has a document of its own. Groups
//! come in the server's order of priority and versions in its order of preference, and both orders are kept. Documents
//! in, types out: asking for them is the catalogue's part.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer};

use super::discovery::{MAX_TYPES, ObjectKind, ResourceInfo, Subresource};

/// The form of discovery to ask for: aggregated, stable or beta, else plain.
pub(super) const ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
    application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
/// How many versions of groups plain discovery may name, each of which costs a request.
const MAX_PLAIN_VERSIONS: usize = 500;

/// One document of `/api` or `/apis`.
#[derive(Debug)]
pub(super) enum Root {
    /// All there is, and the versions that the server cannot reach just now.
    Whole(Vec<ResourceInfo>, Vec<PlainVersion>),
    /// The versions whose own documents hold the types.
    Plain(Vec<PlainVersion>),
}

/// A version of a group whose types are in a document of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PlainVersion {
    group: String,
    version: String,
    preferred: bool,
}

impl PlainVersion {
    pub(super) fn group(&self) -> &str {
        &self.group
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Group and version as paths have them.
    pub(super) fn name(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Where its document is.
    pub(super) fn path(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    /// Reads its document, an `APIResourceList`. Subresources are entries named `pods/log` in it.
    pub(super) fn read(&self, body: &[u8]) -> Result<Vec<ResourceInfo>, serde_json::Error> {
        let list: ResourceList = serde_json::from_slice(body)?;
        let (parts, wholes): (Vec<_>, Vec<_>) = list.resources.into_iter().partition(|entry| entry.name.contains('/'));
        let mut types: Vec<_> = wholes.into_iter().take(MAX_TYPES).map(|entry| self.info(entry)).collect();
        // By the first of each name. A server may list as many as fit into its answer, so each is looked up once.
        let mut places = HashMap::new();
        for (place, info) in types.iter().enumerate() {
            places.entry(info.plural.clone()).or_insert(place);
        }
        for part in &parts {
            let Some((plural, subresource)) = part.name.split_once('/') else { continue };
            if let Some(info) = places.get(plural).and_then(|place| types.get_mut(*place)) {
                let kind = named_kind((&part.group, &part.version, &part.kind), (&self.group, &self.version));
                info.subresources.push(Subresource { name: subresource.to_owned(), kind });
            }
        }
        Ok(types)
    }

    fn info(&self, entry: ListedResource) -> ResourceInfo {
        ResourceInfo {
            group: self.group.clone(),
            version: self.version.clone(),
            plural: entry.name,
            singular: singular(entry.singular_name, &entry.kind),
            kind: entry.kind,
            short_names: entry.short_names,
            categories: entry.categories,
            namespaced: entry.namespaced,
            verbs: entry.verbs,
            subresources: Vec::new(),
            preferred: self.preferred,
        }
    }
}

impl Root {
    /// Reads the answer of `/api` or `/apis` in whichever form it came.
    ///
    /// The body's `kind` decides and not its content type, which proxies are known to simplify.
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

/// A kind with its group and version, which a document leaves out where they are those of the type that it speaks of.
fn named_kind((group, version, kind): (&str, &str, &str), of: (&str, &str)) -> Option<ObjectKind> {
    let (group, version) = if version.is_empty() { of } else { (group, version) };
    Some(ObjectKind::new(group, version, kind)).filter(|of| !of.kind.is_empty())
}

/// A list that Go may have written as `null`.
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlainGroup {
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    versions: Vec<GroupVersion>,
    preferred_version: Option<GroupVersion>,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: String,
}

impl PlainGroup {
    fn core(versions: Vec<String>) -> Self {
        let versions = versions.into_iter().map(|version| GroupVersion { version }).collect();
        Self { name: String::new(), versions, preferred_version: None }
    }

    fn versions(self) -> Vec<PlainVersion> {
        let first = self.versions.first().map(|first| first.version.clone());
        let preferred = self.preferred_version.map(|of| of.version).filter(|version| !version.is_empty()).or(first);
        let one = |of: GroupVersion| PlainVersion {
            group: self.name.clone(),
            preferred: preferred.as_ref() == Some(&of.version),
            version: of.version,
        };
        self.versions.into_iter().map(one).collect()
    }
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default, deserialize_with = "nullable")]
    resources: Vec<ListedResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedResource {
    name: String,
    #[serde(default)]
    singular_name: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    kind: String,
    #[serde(default, deserialize_with = "nullable")]
    verbs: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    short_names: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    categories: Vec<String>,
}

#[derive(Deserialize)]
struct Aggregated {
    #[serde(default, deserialize_with = "nullable")]
    items: Vec<AggregatedGroup>,
}

#[derive(Deserialize)]
struct AggregatedGroup {
    #[serde(default, deserialize_with = "nullable")]
    metadata: GroupMetadata,
    #[serde(default, deserialize_with = "nullable")]
    versions: Vec<AggregatedVersion>,
}

#[derive(Default, Deserialize)]
struct GroupMetadata {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct AggregatedVersion {
    version: String,
    #[serde(default, deserialize_with = "nullable")]
    resources: Vec<AggregatedResource>,
    #[serde(default)]
    freshness: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AggregatedResource {
    resource: String,
    response_kind: Option<ResponseKind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    singular_resource: String,
    #[serde(default, deserialize_with = "nullable")]
    verbs: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    short_names: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    categories: Vec<String>,
    #[serde(default, deserialize_with = "nullable")]
    subresources: Vec<AggregatedSubresource>,
}

#[derive(Deserialize)]
struct ResponseKind {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AggregatedSubresource {
    subresource: String,
    response_kind: Option<ResponseKind>,
}

impl AggregatedSubresource {
    fn of(self, group: &str, version: &str) -> Subresource {
        let said = self.response_kind.as_ref();
        let kind = said.and_then(|of| named_kind((&of.group, &of.version, &of.kind), (group, version)));
        Subresource { name: self.subresource, kind }
    }
}

impl AggregatedGroup {
    /// The versions of which the server knows nothing: an aggregated API that it has not reached yet, or not for long.
    fn stale(&self) -> impl Iterator<Item = PlainVersion> {
        let stale = |of: &&AggregatedVersion| of.freshness == "Stale" && of.resources.is_empty();
        let first = self.versions.first().map(|of| of.version.as_str());
        self.versions.iter().filter(stale).map(move |of| PlainVersion {
            group: self.metadata.name.clone(),
            version: of.version.clone(),
            preferred: first == Some(&of.version),
        })
    }

    /// Versions are sorted by preference, so the first is the preferred one.
    fn types(self) -> Vec<ResourceInfo> {
        let mut types = Vec::new();
        for (place, of) in self.versions.into_iter().enumerate() {
            let version = of.version;
            let info = |resource: AggregatedResource| resource.info(&self.metadata.name, &version, place == 0);
            types.extend(of.resources.into_iter().filter_map(info));
        }
        types
    }
}

impl AggregatedResource {
    /// A resource without a kind has only subresources: there is no object to speak of, as client-go finds too.
    fn info(self, group: &str, version: &str, preferred: bool) -> Option<ResourceInfo> {
        let kind = self.response_kind.map(|of| of.kind).filter(|kind| !kind.is_empty())?;
        Some(ResourceInfo {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: self.resource,
            singular: singular(self.singular_resource, &kind),
            kind,
            short_names: self.short_names,
            categories: self.categories,
            namespaced: self.scope == "Namespaced",
            verbs: self.verbs,
            subresources: self.subresources.into_iter().map(|part| part.of(group, version)).collect(),
            preferred,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

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
        let of = PlainVersion { group: String::new(), version: "v1".into(), preferred: true };
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
