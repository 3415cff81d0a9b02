//! Writing: what there is besides the object itself.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Collection, Error};
use crate::bindings::attache::pod::api as wit;

/// A change of part of an object.
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
    /// A list of operations (RFC 6902): `[{"op": "add", "path": "/data/a", "value": "b"}]`.
    Json(T),
    /// An object merged into the other, where `null` deletes and a list replaces a list (RFC 7396).
    Merge(T),
    /// As a merge, but Kubernetes' own lists are merged by the keys of their items. Built-in types only.
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

/// Who owns the fields of a server-side apply.
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
    /// A manager that leaves other managers' fields alone: an apply that would change one is an [`Error::Conflict`].
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), force: false }
    }

    /// The same, taking over what another manager owns.
    #[must_use]
    pub fn forced(self) -> Self {
        Self { force: true, ..self }
    }
}

/// What becomes of the objects that a deleted object owns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Propagation {
    /// The type's own default.
    #[default]
    ServerDefault,
    /// They are kept, without an owner.
    Orphan,
    /// They are deleted after it.
    Background,
    /// They are deleted before it.
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

/// How an object is deleted: as its type's own default has it, and with whatever is said besides.
///
/// ```no_run
/// use attache_guest::api::{Api, Deletion, Error, Propagation};
/// use attache_guest::k8s_openapi::api::core::v1::Pod;
///
/// /// Ends a pod that hangs at once, unless there is another of its name by now.
/// fn kill(pods: &Api<Pod>, name: &str, uid: &str) -> Result<(), Error> {
///     pods.delete_with(name, Deletion::new().grace_seconds(0).only_uid(uid))?;
///     // Who wants to say one thing only need not make one.
///     pods.delete_with("job-runner", Propagation::Foreground)
/// }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "it deletes nothing by itself"]
pub struct Deletion {
    propagation: Propagation,
    grace_seconds: Option<u32>,
    uid: Option<String>,
    version: Option<String>,
}

impl Deletion {
    /// As the type's own default has it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what becomes of the objects that it owns.
    pub fn propagation(self, propagation: Propagation) -> Self {
        Self { propagation, ..self }
    }

    /// Gives it so many seconds to stop, in place of its own time. For a pod, 0 does not wait for its containers at
    /// all.
    pub fn grace_seconds(self, seconds: u32) -> Self {
        Self { grace_seconds: Some(seconds), ..self }
    }

    /// Only the object with this `metadata.uid`, and none that was made under its name since: that is an
    /// [`Error::Conflict`].
    pub fn only_uid(self, uid: impl Into<String>) -> Self {
        Self { uid: Some(uid.into()), ..self }
    }

    /// Only as it was read, at this `metadata.resourceVersion`: a later one is an [`Error::Conflict`].
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

/// Which objects of a collection are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    labels: String,
    fields: String,
}

impl Selector {
    /// All of them.
    pub fn all() -> Self {
        Self { labels: String::new(), fields: String::new() }
    }

    /// Those with these labels, in the syntax of `kubectl --selector`, such as `app=web,tier in (a, b)`.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { labels: selector.into(), ..Self::all() }
    }

    /// Of those the ones with these fields, in the syntax of `kubectl --field-selector`, such as `status.phase=Failed`.
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

/// Writing. What a call returns is what the API server answered: the object as it is stored, in most cases.
impl Collection {
    /// Lets everything that is written from here on be checked, admitted and answered, but not stored.
    #[must_use]
    pub fn dry_run(self) -> Self {
        Self { options: self.options | wit::WriteOptions::DRY_RUN, ..self }
    }

    /// Creates an object. `apiVersion` and `kind` may be left out.
    ///
    /// In a subresource such as `eviction`, `metadata.name` says of which object.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::AlreadyExists`] when there is an object of this name.
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

    /// Replaces an object. `apiVersion`, `kind` and `metadata.name` may be left out. The API server creates some types
    /// by this (services, leases, roles and the like, perhaps all that are not built in): then the grant has to open
    /// `create` too.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::Conflict`] when the object carries a `resourceVersion` that is no longer current.
    pub fn replace<R: DeserializeOwned>(&self, name: &str, object: &impl Serialize) -> Result<R, Error> {
        read(&self.handle.replace(name, &json(object)?, self.options)?)
    }

    /// Changes part of an object.
    ///
    /// # Errors
    ///
    /// Any of [`Error`].
    pub fn patch<R: DeserializeOwned>(&self, name: &str, patch: &Patch<impl Serialize>) -> Result<R, Error> {
        read(&self.handle.patch(name, &patch.encoded()?, self.options)?)
    }

    /// Applies the fields that a manager wants an object to have, and creates the object if there is none.
    ///
    /// `apiVersion`, `kind` and `metadata.name` may be left out. The grant needs both verbs, `create` and `patch`.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::Conflict`] when another manager owns one of the fields.
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

    /// Deletes an object, as the type's own default has it. One with finalizers or a grace period is gone some time
    /// later.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::NotFound`] when there is none.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        self.delete_with(name, Deletion::new())
    }

    /// Deletes an object and says how: a [`Deletion`], or only what becomes of the objects that it owns.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::NotFound`] when there is none, [`Error::Conflict`] when it is another than was meant.
    pub fn delete_with(&self, name: &str, how: impl Into<Deletion>) -> Result<(), Error> {
        Ok(self.handle.delete(name, &how.into().into(), self.options)?)
    }

    /// Deletes all the selected objects. The verb that the grant needs for it is `deletecollection`.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]. That there are none is no error.
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
