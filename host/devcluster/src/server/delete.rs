//! Deletion: grace periods, finalizers, and dependents.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::model::collection::Part;
use crate::model::fresh::later;
use crate::model::object::{self, Object};
use crate::model::resources::Type;
use crate::model::selectors::Selection;
use crate::model::status::{self, ApiError};
use crate::model::store::{Change, Written};
use crate::server::api::{Api, Call};
use crate::server::body::{self, DeleteOptions};
use crate::wire::answer::Answer;
use crate::wire::show::{self, show};

/// The finalizer by which an object waits for the objects that it owns.
const FOREGROUND: &str = "foregroundDeletion";

impl Api {
    pub(crate) fn delete(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let options = body::delete_options(call)?;
        let written = self.delete_object(&call.of, &call.key(), &options)?;
        let shows_object = matches!(
            call.of.kind.as_str(),
            "Pod"
                | "Service"
                | "ServiceAccount"
                | "PersistentVolume"
                | "PersistentVolumeClaim"
                | "PodTemplate"
                | "ResourceQuota"
        ) && call.of.group.is_empty();
        match written {
            Written::Removed(object) | Written::Kept(object)
                if !shows_object && call.of.kind != "Namespace" && !object.deleting =>
            {
                Ok(Answer::json(200, deleted_status(&call.of, &object)))
            }
            written => Ok(show(200, call.accept, &call.of, &written.object())),
        }
    }

    pub(crate) fn delete_collection(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let options = body::delete_options(call)?;
        let query = call.query;
        let selection = Selection::parse(&call.of, query.get("labelSelector"), query.get("fieldSelector"))?;
        let prefix = if call.namespace().is_empty() { String::new() } else { format!("{}/", call.namespace()) };
        let part = Part { prefix: &prefix, ..Part::default() };
        let listing = self
            .store
            .list(&self.store.collection(&call.of), &part, |object| selection.matches(object))
            .map_err(|_| ApiError::expired("The resourceVersion for the provided list is too old."))?;
        for object in &listing.items {
            let key = object::key(&object.namespace, &object.name);
            match self.delete_object(&call.of, &key, &options) {
                Err(error) if error.code != 404 => return Err(error),
                _ => {}
            }
        }
        let items: Vec<Value> = listing.items.iter().map(|item| without_type(item.value())).collect();
        let metadata = json!({"resourceVersion": self.store.revision().to_string()});
        let list = json!({"kind": call.of.list_kind, "apiVersion": call.of.api_version(), "metadata": metadata, "items": items});
        Ok(Answer::tree(200, call.accept, &list))
    }

    /// Deletes an object, or marks it if finalizers or its grace period hold it.
    pub(crate) fn delete_object(
        self: &Arc<Self>,
        of: &Arc<Type>,
        key: &str,
        options: &DeleteOptions,
    ) -> Result<Written, ApiError> {
        let name = key.rsplit('/').next().unwrap_or(key);
        let is_namespace = of.group.is_empty() && of.kind == "Namespace";
        if is_namespace && crate::access::bootstrap::NAMESPACES.contains(&name) && name != "kube-node-lease" {
            let message = format!("namespaces {name:?} is forbidden: this namespace may not be deleted");
            return Err(ApiError::new(403, "Forbidden", message).with_details(of.details(name)));
        }
        if options.propagation == "Foreground" && !options.dry_run {
            self.release(of, key, false);
        } else if options.propagation == "Orphan" && !options.dry_run {
            self.release(of, key, true);
        }
        let written = self.store.write(of, key, |before| {
            let before = before.ok_or_else(|| ApiError::not_found(of, name))?;
            check(of, name, before, options)?;
            if options.dry_run {
                return Ok(Change::Keep(Arc::clone(before)));
            }
            let value = show::tree(of, before);
            let grace = if is_namespace { 0 } else { grace(of, &value, options) };
            let held = value["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
            if !held && grace == 0 && !is_namespace {
                return Ok(Change::Remove);
            }
            let shortened = value["metadata"]["deletionGracePeriodSeconds"].as_i64().is_some_and(|old| grace < old);
            if before.deleting && !shortened {
                return Ok(Change::Keep(Arc::clone(before)));
            }
            Ok(Change::Put(marked(value, grace, is_namespace)))
        })?;
        self.follow_up(of, &written);
        if let Written::Updated(object) = &written {
            if is_namespace {
                self.empty_namespace(&object.name);
                return self.store.write(of, key, |_| Ok(Change::Remove)).map(|_| written);
            }
            self.stop_later(of, key, object);
        }
        Ok(written)
    }

    /// Removes a deleted pod after its time to stop, in place of the kubelet.
    fn stop_later(self: &Arc<Self>, of: &Arc<Type>, key: &str, object: &Arc<Object>) {
        if of.kind != "Pod" || !of.group.is_empty() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return self.stopped(of, key, &object.uid) };
        let grace = object.value()["metadata"]["deletionGracePeriodSeconds"].as_u64().unwrap_or(0);
        let wait = self.behaviour.pod_stop.min(Duration::from_secs(grace));
        let (api, of, key, uid) = (Arc::clone(self), Arc::clone(of), key.to_owned(), object.uid.to_string());
        runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            api.stopped(&of, &key, &uid);
        });
    }

    fn stopped(self: &Arc<Self>, of: &Arc<Type>, key: &str, uid: &str) {
        let options = DeleteOptions { grace_seconds: Some(0), uid: Some(uid.to_owned()), ..DeleteOptions::default() };
        if let Err(error) = self.delete_object(of, key, &options) {
            tracing::debug!(key, message = error.message, "a stopped pod was gone already");
        }
    }

    /// Deletes all objects in a namespace.
    fn empty_namespace(self: &Arc<Self>, namespace: &str) {
        let prefix = format!("{namespace}/");
        let options = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
        for of in self.catalogue.all().iter().filter(|of| of.namespaced && of.stored()) {
            let part = Part { prefix: &prefix, ..Part::default() };
            let Ok(listing) = self.store.list(&self.store.collection(of), &part, |_| true) else { continue };
            for object in listing.items {
                _ = self.delete_object(of, &object::key(namespace, &object.name), &options);
            }
        }
    }

    /// Deletes the objects of a deleted owner, unless they have another owner.
    pub(crate) fn collect_garbage(self: &Arc<Self>, owner: &Object) {
        for (of, key) in self.owned_by(&owner.uid) {
            let orphaned = self.disown(&of, &key, &owner.uid);
            if orphaned {
                _ = self.delete_object(&of, &key, &DeleteOptions::default());
            }
        }
    }

    /// Deletes an object if all of its owners are missing, even if they never existed. An owner of a type that is not
    /// served counts as existing.
    pub(crate) fn collect_if_orphaned(self: &Arc<Self>, of: &Arc<Type>, written: &Written) {
        let (Written::Created(object) | Written::Updated(object)) = written else { return };
        if object.owners.is_empty() || object.deleting {
            return;
        }
        let value = object.value();
        let owners = value["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
        if owners.iter().all(|owner| self.is_gone(&object.namespace, owner)) {
            _ = self.delete_object(of, &object::key(&object.namespace, &object.name), &DeleteOptions::default());
        }
    }

    /// Returns whether an owner is known to be missing.
    fn is_gone(&self, namespace: &str, owner: &Value) -> bool {
        let text = |name: &str| owner[name].as_str().unwrap_or_default();
        let Some(of) = self.catalogue.of_kind(text("apiVersion"), text("kind")).filter(|of| of.stored()) else {
            return false;
        };
        let key = if of.namespaced { object::key(namespace, text("name")) } else { text("name").to_owned() };
        self.store.collection(&of).get(&key).is_none_or(|found| *found.uid != *text("uid"))
    }

    /// Orphans the dependents of an object that is about to go, or deletes them first.
    fn release(self: &Arc<Self>, of: &Arc<Type>, key: &str, orphan: bool) {
        let Some(owner) = self.store.collection(of).get(key) else { return };
        for (of, key) in self.owned_by(&owner.uid) {
            let alone = self.disown(&of, &key, &owner.uid);
            if alone && !orphan {
                let options = DeleteOptions { propagation: "Foreground".to_owned(), ..DeleteOptions::default() };
                _ = self.delete_object(&of, &key, &options);
            }
        }
    }

    /// Removes `uid` from the owners of an object. Returns whether none is left.
    fn disown(self: &Arc<Self>, of: &Arc<Type>, key: &str, uid: &str) -> bool {
        let mut alone = false;
        let written = self.store.write(of, key, |before| {
            let before = before.ok_or_else(|| ApiError::not_found(of, key))?;
            let mut value = show::tree(of, before);
            let owners = value["metadata"]["ownerReferences"].as_array_mut();
            owners.into_iter().for_each(|owners| owners.retain(|owner| owner["uid"] != uid));
            alone = value["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty);
            if alone && let Some(metadata) = value["metadata"].as_object_mut() {
                metadata.remove("ownerReferences");
            }
            Ok(Change::Put(value))
        });
        written.is_ok() && alone
    }

    fn owned_by(&self, uid: &str) -> Vec<(Arc<Type>, String)> {
        let types = self.catalogue.all();
        let stored = types.iter().filter(|of| of.stored());
        stored
            .flat_map(|of| self.store.collection(of).owned_by(uid).into_iter().map(|key| (Arc::clone(of), key)))
            .collect()
    }

    /// Stops serving the types of a deleted definition, and drops their objects.
    pub(crate) fn forget_type(self: &Arc<Self>, definition: &str) {
        for of in self.catalogue.forget(definition) {
            let Ok(listing) = self.store.list(&self.store.collection(&of), &Part::default(), |_| true) else {
                continue;
            };
            for object in listing.items {
                let key = object::key(&object.namespace, &object.name);
                _ = self.store.write(&of, &key, |before| {
                    before.map(|_| Change::Remove).ok_or_else(|| ApiError::not_found(&of, &object.name))
                });
            }
        }
    }
}

fn check(of: &Type, name: &str, object: &Object, options: &DeleteOptions) -> Result<(), ApiError> {
    let conflict = |why: String| {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", of.kind);
        Err(ApiError::new(409, "Conflict", message).with_details(json!({"name": name, "kind": of.kind})))
    };
    if let Some(uid) = options.uid.as_deref().filter(|uid| **uid != *object.uid) {
        return conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            object.uid
        ));
    }
    let found = object.revision.to_string();
    if let Some(wanted) = options.resource_version.as_deref().filter(|wanted| *wanted != found) {
        return conflict(format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
             ({found}). The object might have been modified"
        ));
    }
    Ok(())
}

/// Returns the grace period. Only a pod that is on a node gets time to stop.
fn grace(of: &Type, value: &Value, options: &DeleteOptions) -> i64 {
    let runs = of.group.is_empty()
        && of.kind == "Pod"
        && value.pointer("/spec/nodeName").and_then(Value::as_str).is_some_and(|node| !node.is_empty())
        && !matches!(value.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
    let default = value.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(30);
    if runs { options.grace_seconds.unwrap_or(default).max(0) } else { 0 }
}

fn marked(mut value: Value, grace: i64, is_namespace: bool) -> Value {
    value["metadata"]["deletionTimestamp"] = later(grace).into();
    if is_namespace {
        value["status"] = json!({"phase": "Terminating"});
    } else {
        value["metadata"]["deletionGracePeriodSeconds"] = grace.into();
        if let Some(generation) = value["metadata"]["generation"].as_i64() {
            value["metadata"]["generation"] = generation.saturating_add(1).into();
        }
    }
    if let Some(list) = value["metadata"]["finalizers"].as_array_mut() {
        list.retain(|one| one != FOREGROUND);
    }
    value
}

/// Returns the `Status` of a completed deletion.
fn deleted_status(of: &Type, object: &Object) -> String {
    let mut details = of.details(&object.name);
    details["uid"] = (&*object.uid).into();
    let details = status::written_details(&details);
    format!(r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Success","details":{details}}}"#) + "\n"
}

fn without_type(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    value
}
