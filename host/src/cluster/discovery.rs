//! What types the API server serves.

use std::sync::Arc;

/// How many types are kept at most: a cluster with a thousand CRDs of three versions has fewer than half as many.
pub(super) const MAX_TYPES: usize = 10_000;

/// What discovery says of a type of object, in one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceInfo {
    /// Empty for the core group.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// Lower-case plural as paths hold it, such as `configmaps`.
    pub plural: String,
    /// Such as `ConfigMap`.
    pub kind: String,
    /// Such as `configmap`; the kind in lower case where the server names none.
    pub singular: String,
    /// Such as `cm`.
    pub short_names: Vec<String>,
    /// Such as `all`.
    pub categories: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Such as `get`, `list`, `watch`.
    pub verbs: Vec<String>,
    /// Such as `status`, `scale`, `log`.
    pub subresources: Vec<Subresource>,
    /// Whether `version` is the one that the server prefers for the group.
    pub preferred: bool,
}

/// A part of an object, or an act on it, that has a path of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subresource {
    /// Such as `scale`.
    pub name: String,
    /// Of what is read and written there; `None` where the server does not say.
    pub kind: Option<ObjectKind>,
}

/// What an object says of its type.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectKind {
    /// Such as `v1` or `apps/v1`.
    pub api_version: String,
    /// Such as `ConfigMap`.
    pub kind: String,
}

impl ObjectKind {
    /// Puts group (empty for the core group) and version together.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        Self { api_version, kind: kind.to_owned() }
    }
}

impl ResourceInfo {
    /// What objects of the type say of it, or what is read and written at one of their subresources.
    pub fn object_kind(&self, subresource: Option<&str>) -> Option<ObjectKind> {
        match subresource {
            None => Some(ObjectKind::new(&self.group, &self.version, &self.kind)),
            Some(name) => self.subresources.iter().find(|part| part.name == name)?.kind.clone(),
        }
    }

    /// The type as [`Discovery::resolve`] takes it without a doubt: `deployments.v1.apps`, `pods.v1.`.
    pub fn full_name(&self) -> String {
        format!("{}.{}.{}", self.plural, self.version, self.group)
    }
}

/// All types that one API server serves, in its order: the core group first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    types: Vec<ResourceInfo>,
    missing: Vec<MissingGroup>,
}

/// A version of a group that the server lists, and of which it does not say what is in it: its backend is down, or
/// silent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingGroup {
    /// Such as `metrics.k8s.io`.
    pub group: String,
    /// Such as `v1beta1`.
    pub version: String,
    /// What came in place of an answer, in words that a guest may read.
    pub why: Arc<str>,
}

impl MissingGroup {
    /// Group and version as paths have them.
    pub fn name(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }
}

impl Discovery {
    /// Takes the types in the server's order; what comes after the first ten thousand is left out.
    pub fn new(mut types: Vec<ResourceInfo>) -> Self {
        types.truncate(MAX_TYPES);
        Self { types, missing: Vec::new() }
    }

    /// The same, with groups of which nothing is known.
    #[must_use]
    pub fn with_missing(self, missing: Vec<MissingGroup>) -> Self {
        Self { missing, ..self }
    }

    /// The groups that the server lists and has no answer of.
    pub fn missing(&self) -> &[MissingGroup] {
        &self.missing
    }

    /// Every type in every version.
    pub fn types(&self) -> &[ResourceInfo] {
        &self.types
    }

    /// Returns whether a group, in any version, has a type, or a subresource as in `pods/log`.
    pub fn serves(&self, group: &str, resource: &str) -> bool {
        let (plural, part) = resource.split_once('/').map_or((resource, None), |(plural, part)| (plural, Some(part)));
        let has = |of: &ResourceInfo| part.is_none_or(|part| of.subresources.iter().any(|own| own.name == part));
        self.types.iter().any(|of| of.group == group && of.plural == plural && has(of))
    }

    /// The type that paths name so.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&ResourceInfo> {
        self.types.iter().find(|of| of.plural == plural && of.group == group && of.version == version)
    }
}
