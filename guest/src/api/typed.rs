//! Objects of a type that the program knows: those of `k8s-openapi`, one's own, or whatever discovery says.

use std::marker::PhantomData;

use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::Pod;
use kube_core::{ApiResource, NamespaceResourceScope, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Collection, Deletion, Error, FieldManager, Items, List, Pages, Patch, Propagation, ResourceInfo, ResourceType,
    Selector, Watch,
};

/// How often [`Api::modify`] begins anew. Each time somebody else has changed the object in between; whoever meets that
/// more often is in a fight that retrying does not end.
const MODIFY_TRIES: u32 = 10;

/// The objects of type `K`, in one namespace or in all.
///
/// `K` is a type of [`k8s_openapi`], one's own that implements [`kube_core::Resource`], or
/// [`DynamicObject`](kube_core::DynamicObject) for a type that is known only when the program runs.
///
/// ```no_run
/// use attache_guest::api::{Api, Error};
/// use attache_guest::k8s_openapi::api::batch::v1::Job;
///
/// fn failed(namespace: &str) -> Result<Vec<String>, Error> {
///     let mut names = Vec::new();
///     for job in Api::<Job>::namespaced(namespace)?.list().labels("app=report") {
///         let job = job?;
///         if job.status.and_then(|status| status.failed).unwrap_or(0) > 0 {
///             names.extend(job.metadata.name);
///         }
///     }
///     Ok(names)
/// }
/// ```
#[derive(Debug)]
pub struct Api<K> {
    objects: Collection,
    of: PhantomData<fn() -> K>,
}

impl<K: Resource<Scope = NamespaceResourceScope>> Api<K>
where
    K::DynamicType: Default,
{
    /// Opens the objects in one namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when the grant opens no verb at all on them.
    pub fn namespaced(namespace: &str) -> Result<Self, Error> {
        Self::namespaced_with(&K::DynamicType::default(), namespace)
    }
}

impl<K: Resource> Api<K> {
    /// Opens the objects in all namespaces, or of a type that lives in none.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when the grant opens no verb at all on them.
    pub fn all() -> Result<Self, Error>
    where
        K::DynamicType: Default,
    {
        Self::all_with(&K::DynamicType::default())
    }

    /// Opens the objects of a type that is known only now, in one namespace.
    ///
    /// ```no_run
    /// use attache_guest::api::{self, Api, Error};
    /// use attache_guest::kube_core::{ApiResource, DynamicObject};
    ///
    /// fn count(kind: &str, namespace: &str) -> Result<usize, Error> {
    ///     let of = ApiResource::from(&api::resolve(kind)?);
    ///     Ok(Api::<DynamicObject>::namespaced_with(&of, namespace)?.list().into_iter().flatten().count())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when the grant opens no verb at all on them.
    pub fn namespaced_with(of: &K::DynamicType, namespace: &str) -> Result<Self, Error> {
        Ok(Collection::namespaced(&type_of::<K>(of), namespace)?.into())
    }

    /// As [`Api::namespaced_with`], in all namespaces, or for a type that lives in none.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] when the grant opens no verb at all on them.
    pub fn all_with(of: &K::DynamicType) -> Result<Self, Error> {
        Ok(Collection::all(&type_of::<K>(of))?.into())
    }
}

impl<K> From<Collection> for Api<K> {
    /// Takes what is in a collection for objects of type `K`.
    fn from(objects: Collection) -> Self {
        Self { objects, of: PhantomData }
    }
}

impl<K> Api<K> {
    /// The objects as a collection of anything.
    pub fn objects(&self) -> &Collection {
        &self.objects
    }

    /// Lets everything that is written from here on be checked, admitted and answered, but not stored.
    #[must_use]
    pub fn dry_run(self) -> Self {
        self.objects.dry_run().into()
    }

    /// Begins a list of the objects: select, then iterate. Nothing is asked before the first item is.
    pub fn list(&self) -> Objects<'_, K> {
        Objects { list: self.objects.list(), of: PhantomData }
    }

    /// Follows the selected objects, beginning with a full replay; see [`Collection::watch`].
    ///
    /// ```no_run
    /// use attache_guest::api::{Api, Error, Event, Selector};
    /// use attache_guest::k8s_openapi::api::core::v1::ConfigMap;
    ///
    /// fn print(namespace: &str) -> Result<(), Error> {
    ///     for event in Api::<ConfigMap>::namespaced(namespace)?.watch(&Selector::labels("app=web"))? {
    ///         if let Event::Applied(map) = event? {
    ///             println!("{:?} is now {:?}", map.metadata.name, map.data);
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Denied`], [`Error::Invalid`].
    pub fn watch(&self, select: &Selector) -> Result<Watch<K>, Error> {
        self.objects.watch(select)
    }

    /// Deletes an object, as the type's own default has it. One with finalizers or a grace period is gone later.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::NotFound`] when there is none.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        self.objects.delete(name)
    }

    /// Deletes an object and says how: a [`Deletion`], or only what becomes of the objects that it owns.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::NotFound`] when there is none, [`Error::Conflict`] when it is another than was meant.
    pub fn delete_with(&self, name: &str, how: impl Into<Deletion>) -> Result<(), Error> {
        self.objects.delete_with(name, how)
    }

    /// Deletes all the selected objects. The verb that the grant needs for it is `deletecollection`.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]. That there are none is no error.
    pub fn delete_collection(&self, select: &Selector) -> Result<(), Error> {
        self.objects.delete_all(select, Propagation::ServerDefault)
    }

    /// The `status` of the objects: what is written there changes nothing else of them.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]. Whether the grant opens it shows with the first call.
    pub fn status(&self) -> Result<Self, Error> {
        self.subresource("status")
    }

    /// The `scale` of the objects: how many replicas each has and wants.
    ///
    /// ```no_run
    /// use attache_guest::api::{Api, Error, Patch};
    /// use attache_guest::k8s_openapi::api::apps::v1::Deployment;
    /// use serde_json::json;
    ///
    /// fn stop(namespace: &str, name: &str) -> Result<(), Error> {
    ///     let scales = Api::<Deployment>::namespaced(namespace)?.scale()?;
    ///     scales.patch(name, &Patch::Merge(json!({ "spec": { "replicas": 0 } })))?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]. Whether the grant opens it shows with the first call.
    pub fn scale(&self) -> Result<Api<Scale>, Error> {
        self.subresource("scale")
    }

    /// Another subresource, whose objects are of type `S`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]. Whether the grant opens it shows with the first call.
    pub fn subresource<S>(&self, name: &str) -> Result<Api<S>, Error> {
        Ok(self.objects.subresource(name)?.into())
    }
}

impl<K: DeserializeOwned> Api<K> {
    /// Reads one object.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::NotFound`] when there is none.
    pub fn get(&self, name: &str) -> Result<K, Error> {
        self.objects.get(name)
    }

    /// Reads one object, which may not be there.
    ///
    /// # Errors
    ///
    /// Any of [`Error`] but [`Error::NotFound`].
    pub fn get_opt(&self, name: &str) -> Result<Option<K>, Error> {
        match self.get(name) {
            Err(Error::NotFound(_)) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Changes part of an object.
    ///
    /// # Errors
    ///
    /// Any of [`Error`].
    pub fn patch(&self, name: &str, patch: &Patch<impl Serialize>) -> Result<K, Error> {
        self.objects.patch(name, patch)
    }
}

impl<K: Resource + Serialize + DeserializeOwned> Api<K> {
    /// Creates an object and returns it as stored.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::AlreadyExists`] when there is an object of this name.
    pub fn create(&self, object: &K) -> Result<K, Error> {
        self.objects.create(object)
    }

    /// Replaces the object of the same name and returns it as stored.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::Conflict`] when `object` carries a `resourceVersion` that is no longer current, as
    /// one that was read does.
    pub fn replace(&self, object: &K) -> Result<K, Error> {
        self.objects.replace(name_of(object)?, object)
    }

    /// Applies the fields that a manager wants the object of this name to have, creates it if there is none, and
    /// returns it as stored. The grant needs both verbs, `create` and `patch`.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::Conflict`] when another manager owns one of the fields.
    pub fn apply(&self, object: &K, manager: &FieldManager) -> Result<K, Error> {
        self.objects.apply(name_of(object)?, object, manager)
    }

    /// Reads an object, changes it, replaces it, and begins anew when somebody else has changed it meanwhile.
    ///
    /// ```no_run
    /// use attache_guest::api::{Api, Error};
    /// use attache_guest::k8s_openapi::api::core::v1::ConfigMap;
    ///
    /// fn count_up(namespace: &str) -> Result<ConfigMap, Error> {
    ///     Api::<ConfigMap>::namespaced(namespace)?.modify("visits", |map| {
    ///         let count = map.data.get_or_insert_default().entry("count".into()).or_default();
    ///         *count = (count.parse().unwrap_or(0) + 1).to_string();
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; [`Error::Conflict`] when it was changed each of ten times.
    pub fn modify(&self, name: &str, mut change: impl FnMut(&mut K)) -> Result<K, Error> {
        let mut tries = 0;
        loop {
            let mut object = self.get(name)?;
            change(&mut object);
            tries += 1;
            match self.replace(&object) {
                Err(Error::Conflict(_)) if tries < MODIFY_TRIES => {}
                other => return other,
            }
        }
    }
}

impl Api<Pod> {
    /// Deletes a pod unless a disruption budget forbids it.
    ///
    /// # Errors
    ///
    /// Any of [`Error`]; a budget that forbids it is an [`Error::Refused`] with code 429.
    pub fn evict(&self, name: &str) -> Result<(), Error> {
        let eviction = json!({ "metadata": { "name": name } });
        self.objects.subresource("eviction")?.create::<Value>(&eviction).map(drop)
    }
}

/// A list of objects that is about to be read; made by [`Api::list`].
#[derive(Debug, Clone)]
#[must_use = "a list asks for nothing before it is iterated"]
pub struct Objects<'a, K> {
    list: List<'a>,
    of: PhantomData<fn() -> K>,
}

impl<'a, K> Objects<'a, K> {
    /// Selects by labels, in the syntax of `kubectl --selector`, such as `app=web,tier in (a, b)`.
    pub fn labels(self, selector: impl Into<String>) -> Self {
        Self { list: self.list.labels(selector), ..self }
    }

    /// Selects by fields, in the syntax of `kubectl --field-selector`, such as `status.phase=Running`.
    pub fn fields(self, selector: impl Into<String>) -> Self {
        Self { list: self.list.fields(selector), ..self }
    }

    /// Sets how many objects are asked for at a time: 500 by default. The host may send fewer.
    pub fn page_size(self, objects: u32) -> Self {
        Self { list: self.list.page_size(objects), ..self }
    }

    /// Reads the list page by page. When a page cannot be had or read, that error is the last item.
    pub fn pages(self) -> Pages<'a, K>
    where
        K: DeserializeOwned,
    {
        self.list.pages()
    }
}

impl<'a, K: DeserializeOwned> IntoIterator for Objects<'a, K> {
    type Item = Result<K, Error>;
    type IntoIter = Items<'a, K>;

    /// Reads the list one object after the other, a page being held at a time. An object that cannot be read as a `K`
    /// is an error in its place; when a page cannot be had, that error is the last item.
    fn into_iter(self) -> Items<'a, K> {
        self.list.items()
    }
}

impl From<&ResourceInfo> for ApiResource {
    fn from(info: &ResourceInfo) -> Self {
        let ResourceType { group, version, plural } = info.of.clone();
        let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
        Self { group, version, api_version, kind: info.kind.clone(), plural }
    }
}

fn type_of<K: Resource>(of: &K::DynamicType) -> ResourceType {
    ResourceType::new(K::group(of), K::version(of), K::plural(of))
}

fn name_of(object: &impl Resource) -> Result<&str, Error> {
    object.meta().name.as_deref().ok_or_else(|| Error::Invalid("the object has no metadata.name".into()))
}
