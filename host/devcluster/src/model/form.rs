//! The stored form of an object, independent of the form in which a client sent it.
//!
//! A real server decodes an object of a built-in type into a struct and encodes the struct. Fields without content are
//! left out, be it null, an empty map or a zero, unless the struct always writes the field. An object of a custom type
//! is stored as it was sent, except for its metadata.

use serde_json::{Map, Value, json};

use crate::model::resources::Type;
use crate::model::types::{self, Field, Presence, Shape, Struct};

/// Converts an object into its stored form.
pub(crate) fn keep(of: &Type, value: &mut Value) {
    if of.custom.is_none() {
        return keep_as(&of.api_version(), &of.kind, value);
    }
    let metadata = value.get_mut("metadata").and_then(Value::as_object_mut);
    if let (Some(known), Some(metadata)) = (types::named("ObjectMeta"), metadata) {
        structure(known, metadata);
    }
}

/// Converts an object of a built-in kind into its stored form.
pub(crate) fn keep_as(api_version: &str, kind: &str, value: &mut Value) {
    if let (Some((_, known)), Some(map)) = (types::of_kind(api_version, kind), value.as_object_mut()) {
        structure(known, map);
    }
}

/// Returns an empty object of the type.
pub(crate) fn nothing(of: &Type) -> Value {
    let mut value = json!({});
    if of.custom.is_none() {
        keep(of, &mut value);
    }
    value
}

fn structure(known: &'static Struct, map: &mut Map<String, Value>) {
    for field in &known.fields {
        if let Some(value) = map.get_mut(field.name) {
            if holds_nothing(field, value) {
                map.remove(field.name);
            } else {
                kept(&field.shape, value);
                continue;
            }
        }
        if field.presence == Presence::Always {
            map.insert(field.name.to_owned(), zero(&field.shape));
        }
    }
}

/// Returns whether the value counts as missing.
fn holds_nothing(field: &Field, value: &Value) -> bool {
    match field.presence {
        Presence::Set => value.is_null(),
        Presence::Always => value.is_null() || is_zero(value) && !matches!(field.shape, Shape::Struct(_)),
        Presence::Filled => is_zero(value),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn kept(shape: &'static Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Struct(name), Value::Object(map)) => {
            if let Some(known) = types::named(name) {
                structure(known, map);
            }
        }
        (Shape::List { item, .. }, Value::Array(list)) => list.iter_mut().for_each(|value| each(item, value)),
        (Shape::Map { item, .. }, Value::Object(map)) => map.values_mut().for_each(|value| each(item, value)),
        _ => {}
    }
}

/// Converts an item of a list or a map, which stays even if it is empty.
fn each(shape: &'static Shape, value: &mut Value) {
    if value.is_null() {
        *value = zero(shape);
    }
    kept(shape, value);
}

/// Returns the value of an unset field.
fn zero(shape: &'static Shape) -> Value {
    match shape {
        Shape::Struct(name) => {
            let mut map = Map::new();
            if let Some(known) = types::named(name) {
                structure(known, &mut map);
            }
            Value::Object(map)
        }
        Shape::Scalar('s') => "".into(),
        Shape::Scalar('i' | 'l' | 'f' | 'x') => 0.into(),
        Shape::Scalar('b') => false.into(),
        Shape::Scalar('q') => "0".into(),
        Shape::Scalar(_) | Shape::List { .. } | Shape::Map { .. } => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::model::resources::built_in;

    fn kept_as(kind: &str, mut value: Value) -> Value {
        keep(&built_in().into_iter().find(|of| of.kind == kind).unwrap(), &mut value);
        value
    }

    #[test]
    fn what_holds_nothing_is_left_out() {
        let value = json!({"metadata": {"name": "m", "labels": {}}, "data": {}, "binaryData": null});
        assert_eq!(kept_as("ConfigMap", value), json!({"metadata": {"name": "m"}}));
        let value = json!({"metadata": {"name": "p"}, "spec": {"initContainers": null, "containers": [
            {"name": "c", "resources": {}, "env": [{"name": "A", "valueFrom": null}]}], "volumes": [{"name": "v", "emptyDir": {}}]}});
        let expected = json!({"metadata": {"name": "p"}, "status": {}, "spec": {
            "containers": [{"name": "c", "resources": {}, "env": [{"name": "A"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        }});
        assert_eq!(kept_as("Pod", value), expected);
    }

    #[test]
    fn what_a_struct_always_has_is_there() {
        let service = kept_as("Service", json!({"metadata": {"name": "s"}}));
        assert_eq!(service, json!({"metadata": {"name": "s"}, "spec": {}, "status": {"loadBalancer": {}}}));
        assert_eq!(kept_as("Role", json!({})), json!({"metadata": {}, "rules": null}));
    }
}
