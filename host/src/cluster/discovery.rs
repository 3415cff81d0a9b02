//! The types that the API server serves.

use std::sync::Arc;

/// The most types that are kept. A cluster with a thousand CRDs of three versions has fewer than half as many.
pub(super) const MAX_TYPES: usize = 10_000;

/// A type of object in one version, from discovery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceInfo {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version, such as `v1`.
    pub version: String,
    /// The plural in lower case, as in paths: `configmaps`.
    pub plural: String,
    /// The kind, such as `ConfigMap`.
    pub kind: String,
    /// The singular, such as `configmap`; the kind in lower case where the server has none.
    pub singular: String,
    /// Short names, such as `cm`.
    pub short_names: Vec<String>,
    /// Categories, such as `all`.
    pub categories: Vec<String>,
    /// True for objects in namespaces.
    pub namespaced: bool,
    /// Verbs, such as `get`, `list`, `watch`.
    pub verbs: Vec<String>,
    /// Subresources, such as `status`, `scale`, `log`.
    pub subresources: Vec<Subresource>,
    /// True if `version` is the preferred version of the group.
    pub preferred: bool,
}

/// A part of an object, or an action on it, with a path of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subresource {
    /// The name, such as `scale`.
    pub name: String,
    /// The kind of the objects that are read and written there; `None` where the server has none.
    pub kind: Option<ObjectKind>,
}

/// The type of an object, as the object has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKind {
    /// The `apiVersion`, such as `v1` or `apps/v1`.
    pub api_version: String,
    /// The kind, such as `ConfigMap`.
    pub kind: String,
}

impl ObjectKind {
    /// Makes the type from a group (empty for the core group), a version and a kind.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        Self { api_version, kind: kind.to_owned() }
    }
}

impl ResourceInfo {
    /// Returns the type of the objects, or of what is read and written at one of their subresources.
    pub fn object_kind(&self, subresource: Option<&str>) -> Option<ObjectKind> {
        match subresource {
            None => Some(ObjectKind::new(&self.group, &self.version, &self.kind)),
            Some(name) => self.subresources.iter().find(|part| part.name == name)?.kind.clone(),
        }
    }

    /// Returns the name by which [`Discovery::resolve`] finds this type and no other: `deployments.v1.apps`,
    /// `pods.v1.`.
    pub fn full_name(&self) -> String {
        format!("{}.{}.{}", self.plural, self.version, self.group)
    }
}

/// All types that one API server serves, in the order of the server: the core group first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    types: Vec<ResourceInfo>,
    missing: Vec<MissingGroup>,
}

/// A version of a group that the server lists without its types, since the backend of the group does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingGroup {
    /// The group, such as `metrics.k8s.io`.
    pub group: String,
    /// The version, such as `v1beta1`.
    pub version: String,
    /// The failure in place of an answer, in words that a guest may read.
    pub why: Arc<str>,
}

impl MissingGroup {
    /// Returns group and version as in paths.
    pub fn name(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl Discovery {
    /// Makes a discovery of types in the server's order. Types after the first ten thousand are left out.
    pub fn new(mut types: Vec<ResourceInfo>) -> Self {
        types.truncate(MAX_TYPES);
        Self { types, missing: Vec::new() }
    }

    /// Sets the groups whose types are unknown.
    #[must_use]
    pub fn with_missing(self, missing: Vec<MissingGroup>) -> Self {
        Self { missing, ..self }
    }

    /// Returns the groups that the server lists and whose types are unknown.
    pub fn missing(&self) -> &[MissingGroup] {
        &self.missing
    }

    /// Returns every type in every version.
    pub fn types(&self) -> &[ResourceInfo] {
        &self.types
    }

    /// Returns whether a group has a type in any version, or a subresource as in `pods/log`.
    pub fn serves(&self, group: &str, resource: &str) -> bool {
        let (plural, part) = resource.split_once('/').map_or((resource, None), |(plural, part)| (plural, Some(part)));
        let has = |of: &ResourceInfo| part.is_none_or(|part| of.subresources.iter().any(|own| own.name == part));
        self.types.iter().any(|of| of.group == group && of.plural == plural && has(of))
    }

    /// Returns the type with this group, version and plural.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&ResourceInfo> {
        self.types.iter().find(|of| of.plural == plural && of.group == group && of.version == version)
    }
}
