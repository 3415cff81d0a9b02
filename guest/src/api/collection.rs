//! Collections: the objects of one type.

use serde::de::DeserializeOwned;

use super::{Error, List, ResourceType};
use crate::bindings::attache::pod::api as wit;

/// The objects of one type, in one namespace or in all namespaces.
///
/// Each call chooses the Rust type of the objects: every type that deserialises from their JSON. Examples are
/// [`serde_json::Value`], the types of `k8s-openapi`, and a struct with only the fields that the guest needs.
///
/// ```no_run
/// use attache_guest::api::{Collection, Error, ResourceType};
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Lease {
///     spec: Spec,
/// }
///
/// #[derive(Deserialize)]
/// #[serde(rename_all = "camelCase")]
/// struct Spec {
///     holder_identity: Option<String>,
/// }
///
/// fn leader(namespace: &str) -> Result<Option<String>, Error> {
///     let leases = ResourceType::new("coordination.k8s.io", "v1", "leases");
///     let lease: Lease = Collection::namespaced(&leases, namespace)?.get("leader")?;
///     Ok(lease.spec.holder_identity)
/// }
/// ```
#[derive(Debug)]
pub struct Collection {
    pub(super) handle: wit::Collection,
    pub(super) options: wit::WriteOptions,
}

impl Collection {
    /// Opens the objects of one type in one namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] if the grant opens no verb on the collection; [`Error::Invalid`] if `of` is `namespaces`,
    /// which is cluster-scoped, or if a name is not valid.
    pub fn namespaced(of: &ResourceType, namespace: &str) -> Result<Self, Error> {
        let handle = wit::open(&of.into(), Some(namespace))?;
        Ok(Self::of(handle))
    }

    /// Opens the objects of one type in all namespaces, or the objects of a cluster-scoped type such as `namespaces`.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] if the grant opens no verb on the collection; [`Error::Invalid`] if a name is not valid.
    pub fn all(of: &ResourceType) -> Result<Self, Error> {
        let handle = wit::open(&of.into(), None)?;
        Ok(Self::of(handle))
    }

    fn of(handle: wit::Collection) -> Self {
        Self { handle, options: wit::WriteOptions::empty() }
    }

    /// Returns the collection of one subresource, such as `status`, `scale` or `eviction`.
    ///
    /// In the returned collection, [`get`](Self::get), [`create`](Self::create), [`replace`](Self::replace),
    /// [`patch`](Self::patch) and [`delete`](Self::delete) act on that subresource of the named object. A list, a watch
    /// and [`delete_all`](Self::delete_all) are [`Error::Invalid`]. A stream such as `log` is not an object: read it
    /// through the module `http`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the name is not valid. The host checks the grant at the first call on the subresource.
    ///
    /// ```no_run
    /// use attache_guest::api::{Collection, Error, ResourceType};
    /// use serde_json::Value;
    ///
    /// fn wanted(namespace: &str, name: &str) -> Result<Option<u64>, Error> {
    ///     let deployments = Collection::namespaced(&ResourceType::new("apps", "v1", "deployments"), namespace)?;
    ///     let scale: Value = deployments.subresource("scale")?.get(name)?;
    ///     Ok(scale["spec"]["replicas"].as_u64())
    /// }
    /// ```
    pub fn subresource(&self, name: &str) -> Result<Self, Error> {
        let handle = self.handle.subresource(name)?;
        Ok(Self { handle, options: self.options })
    }

    /// Returns one object.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]; [`Error::NotFound`] if there is no such object.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.get_json(name)?)?)
    }

    /// Returns one object as the JSON that the API server sent, for the guest's own parser.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`] except [`Error::Decode`].
    pub fn get_json(&self, name: &str) -> Result<Vec<u8>, Error> {
        Ok(self.handle.get(name)?)
    }

    /// Returns a list of the objects, to be narrowed by selectors and then iterated. The first item causes the first
    /// request.
    ///
    /// ```no_run
    /// use attache_guest::api::{Collection, Error, ResourceType};
    /// use serde_json::Value;
    ///
    /// fn running(namespace: &str) -> Result<usize, Error> {
    ///     let pods = Collection::namespaced(&ResourceType::core("v1", "pods"), namespace)?;
    ///     let mut count = 0;
    ///     for pod in pods.list().labels("app=web").fields("status.phase=Running").items::<Value>() {
    ///         let _: Value = pod?;
    ///         count += 1;
    ///     }
    ///     Ok(count)
    /// }
    /// ```
    pub fn list(&self) -> List<'_> {
        List::of(&self.handle)
    }
}
