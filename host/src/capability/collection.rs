//! Collections: the paths of objects and subresources that a guest names.

use super::bindings::api as wit;
use super::error::ApiError;
use crate::policy::{ApiRequest, PathBuilder};

/// The default and maximum number of objects in a page, as in `kubectl` and kube-rs.
const PAGE: u32 = 500;

/// The divisor of the page size after a page that was too large for one answer. The sizes of most objects differ by
/// less, so one more request is mostly enough, and three lead from a whole page to one object.
const PART_OF_PAGE: u32 = 8;

/// The objects of one type in one namespace or in all, or one of their subresources.
#[derive(Clone, Debug)]
pub struct Collection {
    of: wit::ResourceType,
    namespace: Option<String>,
    subresource: Option<String>,
    /// The maximum number of objects in a page. It shrinks when more of these objects were too large for one answer.
    most: u32,
}

impl Collection {
    pub(super) fn new(of: wit::ResourceType, namespace: Option<String>) -> Self {
        Self { of, namespace, subresource: None, most: PAGE }
    }

    /// Returns the subresource of this name of all objects.
    pub(super) fn narrowed(&self, subresource: String) -> Self {
        Self { subresource: Some(subresource), ..self.clone() }
    }

    /// Returns the number of objects to ask for, when the guest asks for `limit`.
    pub(super) fn page_size(&self, limit: u32) -> u32 {
        page_size(limit).min(self.most)
    }

    /// Notes that a page of this many objects was too large for one answer.
    pub(super) fn shrink_pages(&mut self, too_many: u32) {
        self.most = (too_many / PART_OF_PAGE).max(1);
    }

    pub(super) fn of(&self) -> &wit::ResourceType {
        &self.of
    }

    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(super) fn subresource(&self) -> Option<&str> {
        self.subresource.as_deref()
    }

    /// Returns whether the objects are namespaces. In their paths, a name looks like the namespace of another object.
    pub(super) fn is_namespaces(&self) -> bool {
        self.of.group.is_empty() && self.of.plural == "namespaces"
    }

    /// Returns the path of all objects.
    pub(super) fn path(&self) -> PathBuilder {
        ApiRequest::builder()
            .resource(&self.of.group, &self.of.version, &self.of.plural)
            .namespace(self.namespace.as_deref())
    }

    /// Returns the path of one object, or of its subresource.
    pub(super) fn named(&self, name: &str) -> PathBuilder {
        match &self.subresource {
            Some(subresource) => self.path().name(name).subresource(subresource),
            None => self.path().name(name),
        }
    }

    /// Returns the path of one page of the selected objects.
    pub(super) fn listed(
        &self,
        select: &wit::Selector,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<PathBuilder, ApiError> {
        let path = self.selected(select)?.query("limit", &limit.to_string());
        let begun = cursor.filter(|cursor| !cursor.is_empty());
        Ok(begun.into_iter().fold(path, |path, cursor| path.query("continue", cursor)))
    }

    /// Returns the path of the selected objects.
    pub(super) fn selected(&self, select: &wit::Selector) -> Result<PathBuilder, ApiError> {
        if let Some(subresource) = &self.subresource {
            return Err(ApiError::invalid(format!("subresource {subresource:?} is no collection: name the object")));
        }
        let query = [("labelSelector", &select.labels), ("fieldSelector", &select.fields)];
        let given = query.into_iter().filter(|(_, value)| !value.is_empty());
        Ok(given.fold(self.path(), |path, (key, value)| path.query(key, value)))
    }
}

/// Returns the number of objects in a page for which a guest asks.
pub(super) fn page_size(limit: u32) -> u32 {
    if limit == 0 { PAGE } else { limit.min(PAGE) }
}
