//! Types of object: how they are named, and what discovery says of them.

use std::fmt;
use std::str::FromStr;

use crate::bindings::attache::pod::api as wit;

/// A type of object, named as the API server's paths name it.
///
/// It is written `group/version/plural`, without the group for the core group:
///
/// ```
/// use attache_guest::api::ResourceType;
///
/// let jobs: ResourceType = "batch/v1/jobs".parse()?;
/// assert_eq!(jobs, ResourceType::new("batch", "v1", "jobs"));
/// assert_eq!(ResourceType::core("v1", "pods").to_string(), "v1/pods");
/// # Ok::<(), attache_guest::api::InvalidResourceType>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceType {
    /// Empty for the core group.
    pub group: String,
    /// Such as `v1` or `v1beta1`.
    pub version: String,
    /// Lower-case plural, such as `configmaps`.
    pub plural: String,
}

impl ResourceType {
    /// Names a type of any group.
    pub fn new(group: impl Into<String>, version: impl Into<String>, plural: impl Into<String>) -> Self {
        Self { group: group.into(), version: version.into(), plural: plural.into() }
    }

    /// Names a type of the core group: pods, config maps, namespaces and the like.
    pub fn core(version: impl Into<String>, plural: impl Into<String>) -> Self {
        Self::new("", version, plural)
    }
}

impl fmt::Display for ResourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.group.is_empty() {
            write!(f, "{}/", self.group)?;
        }
        write!(f, "{}/{}", self.version, self.plural)
    }
}

/// A text that does not name a type as `group/version/plural` or `version/plural`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not `version/plural` or `group/version/plural`")]
pub struct InvalidResourceType(String);

impl FromStr for ResourceType {
    type Err = InvalidResourceType;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            _ if parts.contains(&"") => Err(InvalidResourceType(text.into())),
            [version, plural] => Ok(Self::core(*version, *plural)),
            [group, version, plural] => Ok(Self::new(*group, *version, *plural)),
            _ => Err(InvalidResourceType(text.into())),
        }
    }
}

impl From<&ResourceType> for wit::ResourceType {
    fn from(of: &ResourceType) -> Self {
        Self { group: of.group.clone(), version: of.version.clone(), plural: of.plural.clone() }
    }
}

/// What discovery says of a type of object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceInfo {
    /// The type itself: what a [`Collection`](super::Collection) is opened with.
    pub of: ResourceType,
    /// Such as `ConfigMap`.
    pub kind: String,
    /// Such as `configmap`.
    pub singular: String,
    /// Such as `cm`.
    pub short_names: Vec<String>,
    /// Such as `all`.
    pub categories: Vec<String>,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Such as `get`, `list`, `watch`: what the server can do, not what this guest may.
    pub verbs: Vec<String>,
    /// Such as `status`, `scale`, `log`.
    pub subresources: Vec<String>,
    /// Whether this is the version that the server prefers for the group.
    pub preferred: bool,
}

impl From<wit::ResourceInfo> for ResourceInfo {
    fn from(info: wit::ResourceInfo) -> Self {
        Self {
            of: ResourceType::new(info.of.group, info.of.version, info.of.plural),
            kind: info.kind,
            singular: info.singular,
            short_names: info.short_names,
            categories: info.categories,
            namespaced: info.namespaced,
            verbs: info.verbs,
            subresources: info.subresources,
            preferred: info.preferred,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_written_as_it_is_read() {
        for text in ["v1/pods", "apps/v1/deployments", "example.com/v1beta1/widgets"] {
            assert_eq!(text.parse::<ResourceType>().map(|t| t.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn a_text_of_another_shape_is_refused() {
        for text in ["", "pods", "/v1/pods", "v1/", "apps//deployments", "apps/v1/deployments/scale"] {
            assert_eq!(text.parse::<ResourceType>(), Err(InvalidResourceType(text.into())), "{text}");
        }
    }
}
