//! Collections of one Rust type: a type of `k8s-openapi`, a guest's own, or a dynamic one.

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

/// The number of attempts of [`Api::modify`]. Each failed attempt means that another client changed the object in
/// between; two clients that fight over a field do not stop by retries.
const MODIFY_TRIES: u32 = 10;

/// The objects of type `K`, in one namespace or in all namespaces.
///
/// `K` is a type of [`k8s_openapi`], a guest's own type that implements [`kube_core::Resource`], or
/// [`DynamicObject`](kube_core::DynamicObject) for a type that is known only at run time.
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
    /// [`Error::Denied`] if the grant opens no verb on the collection; [`Error::Invalid`] if a name is not valid.
    pub fn namespaced(namespace: &str) -> Result<Self, Error> {
        Self::namespaced_with(&K::DynamicType::default(), namespace)
    }
}

impl<K: Resource> Api<K> {
    /// Opens the objects in all namespaces, or the objects of a cluster-scoped type.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] if the grant opens no verb on the collection.
    ///
    /// ```no_run
    /// use attache_guest::api::{Api, Error};
    /// use attache_guest::k8s_openapi::api::core::v1::Node;
    ///
    /// fn nodes() -> Result<usize, Error> {
    ///     Api::<Node>::all()?.list().into_iter().try_fold(0, |count, node| node.map(|_| count + 1))
    /// }
    /// ```
    pub fn all() -> Result<Self, Error>
    where
        K::DynamicType: Default,
    {
        Self::all_with(&K::DynamicType::default())
    }

    /// Opens the objects of a dynamic type in one namespace.
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
    /// [`Error::Denied`] if the grant opens no verb on the collection; [`Error::Invalid`] if a name is not valid.
    pub fn namespaced_with(of: &K::DynamicType, namespace: &str) -> Result<Self, Error> {
        Ok(Collection::namespaced(&type_of::<K>(of), namespace)?.into())
    }

    /// Opens the objects of a dynamic type in all namespaces, or the objects of a cluster-scoped dynamic type.
    ///
    /// # Errors
    ///
    /// [`Error::Denied`] if the grant opens no verb on the collection; [`Error::Invalid`] if a name is not valid.
    pub fn all_with(of: &K::DynamicType) -> Result<Self, Error> {
        Ok(Collection::all(&type_of::<K>(of))?.into())
    }
}

impl<K> From<Collection> for Api<K> {
    /// Converts a collection, whose objects must deserialise to `K`.
    fn from(objects: Collection) -> Self {
        Self { objects, of: PhantomData }
    }
}

impl<K> Api<K> {
    /// Returns the collection, whose methods take any Rust type.
    pub fn objects(&self) -> &Collection {
        &self.objects
    }

    /// Makes every later write a dry run: the API server validates and admits the change, but stores nothing.
    #[must_use]
    pub fn dry_run(self) -> Self {
        self.objects.dry_run().into()
    }

    /// Returns a list of the objects, to be narrowed by selectors and then iterated. The first item causes the first
    /// request.
    pub fn list(&self) -> Objects<'_, K> {
        Objects { list: self.objects.list(), of: PhantomData }
    }

    /// Starts to watch the selected objects, beginning with a full replay; see [`Collection::watch`].
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
    /// The errors of [`Collection::watch`].
    pub fn watch(&self, select: &Selector) -> Result<Watch<K>, Error> {
        self.objects.watch(select)
    }

    /// Deletes one object with the default options of its type.
    ///
    /// An object with finalizers or a grace period still exists for some time after the call.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`] except [`Error::Decode`]; [`Error::NotFound`] if there is no such object.
    pub fn delete(&self, name: &str) -> Result<(), Error> {
        self.objects.delete(name)
    }

    /// Deletes one object with the given options: a [`Deletion`], or only a [`Propagation`].
    ///
    /// # Errors
    ///
    /// Every case of [`Error`] except [`Error::Decode`]; [`Error::NotFound`] if there is no such object,
    /// [`Error::Conflict`] if a precondition of the [`Deletion`] does not hold.
    pub fn delete_with(&self, name: &str, how: impl Into<Deletion>) -> Result<(), Error> {
        self.objects.delete_with(name, how)
    }

    /// Deletes all selected objects. The grant must open the verb `deletecollection`.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`] except [`Error::Decode`]. An empty selection is not an error.
    pub fn delete_collection(&self, select: &Selector) -> Result<(), Error> {
        self.objects.delete_all(select, Propagation::ServerDefault)
    }

    /// Returns the `status` subresource, where a write changes only the status of an object.
    ///
    /// # Errors
    ///
    /// The errors of [`Collection::subresource`].
    pub fn status(&self) -> Result<Self, Error> {
        self.subresource("status")
    }

    /// Returns the `scale` subresource, with the current and the desired number of replicas.
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
    /// The errors of [`Collection::subresource`].
    pub fn scale(&self) -> Result<Api<Scale>, Error> {
        self.subresource("scale")
    }

    /// Returns any other subresource, whose objects are of type `S`.
    ///
    /// # Errors
    ///
    /// The errors of [`Collection::subresource`].
    pub fn subresource<S>(&self, name: &str) -> Result<Api<S>, Error> {
        Ok(self.objects.subresource(name)?.into())
    }
}

impl<K: DeserializeOwned> Api<K> {
    /// Returns one object.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]; [`Error::NotFound`] if there is no such object.
    pub fn get(&self, name: &str) -> Result<K, Error> {
        self.objects.get(name)
    }

    /// Returns one object, or `None` if there is no such object.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`] except [`Error::NotFound`].
    pub fn get_opt(&self, name: &str) -> Result<Option<K>, Error> {
        match self.get(name) {
            Err(Error::NotFound(_)) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Changes part of an object and returns the object as stored.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`].
    pub fn patch(&self, name: &str, patch: &Patch<impl Serialize>) -> Result<K, Error> {
        self.objects.patch(name, patch)
    }
}

impl<K: Resource + Serialize + DeserializeOwned> Api<K> {
    /// Creates an object and returns it as stored.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]; [`Error::AlreadyExists`] if there is an object of this name.
    pub fn create(&self, object: &K) -> Result<K, Error> {
        self.objects.create(object)
    }

    /// Replaces the object of the same name and returns it as stored.
    ///
    /// For some types, the grant must open both `create` and `update`; see [`Collection::replace`].
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]; [`Error::Conflict`] if `object` has a `resourceVersion` that is no longer current. An
    /// object that was read has one. [`Error::Invalid`] also if `object` has no `metadata.name`.
    pub fn replace(&self, object: &K) -> Result<K, Error> {
        self.objects.replace(name_of(object)?, object)
    }

    /// Applies the fields of `object` by server-side apply, and returns the object as stored.
    ///
    /// The API server creates the object if there is none, so the grant must open both `create` and `patch`.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]; [`Error::Conflict`] if another field manager owns one of the fields. [`Error::Invalid`]
    /// also if `object` has no `metadata.name`.
    pub fn apply(&self, object: &K, manager: &FieldManager) -> Result<K, Error> {
        self.objects.apply(name_of(object)?, object, manager)
    }

    /// Reads an object, changes it and replaces it. Starts again, up to ten times in all, if another client changed the
    /// object in between.
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
    /// Every case of [`Error`]; [`Error::Conflict`] if another client changed the object in each of the ten attempts.
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
    /// Evicts a pod: deletes the pod unless a disruption budget forbids it.
    ///
    /// # Errors
    ///
    /// Every case of [`Error`]; [`Error::Refused`] with code 429 if a disruption budget forbids the eviction.
    pub fn evict(&self, name: &str) -> Result<(), Error> {
        let eviction = json!({ "metadata": { "name": name } });
        self.objects.subresource("eviction")?.create::<Value>(&eviction).map(drop)
    }
}

/// A list of typed objects before its first request; made by [`Api::list`].
///
/// ```no_run
/// use attache_guest::api::{Api, Error};
/// use attache_guest::k8s_openapi::api::core::v1::Pod;
///
/// fn pods_on(node: &str) -> Result<Vec<Pod>, Error> {
///     Api::<Pod>::all()?.list().fields(format!("spec.nodeName={node}")).page_size(100).into_iter().collect()
/// }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a list asks for nothing before it is iterated"]
pub struct Objects<'a, K> {
    list: List<'a>,
    of: PhantomData<fn() -> K>,
}

impl<'a, K> Objects<'a, K> {
    /// Sets the label selector, in the syntax of `kubectl --selector`, such as `app=web,tier in (a, b)`.
    pub fn labels(self, selector: impl Into<String>) -> Self {
        Self { list: self.list.labels(selector), ..self }
    }

    /// Sets the field selector, in the syntax of `kubectl --field-selector`, such as `status.phase=Running`.
    pub fn fields(self, selector: impl Into<String>) -> Self {
        Self { list: self.list.fields(selector), ..self }
    }

    /// Sets the number of objects in each page: 500 by default, which is also the maximum. A page may contain fewer.
    pub fn page_size(self, objects: u32) -> Self {
        Self { list: self.list.page_size(objects), ..self }
    }

    /// Returns an iterator over the pages. If a request fails, or a page does not deserialise, the error is the last
    /// item.
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

    /// Returns an iterator over the objects, which holds one page in memory at a time.
    ///
    /// An object that does not deserialise to `K` is an error in its place, and the iterator continues. If a request
    /// fails, the error is the last item.
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
