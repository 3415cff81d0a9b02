//! The parts that all controllers share: a pod from a template, a reference to its owner, a hash of the template
//! [`pkg/controller/controller_utils.go`].

use serde_json::{Value, json};

/// The characters of a hash: those of generated names.
const HASH_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

pub(super) fn name(owner: &Value) -> &str {
    owner["metadata"]["name"].as_str().unwrap_or_default()
}

/// Returns a controller reference to the owner, which blocks the owner's deletion until the child is gone.
pub(super) fn reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name(owner), "uid": owner["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Returns the pod of a template; the server generates its name from `stem`.
pub(super) fn pod(owner: &Value, template: &Value, stem: &str) -> Value {
    let mut metadata = json!({
        "generateName": stem, "namespace": owner["metadata"]["namespace"], "ownerReferences": [reference(owner)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(given) = template["metadata"].get(field).filter(|given| !given.is_null()) {
            metadata[field] = given.clone();
        }
    }
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]});
    map(&mut pod, "spec");
    pod
}

/// Returns a field of a map. A value that is no map becomes one, because indexing into anything else would panic.
pub(super) fn field<'a>(object: &'a mut Value, name: &str) -> &'a mut Value {
    if !object.is_object() {
        *object = json!({});
    }
    &mut object[name]
}

/// Returns the map in a field, and makes it if there is none.
pub(super) fn map<'a>(object: &'a mut Value, name: &str) -> &'a mut Value {
    let map = field(object, name);
    if !map.is_object() {
        *map = json!({});
    }
    map
}

/// Returns the name that the server gives to the first pod of an owner.
pub(super) fn stem(owner: &Value) -> String {
    format!("{}-", name(owner))
}

/// Sets `metadata.labels` or `metadata.annotations` of an object or a template.
pub(super) fn set(object: &mut Value, field: &str, key: &str, value: &str) {
    map(map(object, "metadata"), field)[key] = value.into();
}

/// Returns a short hash of a template: FNV-1a, in the characters of generated names.
pub(super) fn hash(template: &Value) -> String {
    const START: u32 = 0x811c_9dc5;
    const PRIME: u32 = 0x0100_0193;
    let text = template.to_string();
    let hash = text.bytes().fold(START, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(PRIME));
    let letter = |digit: u8| HASH_LETTERS.get(usize::from(digit) % HASH_LETTERS.len()).copied().unwrap_or(b'x');
    hash.to_string().bytes().map(|digit| char::from(letter(digit))).collect()
}
