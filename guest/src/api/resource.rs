//! Types of object, and their properties from discovery.

use std::fmt;
use std::str::FromStr;

use crate::bindings::attache::pod::api as wit;

/// A type of object, named as in the paths of the API server.
///
/// Its text is `group/version/plural`, or `version/plural` for the core group:
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
    /// The API group, such as `apps`; empty for the core group.
    pub group: String,
    /// The API version, such as `v1` or `v1beta1`.
    pub version: String,
    /// The plural in lower case, such as `configmaps`.
    pub plural: String,
}

impl ResourceType {
    /// Returns a type of any group.
    pub fn new(group: impl Into<String>, version: impl Into<String>, plural: impl Into<String>) -> Self {
        Self { group: group.into(), version: version.into(), plural: plural.into() }
    }

    /// Returns a type of the core group, such as `pods`, `configmaps` or `namespaces`.
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

/// A text that is not a type in the form `group/version/plural` or `version/plural`.
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

/// A type of object with the properties that the API server's discovery reports.
///
/// ```no_run
/// # fn main() -> Result<(), attache_guest::api::Error> {
/// use attache_guest::api;
///
/// let info = api::resolve("cronjobs")?;
/// println!("{}: {}, {}", info.kind, info.of, if info.namespaced { "namespaced" } else { "cluster-scoped" });
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceInfo {
    /// The type itself, which opens a [`Collection`](super::Collection).
    pub of: ResourceType,
    /// The kind, such as `ConfigMap`.
    pub kind: String,
    /// The singular, such as `configmap`.
    pub singular: String,
    /// The short names, such as `cm`.
    pub short_names: Vec<String>,
    /// The categories, such as `all`.
    pub categories: Vec<String>,
    /// True if objects of the type are in namespaces; false for a cluster-scoped type.
    pub namespaced: bool,
    /// The verbs that the API server supports, such as `get`, `list` and `watch`. The grant may open fewer.
    pub verbs: Vec<String>,
    /// The subresources, such as `status`, `scale` and `log`.
    pub subresources: Vec<String>,
    /// True if the API server prefers this version for the group.
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
