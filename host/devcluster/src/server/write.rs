//! create, update and delete: what every change of an object goes through.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::model::form;
use crate::model::fresh::suffix;
use crate::model::fresh::{new_uid, now};
use crate::model::nesting;
use crate::model::object::{self, Object};
use crate::model::resources::Type;
use crate::model::status::ApiError;
use crate::model::store::{Change, Written};
use crate::rules::defaults;
use crate::rules::managed::{self};
use crate::rules::schema::FieldValidation;
use crate::server::admission;
use crate::server::api::{Api, Call};
use crate::server::body;
use crate::server::origin::Origin;
use crate::wire::answer::Answer;
use crate::wire::show::show;

/// Tries at a generated name before the server gives up, as a real one does.
const NAME_TRIES: usize = 8;

/// The most that is kept of the stem of a generated name, which with its end has 63 letters at most
/// [`apiserver/pkg/storage/names/generate.go`].
const LONGEST_STEM: usize = 58;

/// What a client's object becomes before anything of the server is added: the form in which it is kept, with the
/// defaults of its type.
pub(crate) fn complete(of: &Type, mut value: Value) -> Result<Value, ApiError> {
    form::keep(of, &mut value);
    defaults::complete(of, &mut value);
    form::keep(of, &mut value);
    nesting::check(&value)?;
    Ok(value)
}

impl Api {
    pub(crate) fn create(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let (value, warnings) = body::object(call, FieldValidation::of(call.query.get("fieldValidation")))?;
        let object = self.create_object(&Origin::of(call), &call.of, call.namespace(), value)?;
        Ok(told(201, call, &object, warnings))
    }

    pub(crate) fn update(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let (value, warnings) = body::object(call, FieldValidation::of(call.query.get("fieldValidation")))?;
        let named = value["metadata"]["name"].as_str().unwrap_or_default();
        if named != call.at.name {
            let message =
                format!("the name of the object ({named}) does not match the name on the URL ({})", call.at.name);
            return Err(ApiError::bad_request(message));
        }
        check_namespace(call.namespace(), &value)?;
        let object = self.change_object(&Origin::of(call), &call.of, &call.key(), |_| Ok(value))?;
        Ok(told(200, call, &object, warnings))
    }

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
        let selection = crate::model::selectors::Selection::parse(
            &call.of,
            query.get("labelSelector"),
            query.get("fieldSelector"),
        )?;
        let prefix = if call.namespace().is_empty() { String::new() } else { format!("{}/", call.namespace()) };
        let part = crate::model::store::Part { prefix: &prefix, ..crate::model::store::Part::default() };
        let listing = self
            .store
            .list(&self.store.table(&call.of), &part, |object| selection.matches(object))
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

    /// Makes a new object.
    pub(crate) fn create_object(
        self: &Arc<Self>,
        origin: &Origin,
        of: &Arc<Type>,
        namespace: &str,
        mut value: Value,
    ) -> Result<Arc<Object>, ApiError> {
        check_namespace(namespace, &value)?;
        self.check_room(of, namespace, &value)?;
        let version: u64 =
            value["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        if version != 0 && !origin.keep_status {
            return Err(ApiError::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        if !value["metadata"].is_object() {
            value["metadata"] = json!({});
        }
        let generated = name_is_generated(&value);
        let mut tries = if generated { NAME_TRIES } else { 1 };
        loop {
            let mut fresh = value.clone();
            wipe(&mut fresh, origin.tracked);
            if !origin.tracked {
                fresh = complete(of, fresh)?;
                managed::track(&origin.writer, of, None, &mut fresh);
            }
            begin(of, namespace, &mut fresh, origin.keep_status);
            admission::admit_new(self, of, &mut fresh)?;
            form::keep(of, &mut fresh);
            nesting::check(&fresh)?;
            let name = fresh["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let written = self.store.write(of, &object::key(namespace, &name), |before| match before {
                Some(_) => Err(ApiError::already_exists(of, &name)),
                None if origin.dry_run => Ok(Change::Keep(Arc::new(Object::build_dry(of, &fresh)))),
                None => Ok(Change::Put(fresh)),
            });
            tries -= 1;
            match written {
                Err(error) if error.reason == "AlreadyExists" && tries > 0 => {}
                Err(error) => return Err(error),
                Ok(written) => {
                    self.follow_up(of, &written);
                    if !origin.keep_status {
                        self.collect_if_orphaned(of, &written);
                    }
                    return Ok(written.object());
                }
            }
        }
    }

    /// Changes the object at `key` to what `change` makes of it.
    pub(crate) fn change_object(
        self: &Arc<Self>,
        origin: &Origin,
        of: &Arc<Type>,
        key: &str,
        change: impl FnOnce(&Value) -> Result<Value, ApiError>,
    ) -> Result<Arc<Object>, ApiError> {
        let name = key.rsplit('/').next().unwrap_or(key);
        let written = self.store.write(of, key, |before| {
            let before = before.ok_or_else(|| ApiError::not_found(of, name))?;
            let old = crate::wire::show::tree(of, before);
            let mut new = change(&old)?;
            check_preconditions(of, name, &old, &new)?;
            if !origin.tracked {
                new = complete(of, new)?;
                managed::track(&origin.writer, of, Some(&old), &mut new);
            }
            settle(of, &origin.writer.subresource, &old, &mut new);
            admission::admit_change(self, of, &origin.writer.subresource, &old, &mut new)?;
            form::keep(of, &mut new);
            nesting::check(&new)?;
            if same(&old, &new) {
                return Ok(Change::Keep(Arc::clone(before)));
            }
            if origin.dry_run {
                return Ok(Change::Keep(Arc::new(Object::build(of, &new, before.revision))));
            }
            Ok(if is_finished(&new) { Change::Remove } else { Change::Put(new) })
        })?;
        self.follow_up(of, &written);
        self.collect_if_orphaned(of, &written);
        Ok(written.object())
    }

    /// What else a cluster does when an object has changed.
    pub(crate) fn follow_up(self: &Arc<Self>, of: &Arc<Type>, written: &Written) {
        match (of.group.as_str(), of.kind.as_str(), written) {
            ("", "Namespace", Written::Created(object)) => self.furnish(&object.name),
            (
                "apiextensions.k8s.io",
                "CustomResourceDefinition",
                Written::Created(object) | Written::Updated(object),
            ) => {
                self.catalogue.define(&object.value());
            }
            ("apiextensions.k8s.io", "CustomResourceDefinition", Written::Removed(object)) => {
                self.forget_type(&object.name);
            }
            _ => {}
        }
        if let Written::Removed(object) = written {
            self.collect_garbage(object);
        }
    }

    /// The namespace that an object is to be made in has to be there, and to stay.
    fn check_room(&self, of: &Type, namespace: &str, value: &Value) -> Result<(), ApiError> {
        if !of.namespaced {
            return Ok(());
        }
        let Some(namespaces) = self.catalogue.find("", "v1", "namespaces") else { return Ok(()) };
        let found = self.store.table(&namespaces).get(namespace);
        let found = found.ok_or_else(|| ApiError::not_found(&namespaces, namespace))?;
        if !found.deleting {
            return Ok(());
        }
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let message = format!("{} {name:?} is forbidden: {why}", of.qualified());
        let mut details = of.details(name);
        details["causes"] = json!([{
            "reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
        Err(ApiError::new(403, "Forbidden", message).with_details(details))
    }
}

/// The answer to a write, with what there is to remark about it.
pub(crate) fn told(status: u16, call: &Call<'_>, object: &Object, mut warnings: Vec<String>) -> Answer {
    warnings.extend(admission::remarks(&call.of, &object.value()));
    body::with_warnings(show(status, call.accept, &call.of, object), &warnings)
}

/// The `Status` of a deletion that is done.
fn deleted_status(of: &Type, object: &Object) -> String {
    let mut details = of.details(&object.name);
    details["uid"] = (&*object.uid).into();
    let details = crate::model::status::written_details(&details);
    format!(r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Success","details":{details}}}"#) + "\n"
}

fn without_type(mut value: Value) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    value
}

/// A body may leave its namespace to the path, but not contradict it.
pub(crate) fn check_namespace(namespace: &str, value: &Value) -> Result<(), ApiError> {
    let given = value["metadata"]["namespace"].as_str().unwrap_or_default();
    if given.is_empty() || given == namespace {
        return Ok(());
    }
    let message = "the namespace of the provided object does not match the namespace sent on the request";
    Err(ApiError::bad_request(message))
}

fn name_is_generated(value: &Value) -> bool {
    let text = |name: &str| value["metadata"][name].as_str().unwrap_or_default();
    text("name").is_empty() && !text("generateName").is_empty()
}

/// Takes out of a new object's metadata what a client cannot say.
fn wipe(value: &mut Value, tracked: bool) {
    let Some(metadata) = value["metadata"].as_object_mut() else { return };
    let own = [
        "uid",
        "creationTimestamp",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "generation",
    ];
    for own in own {
        metadata.remove(own);
    }
    if !tracked {
        metadata.remove("managedFields");
    }
}

/// The server's own part of a new object's metadata.
fn begin(of: &Type, namespace: &str, value: &mut Value, keep_status: bool) {
    if name_is_generated(value) {
        let stem = value["metadata"]["generateName"].as_str().unwrap_or_default();
        let stem = stem.get(..LONGEST_STEM).unwrap_or(stem);
        value["metadata"]["name"] = format!("{stem}{}", suffix()).into();
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.insert("uid".into(), new_uid().into());
        metadata.insert("creationTimestamp".into(), now().into());
        if namespace.is_empty() {
            metadata.remove("namespace");
        } else {
            metadata.insert("namespace".into(), namespace.into());
        }
        if has_generation(of) {
            metadata.insert("generation".into(), 1.into());
        }
    }
    value["kind"] = of.kind.as_str().into();
    value["apiVersion"] = of.api_version().into();
    if of.has_status()
        && !keep_status
        && let Some(map) = value.as_object_mut()
    {
        map.remove("status");
    }
}

/// What a Go struct leaves out when it is empty.
fn drop_empty(metadata: &mut Map<String, Value>) {
    metadata.retain(|_, value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    });
}

/// Types whose desired state is numbered.
fn has_generation(of: &Type) -> bool {
    match (of.group.as_str(), of.kind.as_str()) {
        ("", kind) => matches!(kind, "Pod" | "ReplicationController"),
        ("apps", kind) => kind != "ControllerRevision",
        ("rbac.authorization.k8s.io" | "coordination.k8s.io" | "events.k8s.io" | "autoscaling", _) => false,
        ("storage.k8s.io" | "node.k8s.io", _) => false,
        _ => true,
    }
}

/// Optimistic concurrency: who names a version or an identity means that one.
fn check_preconditions(of: &Type, name: &str, old: &Value, new: &Value) -> Result<(), ApiError> {
    let text = |value: &Value, field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
    let (wanted, found) = (text(new, "uid"), text(old, "uid"));
    if !wanted.is_empty() && wanted != found {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        return Err(ApiError::conflict(of, name, &why));
    }
    let wanted = text(new, "resourceVersion");
    if wanted.parse::<u64>().is_err() && !wanted.is_empty() {
        return Err(ApiError::new(500, "", format!("strconv.ParseUint: parsing {wanted:?}: invalid syntax")));
    }
    if !wanted.is_empty() && wanted != text(old, "resourceVersion") {
        return Err(ApiError::modified(of, name));
    }
    Ok(())
}

/// Takes from the old object what the client cannot write: the server's metadata, and either status or all else.
fn settle(of: &Type, subresource: &str, old: &Value, new: &mut Value) {
    if of.custom.is_some() && subresource == "status" {
        let (status, managers) = (new.get("status").cloned(), new["metadata"].get("managedFields").cloned());
        *new = old.clone();
        set_or_remove(new, "status", status);
        set_or_remove(&mut new["metadata"], "managedFields", managers);
    } else {
        managed::reset_paths(of, subresource).iter().for_each(|path| restore(path, old, new));
    }
    new["kind"] = old["kind"].clone();
    new["apiVersion"] = old["apiVersion"].clone();
    if !new["metadata"].is_object() {
        new["metadata"] = json!({});
    }
    let numbered = has_generation(of) && !same_intent(of, old, new);
    let Some(metadata) = new["metadata"].as_object_mut() else { return };
    drop_empty(metadata);
    for own in [
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "generateName",
    ] {
        match old["metadata"].get(own) {
            Some(value) => metadata.insert(own.to_owned(), value.clone()),
            None => metadata.remove(own),
        };
    }
    if numbered {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0).saturating_add(1);
        metadata.insert("generation".into(), generation.into());
    }
}

/// Puts the field at `path` back to what it was. Who wrote what is no part of it.
fn restore(path: &[&str], old: &Value, new: &mut Value) {
    let managers = new["metadata"].get("managedFields").cloned();
    let Some((field, parents)) = path.split_last() else { return };
    let mut from = Some(old);
    let mut at = &mut *new;
    for parent in parents {
        from = from.and_then(|value| value.get(parent));
        if !at[*parent].is_object() {
            at[*parent] = json!({});
        }
        at = &mut at[*parent];
    }
    set_or_remove(at, field, from.and_then(|value| value.get(*field)).cloned());
    set_or_remove(&mut new["metadata"], "managedFields", managers);
}

fn set_or_remove(value: &mut Value, field: &str, told: Option<Value>) {
    let Some(map) = value.as_object_mut() else { return };
    match told {
        Some(told) => map.insert(field.to_owned(), told),
        None => map.remove(field),
    };
}

/// Returns whether the desired state is the same: all but the metadata and, where it has its own path, the status.
fn same_intent(of: &Type, old: &Value, new: &Value) -> bool {
    let intent = |value: &Value| -> Map<String, Value> {
        let fields = value.as_object().into_iter().flatten();
        let counts = |name: &str| name != "metadata" && !(name == "status" && of.has_status());
        fields.filter(|(name, _)| counts(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    intent(old) == intent(new)
}

/// Returns whether nothing changed but the times at which managers last wrote.
fn same(old: &Value, new: &Value) -> bool {
    let bare = |value: &Value| {
        let mut value = value.clone();
        let managers = value["metadata"]["managedFields"].as_array_mut().into_iter().flatten();
        managers.for_each(|manager| manager["time"] = Value::Null);
        value
    };
    bare(old) == bare(new)
}

/// Returns whether a deleted object waits for nothing any more.
fn is_finished(value: &Value) -> bool {
    let metadata = &value["metadata"];
    let waits = metadata["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    metadata["deletionTimestamp"].is_string() && !waits && grace == 0
}
