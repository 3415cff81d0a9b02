//! Plain discovery: groups and their versions, each of which has a document of its own.

use std::collections::HashMap;

use serde::Deserialize;

use super::{named_kind, nullable, singular};
use crate::cluster::discovery::{MAX_TYPES, ResourceInfo, Subresource};

/// A version of a group, whose types are in a document of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cluster) struct PlainVersion {
    group: String,
    version: String,
    pub(super) preferred: bool,
}

impl PlainVersion {
    #[cfg(test)]
    pub(super) fn core(version: &str) -> Self {
        Self { group: String::new(), version: version.to_owned(), preferred: true }
    }

    /// Makes a version of a group of an aggregated document.
    pub(super) fn of_group(group: &str, version: &str, preferred: bool) -> Self {
        Self { group: group.to_owned(), version: version.to_owned(), preferred }
    }

    pub(in crate::cluster) fn group(&self) -> &str {
        &self.group
    }

    pub(in crate::cluster) fn version(&self) -> &str {
        &self.version
    }

    /// Returns group and version as in paths.
    pub(in crate::cluster) fn name(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Returns the path of its document.
    pub(in crate::cluster) fn path(&self) -> String {
        if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        }
    }

    /// Reads its document, an `APIResourceList`, in which subresources are entries such as `pods/log`.
    pub(in crate::cluster) fn read(&self, body: &[u8]) -> Result<Vec<ResourceInfo>, serde_json::Error> {
        let list: ResourceList = serde_json::from_slice(body)?;
        let (parts, wholes): (Vec<_>, Vec<_>) = list.resources.into_iter().partition(|entry| entry.name.contains('/'));
        let mut types: Vec<_> = wholes.into_iter().take(MAX_TYPES).map(|entry| self.info(entry)).collect();
        // Of a name that is there twice, the first counts. A map, since a server may list as many as its answer holds.
        let mut indices = HashMap::new();
        for (index, info) in types.iter().enumerate() {
            indices.entry(info.plural.clone()).or_insert(index);
        }
        for part in &parts {
            let Some((plural, subresource)) = part.name.split_once('/') else { continue };
            if let Some(info) = indices.get(plural).and_then(|index| types.get_mut(*index)) {
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlainGroup {
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
    pub(super) fn core(versions: Vec<String>) -> Self {
        let versions = versions.into_iter().map(|version| GroupVersion { version }).collect();
        Self { name: String::new(), versions, preferred_version: None }
    }

    pub(super) fn versions(self) -> Vec<PlainVersion> {
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
