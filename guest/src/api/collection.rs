//! The objects of one type.

use serde::de::DeserializeOwned;

use super::{Error, List, ResourceType};
use crate::bindings::attache::pod::api as wit;

/// The objects of one type, in one namespace or in all.
///
/// Objects are read as whatever deserialises from their JSON: [`serde_json::Value`], the types of `k8s-openapi`, or a
/// struct of one's own with the few fields that matter.
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
    /// [`Error::Denied`] when the grant opens no verb at all on them, [`Error::Invalid`] for namespaces themselves.
    pub fn namespaced(of: &ResourceType, namespace: &str) -> Result<Self, Error> {
        let handle = wit::open(&of.into(), Some(namespace))?;
        Ok(Self::of(handle))
    }

    /// Opens the objects of one type in all namespaces, or of a type that lives in none, as the namespaces themselves
    /// do.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when the grant opens no verb at all on them.
    pub fn all(of: &ResourceType) -> Result<Self, Error> {
        let handle = wit::open(&of.into(), None)?;
        Ok(Self::of(handle))
    }

    fn of(handle: wit::Collection) -> Self {
        Self { handle, options: wit::WriteOptions::empty() }
    }

    /// Narrows to a subresource such as `status`, `scale` or `eviction`: [`get`](Self::get), [`create`](Self::create)
    /// and the like then act on that of the named object.
    ///
    /// There is nothing to list in it, and streams such as `log` are not objects.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it cannot be one. Whether the grant opens it shows with the first call.
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

    /// Reads one object.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::is_not_found`] when there is no such object.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, Error> {
        Ok(serde_json::from_slice(&self.get_json(name)?)?)
    }

    /// Reads one object and leaves it as the JSON text that the API server sent, for a reader of one's own.
    ///
    /// # Errors
    ///
    /// Any of [`Error`] but [`Error::Decode`].
    pub fn get_json(&self, name: &str) -> Result<Vec<u8>, Error> {
        Ok(self.handle.get(name)?)
    }

    /// Begins a list of the objects: select, then iterate. Nothing is asked before the first item is.
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
