//! The collection that is followed: a type, a namespace or all, and a selection.

use attache_base::untrusted::beginning;
use http::Method;

use crate::policy::{ApiRequest, InvalidRequest, PathBuilder};
use crate::telemetry::MAX_TEXT;

/// The collection of a shared watch. From it come the list and the watch that a follower's grant has to allow, and the
/// requests that the host makes in the follower's stead.
///
/// ```
/// use attache::cluster::watch::Scope;
/// use attache::policy::ApiRequest;
///
/// let pods = ApiRequest::builder().resource("", "v1", "pods").namespace(Some("demo"));
/// let scope = Scope::of(pods.query("labelSelector", "app=web"))?;
/// assert_eq!((scope.list().verb(), scope.watch().verb()), ("list", "watch"));
/// # Ok::<(), attache::policy::InvalidRequest>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scope {
    collection: PathBuilder,
    list: ApiRequest,
    watch: ApiRequest,
}

impl Scope {
    /// Makes the scope of the collection that a builder describes: type, namespace, and `labelSelector` and
    /// `fieldSelector` as query parameters, if any.
    ///
    /// # Errors
    /// When the builder describes no collection, or is invalid.
    pub fn of(collection: PathBuilder) -> Result<Self, InvalidRequest> {
        let list = collection.clone().build(&Method::GET)?;
        let watch = collection.clone().query("watch", "1").build(&Method::GET)?;
        match (list.verb(), watch.verb()) {
            ("list", "watch") => Ok(Self { collection, list, watch }),
            _ => Err(InvalidRequest::Part { what: "collection", value: list.path().to_owned() }),
        }
    }

    /// Returns the request for the whole collection, for the gate to judge.
    pub fn list(&self) -> &ApiRequest {
        &self.list
    }

    /// Returns the request for its changes, for the gate to judge.
    pub fn watch(&self) -> &ApiRequest {
        &self.watch
    }

    /// Returns its path as logs have it. It is ASCII, and cut because a guest chooses its length.
    pub(super) fn shown(&self) -> &str {
        beginning(self.list.path(), MAX_TEXT)
    }

    /// Returns the request for one page.
    pub(super) fn page(&self, limit: Option<u32>, cursor: Option<&str>) -> Result<ApiRequest, InvalidRequest> {
        let limit = limit.map(|limit| limit.to_string());
        let path = limit.iter().fold(self.collection.clone(), |path, limit| path.query("limit", limit));
        cursor.iter().fold(path, |path, cursor| path.query("continue", cursor)).build(&Method::GET)
    }

    /// Returns the request for the changes from a version on, for so many seconds.
    pub(super) fn changes(&self, version: &str, seconds: u64) -> Result<ApiRequest, InvalidRequest> {
        let path = self.collection.clone().query("watch", "1").query("resourceVersion", version);
        let path = path.query("allowWatchBookmarks", "true").query("timeoutSeconds", &seconds.to_string());
        path.build(&Method::GET)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pods() -> PathBuilder {
        ApiRequest::builder().resource("", "v1", "pods").namespace(Some("demo"))
    }

    #[test]
    fn all_requests_of_a_scope_are_about_the_same_objects() {
        let scope = Scope::of(pods().query("fieldSelector", "metadata.name=a")).unwrap();
        let requests = [
            scope.list().clone(),
            scope.watch().clone(),
            scope.page(Some(500), Some("next")).unwrap(),
            scope.changes("7", 300).unwrap(),
        ];
        for request in &requests {
            let at = request.resource().unwrap();
            assert_eq!((at.namespace.as_deref(), at.name.as_deref()), (Some("demo"), Some("a")), "{request:?}");
            assert_eq!(request.path(), scope.list().path());
        }
        assert_eq!(requests.map(|request| request.verb()), ["list", "watch", "list", "watch"]);
    }

    #[test]
    fn one_object_by_its_path_is_no_collection() {
        assert!(Scope::of(pods().name("a")).is_err());
        assert!(Scope::of(pods().query("watch", "1")).is_err());
        assert!(Scope::of(pods().query("fieldSelector", "metadata.name")).is_err());
    }
}
