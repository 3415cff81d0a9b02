//! The server's part of an object: the metadata and fields that a client cannot write.

use serde_json::{Map, Value, json};

use crate::model::fresh::{new_uid, now, suffix};
use crate::model::resources::Type;
use crate::model::status::ApiError;
use crate::rules::managed;

/// The longest stem of a generated name, in bytes; with its suffix the name has at most 63
/// [`apiserver/pkg/storage/names/generate.go`].
const LONGEST_STEM: usize = 58;

pub(super) fn name_is_generated(value: &Value) -> bool {
    let text = |name: &str| value["metadata"][name].as_str().unwrap_or_default();
    text("name").is_empty() && !text("generateName").is_empty()
}

/// Removes the metadata that a client cannot set from a new object.
pub(super) fn clear(value: &mut Value, tracked: bool) {
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

/// Sets the server's part of a new object's metadata.
pub(super) fn set_new(of: &Type, namespace: &str, value: &mut Value, keep_status: bool) {
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

/// Removes empty metadata, as a Go struct with `omitempty` does.
fn drop_empty(metadata: &mut Map<String, Value>) {
    metadata.retain(|_, value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::String(text) => !text.is_empty(),
        _ => true,
    });
}

/// Returns whether the type's desired state is numbered.
fn has_generation(of: &Type) -> bool {
    match (of.group.as_str(), of.kind.as_str()) {
        ("", kind) => matches!(kind, "Pod" | "ReplicationController"),
        ("apps", kind) => kind != "ControllerRevision",
        ("rbac.authorization.k8s.io" | "coordination.k8s.io" | "events.k8s.io" | "autoscaling", _) => false,
        ("storage.k8s.io" | "node.k8s.io", _) => false,
        _ => true,
    }
}

/// Checks optimistic concurrency: a version or an identity in the new object has to be that of the old one.
pub(super) fn check_preconditions(of: &Type, name: &str, old: &Value, new: &Value) -> Result<(), ApiError> {
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

/// Copies the fields that the client cannot write from the old object: the server's metadata, and either the status or
/// all else.
pub(super) fn keep_unwritable(of: &Type, subresource: &str, old: &Value, new: &mut Value) {
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
    let numbered = has_generation(of) && !is_same_intent(of, old, new);
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

/// Restores the field at `path`. Managed fields are left alone.
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

fn set_or_remove(value: &mut Value, field: &str, given: Option<Value>) {
    let Some(map) = value.as_object_mut() else { return };
    match given {
        Some(given) => map.insert(field.to_owned(), given),
        None => map.remove(field),
    };
}

/// Returns whether the desired state is unchanged: all but the metadata and, where it has its own path, the status.
fn is_same_intent(of: &Type, old: &Value, new: &Value) -> bool {
    let intent = |value: &Value| -> Map<String, Value> {
        let fields = value.as_object().into_iter().flatten();
        let counts = |name: &str| name != "metadata" && !(name == "status" && of.has_status());
        fields.filter(|(name, _)| counts(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    intent(old) == intent(new)
}

/// Returns whether nothing changed but the times of managers' last writes.
pub(super) fn is_unchanged(old: &Value, new: &Value) -> bool {
    let bare = |value: &Value| {
        let mut value = value.clone();
        let managers = value["metadata"]["managedFields"].as_array_mut().into_iter().flatten();
        managers.for_each(|manager| manager["time"] = Value::Null);
        value
    };
    bare(old) == bare(new)
}

/// Returns whether a deleted object has nothing left to wait for.
pub(super) fn is_finished(value: &Value) -> bool {
    let metadata = &value["metadata"];
    let waits = metadata["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    let grace = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    metadata["deletionTimestamp"].is_string() && !waits && grace == 0
}
