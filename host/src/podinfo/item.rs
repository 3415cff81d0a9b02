//! The pod spec's own notation for files and variables.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::field::{Bound, Field, FieldError, Meaning};
use crate::quantity::Quantity;
use crate::volume::{InvalidPath, RelativePath};

/// The most files that one view may have: far more than any pod projects, and few enough to check on every swap.
pub const MAX_ITEMS: usize = 1024;

/// One entry of the pod spec's `downwardAPI.items`: a file of the volume and its content.
///
/// Reading it from YAML or JSON fails at an unknown field.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Item {
    /// The file, below the mount: relative, no `..` element, and not beginning with `..`.
    pub path: String,
    /// A field of the pod. Either this or `resource_field_ref` must be set.
    #[serde(default)]
    pub field_ref: Option<FieldRef>,
    /// A request or limit of a container.
    #[serde(default)]
    pub resource_field_ref: Option<ResourceFieldRef>,
    /// Permission bits. Only the kubelet needs them; the bits that the file has are in
    /// [`ProjectedFile`](super::ProjectedFile).
    #[serde(default)]
    pub mode: Option<u32>,
}

/// One entry of a container's `env` in the pod spec: a variable and where its value comes from.
///
/// Reading it from YAML or JSON fails at an unknown field.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvField {
    /// The variable.
    pub name: String,
    /// A literal value. It is no fact of the pod, whatever the variable's name.
    #[serde(default)]
    pub value: Option<String>,
    /// The source of the value, if it is no literal.
    #[serde(default)]
    pub value_from: Option<EnvSource>,
}

/// The source of a variable's value. Sources outside the Downward API are accepted and give no fact of the pod.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvSource {
    /// A field of the pod.
    #[serde(default)]
    pub field_ref: Option<FieldRef>,
    /// A request or limit of a container.
    #[serde(default)]
    pub resource_field_ref: Option<ResourceFieldRef>,
    /// Not of the Downward API.
    #[serde(default)]
    pub config_map_key_ref: Option<IgnoredAny>,
    /// Not of the Downward API.
    #[serde(default)]
    pub secret_key_ref: Option<IgnoredAny>,
    /// Not of the Downward API.
    #[serde(default)]
    pub file_key_ref: Option<IgnoredAny>,
}

/// The pod spec's `fieldRef`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldRef {
    /// `v1`, or left out; it changes nothing.
    #[serde(default)]
    pub api_version: Option<String>,
    /// Such as `metadata.labels`, or `metadata.annotations['build']`.
    pub field_path: String,
}

/// The pod spec's `resourceFieldRef`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceFieldRef {
    /// Required in a volume; in `env` it defaults to the container itself.
    #[serde(default)]
    pub container_name: Option<String>,
    /// Such as `limits.cpu`.
    pub resource: String,
    /// The unit of the projected number. Without a divisor, or with zero, it is 1.
    #[serde(default)]
    pub divisor: Option<Quantity>,
}

/// An invalid item or variable in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    /// An item's path could lead out of the volume, or into the atomic writer's own names.
    #[error("path of a downwardAPI item")]
    Path(#[from] InvalidPath),
    /// Two items have the same path.
    #[error("two downwardAPI items have the path {0}")]
    DoublePath(RelativePath),
    /// There are more items than [`MAX_ITEMS`].
    #[error("more than {MAX_ITEMS} downwardAPI items")]
    TooMany,
    /// An item's reference is invalid.
    #[error("downwardAPI item {path:?}")]
    Item {
        /// The item's path.
        path: String,
        /// The fault of the reference.
        #[source]
        source: FieldError,
    },
    /// A variable's reference is invalid.
    #[error("variable {name:?}")]
    Variable {
        /// The variable's name.
        name: String,
        /// The fault of the reference.
        #[source]
        source: FieldError,
    },
}

/// Returns the part of a name that an error repeats. Valid names are shorter.
fn quoted(name: &str) -> String {
    const LONGEST: usize = 256;
    name.chars().take(LONGEST).collect()
}

/// A file of the volume and the meaning of its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileSource {
    pub(super) path: RelativePath,
    pub(super) meaning: Meaning,
}

/// Returns the files that configured items project.
///
/// # Errors
/// At the first item that an API server would refuse.
pub(super) fn file_sources(items: &[Item]) -> Result<Vec<FileSource>, ItemError> {
    if items.len() > MAX_ITEMS {
        return Err(ItemError::TooMany);
    }
    let mut sources: Vec<FileSource> = Vec::with_capacity(items.len());
    for item in items {
        let source = file_source(item)?;
        if sources.iter().any(|earlier| earlier.path == source.path) {
            return Err(ItemError::DoublePath(source.path));
        }
        sources.push(source);
    }
    Ok(sources)
}

fn file_source(item: &Item) -> Result<FileSource, ItemError> {
    let path = RelativePath::new(&item.path)?;
    match file_meaning(item) {
        Ok(meaning) => Ok(FileSource { path, meaning }),
        Err(source) => Err(ItemError::Item { path: quoted(&item.path), source }),
    }
}

fn file_meaning(item: &Item) -> Result<Meaning, FieldError> {
    match (&item.field_ref, &item.resource_field_ref) {
        (Some(field), None) => Ok(Meaning::Field(Field::of_file(&field.field_path)?)),
        (None, Some(resource)) if resource.container_name.as_deref().unwrap_or_default().is_empty() => {
            Err(FieldError::NoContainer)
        }
        (None, Some(resource)) => Ok(Meaning::Resource(resource.bound()?)),
        _ => Err(FieldError::NotOneReference),
    }
}

impl ResourceFieldRef {
    fn bound(&self) -> Result<Bound, FieldError> {
        let container = self.container_name.clone().filter(|name| !name.is_empty());
        Bound::new(container, &self.resource, self.divisor.as_ref())
    }
}

impl EnvField {
    /// Returns the fact of the pod that the variable holds; `None` for a literal, a Secret or a `ConfigMap`.
    ///
    /// # Errors
    /// When an API server would refuse its reference.
    pub(super) fn meaning(&self) -> Result<Option<Meaning>, ItemError> {
        let Some(source) = &self.value_from else {
            return Ok(None);
        };
        let meaning = match (&source.field_ref, &source.resource_field_ref) {
            (None, None) => return Ok(None),
            (Some(field), None) => Field::of_variable(&field.field_path).map(Meaning::Field),
            (None, Some(resource)) => resource.bound().map(Meaning::Resource),
            (Some(_), Some(_)) => Err(FieldError::NotOneReference),
        };
        meaning.map(Some).map_err(|source| ItemError::Variable { name: quoted(&self.name), source })
    }
}

#[cfg(test)]
#[path = "item_tests.rs"]
mod tests;
