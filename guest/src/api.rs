//! The Kubernetes API, as far as the host's grant opens it.
//!
//! The host holds the credentials. Every call is judged against the grant, then by the API server's own RBAC.
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

/// Returns every type of object that the API server serves and the grant opens a verb on.
///
/// # Errors
///
/// The API server refused discovery or could not be reached.
pub fn discover() -> Result<Vec<ResourceInfo>, Error> {
    let found = wit::discover()?;
    Ok(found.into_iter().map(ResourceInfo::from).collect())
}

/// Finds a type by kind, plural, singular or short name, as `kubectl` does; `apps/deploy` or `deployments.v1.apps`
/// narrow it.
///
/// # Errors
///
/// [`Error::Invalid`] when the name is unknown, or means types of several groups and none of the core's, and what
/// [`discover`] may fail with.
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

/// Says whether the grant and the API server would let `verb` pass: on every object of the type in one namespace
/// (`None` is all of them), or on the one named.
///
/// For a subresource, the plural is written as in RBAC: `pods/eviction`.
///
/// # Errors
///
/// [`Error::Invalid`] when it is no question, and what the API server may fail with. That it may not is no error.
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
