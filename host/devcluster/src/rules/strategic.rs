//! Strategic merge: a merge patch with a key for each merged list.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::model::resources::Type;
use crate::model::status::ApiError;
use crate::model::types::TypeRef;

/// The deepest nesting of a patch. No built-in type is deeper, but a custom schema's definition may be.
const DEEPEST: usize = 100;

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ORDER: &str = "$setElementOrder/";

/// Applies `patch` to `old`.
///
/// # Errors
/// 400 for an unknown directive, or for a list item without its key.
pub(crate) fn merge(of: &Type, old: &Value, patch: &Value) -> Result<Value, ApiError> {
    value(TypeRef::of(of), Some(old), patch, DEEPEST)
}

fn value(type_ref: TypeRef<'_>, old: Option<&Value>, patch: &Value, depth: usize) -> Result<Value, ApiError> {
    let Some(depth) = depth.checked_sub(1) else { return Err(ApiError::bad_request("the patch nests too deeply")) };
    match patch {
        Value::Object(map) => object(type_ref, old.and_then(Value::as_object), map, depth),
        Value::Array(items) => list(type_ref, old.and_then(Value::as_array).map(Vec::as_slice), items, depth),
        other => Ok(other.clone()),
    }
}

fn object(
    type_ref: TypeRef<'_>,
    old: Option<&Map<String, Value>>,
    patch: &Map<String, Value>,
    depth: usize,
) -> Result<Value, ApiError> {
    let mut new = match patch.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
        Some("replace" | "delete") => Map::new(),
        None | Some("merge") => old.cloned().unwrap_or_default(),
        Some(other) => return Err(ApiError::bad_request(format!("unknown patch type found: {other}"))),
    };
    if let Some(kept) = patch.get(RETAIN).and_then(Value::as_array) {
        new.retain(|name, _| kept.iter().any(|keep| keep == name));
    }
    for (name, told) in patch {
        if let Some(field) = name.strip_prefix(DELETE_FROM) {
            if let (Some(list), Some(gone)) = (new.get_mut(field).and_then(Value::as_array_mut), told.as_array()) {
                list.retain(|item| !gone.contains(item));
            }
        } else if name.starts_with('$') {
            // Directives about this object; orders of elements are applied below, when the elements are there.
        } else if told.is_null() {
            new.remove(name);
        } else {
            let merged = value(type_ref.field(name), new.get(name), told, depth)?;
            new.insert(name.clone(), merged);
        }
    }
    for (name, order) in patch.iter().filter_map(|(name, order)| Some((name.strip_prefix(ORDER)?, order))) {
        let key = type_ref.field(name).patch_key();
        if let (Some(given), Some(order), Some(key)) =
            (patch.get(name).and_then(Value::as_array), order.as_array(), key)
        {
            check_order(given, order, key)?;
        }
        if let (Some(list), Some(order), Some(key)) =
            (new.get_mut(name).and_then(Value::as_array_mut), order.as_array(), key)
        {
            let live = old.and_then(|old| old.get(name)).and_then(Value::as_array);
            *list = in_order(std::mem::take(list), order, live.map(Vec::as_slice).unwrap_or_default(), key);
        }
    }
    Ok(Value::Object(new))
}

fn list(type_ref: TypeRef<'_>, old: Option<&[Value]>, patch: &[Value], depth: usize) -> Result<Value, ApiError> {
    let Some(key) = type_ref.patch_key() else { return Ok(patch.to_vec().into()) };
    let live = old.unwrap_or_default();
    let mut new: Vec<Value> = live.to_vec();
    if key.is_empty() {
        for item in patch {
            if !new.contains(item) {
                new.push(item.clone());
            }
        }
        return Ok(in_order(new, patch, live, key).into());
    }
    if patch.iter().any(|item| item[DIRECTIVE] == "replace") {
        let given = patch.iter().filter(|item| item.get(DIRECTIVE).is_none());
        return Ok(given.cloned().collect());
    }
    for item in patch {
        let Some(wanted) = item.get(key) else {
            let message = format!("map: {item} does not contain declared merge key: {key}");
            return Err(ApiError::bad_request(message));
        };
        let at = new.iter().position(|one| one.get(key) == Some(wanted));
        if item[DIRECTIVE] == "delete" {
            new.retain(|one| one.get(key) != Some(wanted));
            continue;
        }
        let merged = value(type_ref.item(), at.and_then(|at| new.get(at)), item, depth)?;
        match at.and_then(|at| new.get_mut(at)) {
            Some(found) => *found = merged,
            None => new.push(merged),
        }
    }
    Ok(in_order(new, patch, live, key).into())
}

/// Fails unless the items of a patch are in the order that the patch gives.
fn check_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), ApiError> {
    let name = |item: &Value| if key.is_empty() { item.clone() } else { item[key].clone() };
    let mut places = order.iter().map(name);
    let given = patch.iter().filter(|item| item.get(DIRECTIVE).is_none());
    if order.is_empty() || given.map(name).all(|item| places.any(|place| place == item)) {
        return Ok(());
    }
    Err(ApiError::new(500, "", "The order in patch list doesn't match $setElementOrder list"))
}

/// Sorts the items that `order` names into its order. Each other item stays in front of the first ordered item that
/// followed it in the live list [`strategicpatch/patch.go`, `normalizeElementOrder`].
fn in_order(list: Vec<Value>, order: &[Value], live: &[Value], key: &str) -> Vec<Value> {
    let name = |item: &Value| if key.is_empty() { item.to_string() } else { item[key].to_string() };
    let places = |list: &[Value]| -> HashMap<String, usize> {
        list.iter().enumerate().rev().map(|(at, item)| (name(item), at)).collect()
    };
    let (wanted, lived) = (places(order), places(live));
    let (mut ordered, others): (Vec<Value>, Vec<Value>) =
        list.into_iter().partition(|item| wanted.contains_key(&name(item)));
    ordered.sort_by_cached_key(|item| wanted.get(&name(item)).copied());
    let mut others = others.into_iter().peekable();
    let mut all = Vec::new();
    for item in ordered {
        let limit = lived.get(&name(&item));
        let before = |other: &Value| limit.is_some_and(|limit| lived.get(&name(other)).is_some_and(|at| at < limit));
        while let Some(other) = others.next_if(before) {
            all.push(other);
        }
        all.push(item);
    }
    all.extend(others);
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::model::resources::built_in;

    fn patched(old: &Value, patch: &Value) -> Value {
        let pod = built_in().into_iter().find(|of| of.kind == "Pod").unwrap();
        merge(&pod, old, patch).unwrap()
    }

    #[test]
    fn lists_are_merged_by_the_keys_of_their_types() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b"}], "tolerations": [{"key": "x"}]}});
        let patch =
            json!({"spec": {"containers": [{"name": "a", "tty": true}, {"name": "c"}], "tolerations": [{"key": "y"}]}});
        let expected = json!({"spec": {
            "containers": [{"name": "a", "image": "1", "tty": true}, {"name": "c"}, {"name": "b"}],
            "tolerations": [{"key": "y"}],
        }});
        assert_eq!(patched(&old, &patch), expected);
    }

    #[test]
    fn directives_delete_replace_and_order() {
        let old =
            json!({"metadata": {"finalizers": ["x", "y"]}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let patch = json!({
            "metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]},
            "spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
                     "containers": [{"name": "b", "$patch": "delete"}, {"name": "c"}]},
        });
        let expected =
            json!({"metadata": {"finalizers": ["z", "y"]}, "spec": {"containers": [{"name": "c"}, {"name": "a"}]}});
        assert_eq!(patched(&old, &patch), expected);
        let live = json!({"spec": {"containers": [{"name": "mesh"}, {"name": "a"}, {"name": "b"}, {"name": "late"}]}});
        let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a"}]}});
        let names = patched(&live, &patch)["spec"]["containers"].clone();
        assert_eq!(names, json!([{"name": "mesh"}, {"name": "b"}, {"name": "a"}, {"name": "late"}]));
        let kept = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
        let patch = json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}});
        let volume = patched(&kept, &patch)["spec"]["volumes"][0].clone();
        assert_eq!(volume, json!({"name": "v", "configMap": {"name": "c"}}));
        let replaced = patched(&old, &json!({"spec": {"$patch": "replace", "nodeName": "n"}}));
        assert_eq!(replaced["spec"], json!({"nodeName": "n"}));
    }
}
