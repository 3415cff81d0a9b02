//! Writes: patches, field managers, deletions and selectors.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Collection, Error};
use crate::bindings::attache::pod::api as wit;

/// A change of part of an object, in one of the formats of Kubernetes.
///
/// ```no_run
/// use attache_guest::api::{Collection, Error, Patch, ResourceType};
/// use serde_json::{Value, json};
///
/// fn pause(namespace: &str, name: &str) -> Result<Value, Error> {
///     let jobs = Collection::namespaced(&ResourceType::new("batch", "v1", "jobs"), namespace)?;
///     jobs.patch(name, &Patch::Merge(json!({ "spec": { "suspend": true } })))
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patch<T> {
    /// A JSON patch (RFC 6902), a list of operations: `[{"op": "add", "path": "/data/a", "value": "b"}]`.
    Json(T),
    /// A JSON merge patch (RFC 7396), where `null` deletes a field and a list replaces a list.
    Merge(T),
    /// A strategic merge patch, where Kubernetes merges its own lists by the keys of their items. Only built-in types
    /// support it.
    Strategic(T),
}

impl<T: Serialize> Patch<T> {
    fn encoded(&self) -> Result<wit::Patch, Error> {
        Ok(match self {
            Self::Json(patch) => wit::Patch::JsonPatch(json(patch)?),
            Self::Merge(patch) => wit::Patch::Merge(json(patch)?),
            Self::Strategic(patch) => wit::Patch::StrategicMerge(json(patch)?),
        })
    }
}

/// The field manager of a server-side apply, which owns the applied fields.
///
/// ```no_run
/// use attache_guest::api::{Collection, Error, FieldManager, ResourceType};
/// use serde_json::{Value, json};
///
/// fn remember(namespace: &str, text: &str) -> Result<Value, Error> {
///     let maps = Collection::namespaced(&ResourceType::core("v1", "configmaps"), namespace)?;
///     let wanted = json!({ "data": { "text": text } });
///     match maps.apply("memory", &wanted, &FieldManager::new("me")) {
///         Err(Error::Conflict(status)) => {
///             eprintln!("taking over: {status}");
///             maps.apply("memory", &wanted, &FieldManager::new("me").forced())
///         }
///         other => other,
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldManager {
    name: String,
    force: bool,
}

impl FieldManager {
    /// Returns a field manager that never takes fields of other managers. An apply that would change one of these
    /// fields fails with [`Error::Conflict`].
    ///
    /// A name has 1 to 128 bytes and only printable characters. Any other name makes the apply [`Error::Invalid`].
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), force: false }
    }

    /// Makes the field manager take ownership of fields that another manager owns.
    #[must_use]
    pub fn forced(self) -> Self {
        Self { force: true, ..self }
    }
}

/// The treatment of the objects that a deleted object owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    /// The default of the type.
    #[default]
    ServerDefault,
    /// The owned objects are kept, without their owner.
    Orphan,
    /// The owned objects are deleted after their owner.
    Background,
    /// The owned objects are deleted before their owner.
    Foreground,
}

impl From<Propagation> for wit::Propagation {
    fn from(propagation: Propagation) -> Self {
        match propagation {
            Propagation::ServerDefault => Self::ServerDefault,
            Propagation::Orphan => Self::Orphan,
            Propagation::Background => Self::Background,
            Propagation::Foreground => Self::Foreground,
        }
    }
}

/// The options of a deletion. An option that is not set has the default of the object's type.
///
/// ```no_run
/// use attache_guest::api::{Api, Deletion, Error, Propagation};
/// use attache_guest::k8s_openapi::api::core::v1::Pod;
///
/// /// Deletes a pod without a grace period, but not a newer pod of the same name.
/// fn kill(pods: &Api<Pod>, name: &str, uid: &str) -> Result<(), Error> {
///     pods.delete_with(name, Deletion::new().grace_seconds(0).only_uid(uid))?;
///     // A propagation alone needs no `Deletion`.
///     pods.delete_with("job-runner", Propagation::Foreground)
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "the options delete nothing by themselves"]
pub struct Deletion {
    propagation: Propagation,
    grace_seconds: Option<u32>,
    uid: Option<String>,
    version: Option<String>,
}

impl Deletion {
    /// Returns the default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the treatment of the objects that the deleted object owns.
    pub fn propagation(self, propagation: Propagation) -> Self {
        Self { propagation, ..self }
    }

    /// Sets the time in seconds that the object has to stop, in place of its own grace period. For a pod, 0 deletes the
    /// object without waiting for its containers.
    pub fn grace_seconds(self, seconds: u32) -> Self {
        Self { grace_seconds: Some(seconds), ..self }
    }

    /// Sets the `metadata.uid` that the object must have. An object with another UID, such as one created since under
    /// the same name, is [`Error::Conflict`].
    pub fn only_uid(self, uid: impl Into<String>) -> Self {
        Self { uid: Some(uid.into()), ..self }
    }

    /// Sets the `metadata.resourceVersion` that the object must have. An object that has changed since is
    /// [`Error::Conflict`].
    pub fn only_version(self, version: impl Into<String>) -> Self {
        Self { version: Some(version.into()), ..self }
    }
}

impl From<Propagation> for Deletion {
    fn from(propagation: Propagation) -> Self {
        Self::new().propagation(propagation)
    }
}

impl From<Deletion> for wit::DeleteOptions {
    fn from(deletion: Deletion) -> Self {
        let Deletion { propagation, grace_seconds, uid, version } = deletion;
        let propagation = propagation.into();
        Self { propagation, grace_period_seconds: grace_seconds, uid, resource_version: version }
    }
}

/// A selection of objects in a collection.
///
/// ```no_run
/// use attache_guest::api::{Collection, Error, Propagation, ResourceType, Selector};
///
/// fn clean(namespace: &str) -> Result<(), Error> {
///     let pods = Collection::namespaced(&ResourceType::core("v1", "pods"), namespace)?;
///     pods.delete_all(&Selector::labels("app=batch").fields("status.phase=Failed"), Propagation::ServerDefault)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    labels: String,
    fields: String,
}

impl Selector {
    /// Returns a selector of all objects.
    pub fn all() -> Self {
        Self { labels: String::new(), fields: String::new() }
    }

    /// Returns a selector by labels, in the syntax of `kubectl --selector`, such as `app=web,tier in (a, b)`.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { labels: selector.into(), ..Self::all() }
    }

    /// Adds a field selector, in the syntax of `kubectl --field-selector`, such as `status.phase=Failed`.
    #[must_use]
    pub fn fields(self, selector: impl Into<String>) -> Self {
        Self { fields: selector.into(), ..self }
    }
}

impl From<&Selector> for wit::Selector {
    fn from(selector: &Selector) -> Self {
        Self { labels: selector.labels.clone(), fields: selector.fields.clone() }
    }
}

/// Writes. Each call returns the API server's answer, which is usually the object as stored. When the answer exceeds
/// the grant's `responseBytes`, the call fails with [`Error::TooLarge`] although the change is stored.
impl Collection {
    /// Makes every later write a dry run: the API server validates and admits the change, but stores nothing.
    ///
    /// ```no_run
    /// # use attache_guest::api::{Collection, Error, ResourceType};
    /// # use serde_json::{Value, json};
    /// fn is_valid(namespace: &str, map: &Value) -> Result<bool, Error> {
    ///     let maps = Collection::namespaced(&ResourceType::core("v1", "configmaps"), namespace)?.dry_run();
    ///     Ok(maps.create::<Value>(map).is_ok())
    /// }
    /// ```
    #[must_use]
    pub fn dry_run(self) -> Self {
        Self { options: self.options | wit::WriteOptions::DRY_RUN, ..self }
    }

    /// Creates an object. The host adds `apiVersion` and `kind` if the object lacks them.
    ///
    /// In a subresource such as `eviction`, `metadata.name` is required and names the object.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]; [`Error::AlreadyExists`] if there is an object of this name.
    ///
    /// ```no_run
    /// # use attache_guest::api::{Collection, Error, ResourceType};
    /// # use serde_json::{Value, json};
    /// fn evict(namespace: &str, pod: &str) -> Result<Value, Error> {
    ///     let pods = Collection::namespaced(&ResourceType::core("v1", "pods"), namespace)?;
    ///     pods.subresource("eviction")?.create(&json!({ "metadata": { "name": pod } }))
    /// }
    /// ```
    pub fn create<R: DeserializeOwned>(&self, object: &impl Serialize) -> Result<R, Error> {
        read(&self.handle.create(&json(object)?, self.options)?)
    }

    /// Replaces an object. The host adds `apiVersion`, `kind` and `metadata.name` if the object lacks them.
    ///
    /// The API server creates an object of some types by a replacement: services, leases, roles and others, and
    /// possibly every type that is not built in. On such an object, the grant must open both `create` and `update`.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]; [`Error::Conflict`] if the object has a `resourceVersion` that is no longer current.
    pub fn replace<R: DeserializeOwned>(&self, name: &str, object: &impl Serialize) -> Result<R, Error> {
        read(&self.handle.replace(name, &json(object)?, self.options)?)
    }

    /// Changes part of an object.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`].
    pub fn patch<R: DeserializeOwned>(&self, name: &str, patch: &Patch<impl Serialize>) -> Result<R, Error> {
        read(&self.handle.patch(name, &patch.encoded()?, self.options)?)
    }

    /// Applies the fields of `object` by server-side apply.
    ///
    /// The host adds `apiVersion`, `kind` and `metadata.name` if the object lacks them. The API server creates the
    /// object if there is none, so the grant must open both `create` and `patch`.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]; [`Error::Conflict`] if another field manager owns one of the fields.
    pub fn apply<R: DeserializeOwned>(
        &self,
        name: &str,
        object: &impl Serialize,
        manager: &FieldManager,
    ) -> Result<R, Error> {
        let FieldManager { name: field_manager, force } = manager.clone();
        let patch = wit::Patch::Apply(wit::ApplyPatch { body: json(object)?, field_manager, force });
        read(&self.handle.patch(name, &patch, self.options)?)
    }

    /// Deletes one object with the default options of its type.
    ///
    /// An object with finalizers or a grace period still exists for some time after the call.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`] except [`Error::Decode`]; [`Error::NotFound`] if there is no such object.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        self.delete_with(name, Deletion::new())
    }

    /// Deletes one object with the given options: a [`Deletion`], or only a [`Propagation`].
    ///
    /// # Errors
    ///
    /// Every case of [`Error`] except [`Error::Decode`]; [`Error::NotFound`] if there is no such object,
    /// [`Error::Conflict`] if a precondition of the [`Deletion`] does not hold.
    pub fn delete_with(&self, name: &str, how: impl Into<Deletion>) -> Result<(), Error> {
        Ok(self.handle.delete(name, &how.into().into(), self.options)?)
    }

    /// Deletes all selected objects. The grant must open the verb `deletecollection`.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`] except [`Error::Decode`]. An empty selection is not an error.
    pub fn delete_all(&self, select: &Selector, propagation: Propagation) -> Result<(), Error> {
        Ok(self.handle.delete_all(&select.into(), propagation.into(), self.options)?)
    }
}

fn json(object: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(object).map_err(|error| Error::Invalid(format!("it cannot be written as JSON: {error}")))
}

fn read<R: DeserializeOwned>(answer: &[u8]) -> Result<R, Error> {
    Ok(serde_json::from_slice(answer)?)
}
