//! The Kubernetes API, within the limits of the guest's grant.
//!
//! The host holds the credentials. The host checks every call against the grant, and the API server checks every
//! request that it receives with its own RBAC.
//!
//! ```no_run
//! use attache_guest::api::{self, Collection, Error};
//! use serde_json::Value;
//!
//! fn replicas(namespace: &str, name: &str) -> Result<Option<u64>, Error> {
//!     let deployments = api::resolve("deploy")?.of;
//!     let found: Result<Value, Error> = Collection::namespaced(&deployments, namespace)?.get(name);
//!     match found {
//!         Ok(deployment) => Ok(deployment["spec"]["replicas"].as_u64()),
//!         Err(error) if error.is_not_found() => Ok(None),
//!         Err(error) => Err(error),
//!     }
//! }
//! ```

mod collection;
mod error;
mod list;
mod resource;
#[cfg(feature = "typed")]
mod typed;
mod watch;
mod write;

use crate::bindings::attache::pod::api as wit;

pub use collection::Collection;
pub use error::{Error, Status};
pub use list::{Items, List, Page, Pages};
pub use resource::{InvalidResourceType, ResourceInfo, ResourceType};
#[cfg(feature = "typed")]
pub use typed::{Api, Objects};
pub use watch::{Event, Watch};
pub use write::{Deletion, FieldManager, Patch, Propagation, Selector};

/// Returns every type of object that the API server serves and on which the grant opens a verb.
///
/// The types of an API group that does not answer are missing. The call counts against the grant's rate.
///
/// # Errors
///
/// [`Error::Throttled`], [`Error::Unavailable`], or a refusal by the API server.
///
/// ```no_run
/// # use attache_guest::api;
/// # fn main() -> Result<(), api::Error> {
/// for info in api::discover()?.iter().filter(|info| info.namespaced) {
///     println!("{} {}", info.of, info.verbs.join(","));
/// }
/// # Ok(())
/// # }
/// ```
pub fn discover() -> Result<Vec<ResourceInfo>, Error> {
    let found = wit::discover()?;
    Ok(found.into_iter().map(ResourceInfo::from).collect())
}

/// Finds a type by kind, plural, singular or short name, as `kubectl` does.
///
/// A group or version narrows the name: `apps/deploy`, `deployments.v1.apps`. If types of several groups have the name,
/// the type of the core group is returned. The call counts against the grant's rate.
///
/// # Errors
///
/// - [`Error::Invalid`] if no type has the name, or if types of several groups have it and none is in the core group.
/// - [`Error::Denied`] if the grant opens no verb on the type.
/// - [`Error::Unavailable`] if the API server, or the API group in the name, does not answer.
/// - The other errors of [`discover`].
///
/// ```no_run
/// # use attache_guest::api;
/// # fn main() -> Result<(), api::Error> {
/// assert_eq!(api::resolve("deploy")?.of.to_string(), "apps/v1/deployments");
/// # Ok(())
/// # }
/// ```
pub fn resolve(name: &str) -> Result<ResourceInfo, Error> {
    Ok(wit::resolve(name)?.into())
}

/// Returns true if both the grant and the API server allow `verb` on every object of the type, or on the named object.
///
/// A namespace of `None` means all namespaces, or a cluster-scoped type. A subresource is part of the plural, as in
/// RBAC: `pods/eviction`. If the grant does not open the verb, the host returns false without a request. Otherwise the
/// host asks the API server, and the call counts against the grant's rate.
///
/// # Errors
///
/// [`Error::Invalid`] if the verb, type or name is not valid; [`Error::Throttled`]; [`Error::Unavailable`]; or a
/// refusal of the access review by the API server.
///
/// ```no_run
/// # use attache_guest::api::{self, ResourceType};
/// # fn main() -> Result<(), api::Error> {
/// let jobs = ResourceType::new("batch", "v1", "jobs");
/// if !api::can_i("delete", &jobs, Some("default"), None)? {
///     println!("old jobs will stay");
/// }
/// # Ok(())
/// # }
/// ```
pub fn can_i(verb: &str, of: &ResourceType, namespace: Option<&str>, name: Option<&str>) -> Result<bool, Error> {
    Ok(wit::can_i(verb, &of.into(), namespace, name)?)
}
