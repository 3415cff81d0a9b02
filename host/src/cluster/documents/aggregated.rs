//! Aggregated discovery: all groups, versions and types in one document.

use serde::Deserialize;

use super::plain::PlainVersion;
use super::{named_kind, nullable, singular};
use crate::cluster::discovery::{ResourceInfo, Subresource};

#[derive(Deserialize)]
pub(super) struct Aggregated {
    #[serde(default, deserialize_with = "nullable")]
    pub(super) items: Vec<AggregatedGroup>,
}

#[derive(Deserialize)]
pub(super) struct AggregatedGroup {
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
    /// Returns the versions without types because the server cannot reach their backend.
    pub(super) fn stale(&self) -> impl Iterator<Item = PlainVersion> {
        let stale = |of: &&AggregatedVersion| of.freshness == "Stale" && of.resources.is_empty();
        let first = self.versions.first().map(|of| of.version.as_str());
        self.versions
            .iter()
            .filter(stale)
            .map(move |of| PlainVersion::of_group(&self.metadata.name, &of.version, first == Some(&of.version)))
    }

    /// Returns the types. Versions are sorted by preference, so the first is the preferred one.
    pub(super) fn types(self) -> Vec<ResourceInfo> {
        let mut types = Vec::new();
        for (index, of) in self.versions.into_iter().enumerate() {
            let version = of.version;
            let info = |resource: AggregatedResource| resource.info(&self.metadata.name, &version, index == 0);
            types.extend(of.resources.into_iter().filter_map(info));
        }
        types
    }
}

impl AggregatedResource {
    /// Returns the type. A resource without a kind has only subresources and no objects, and is left out as in
    /// client-go.
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
