//! The structural schemas of custom types: pruning, defaults and validation.

use serde_json::{Map, Value};

use crate::model::status::StatusCause;

/// The fields of every object, whether its schema has them or not.
const OWN: &[&str] = &["apiVersion", "kind", "metadata"];

/// Drops the fields that the schema does not have, and appends their paths to `unknown`.
pub(crate) fn prune(schema: &Value, value: &mut Value, unknown: &mut Vec<String>) {
    if schema.is_object() {
        walk(schema, value, "", unknown);
    }
}

fn walk(schema: &Value, value: &mut Value, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            let properties = schema["properties"].as_object();
            let any = schema["x-kubernetes-preserve-unknown-fields"] == true;
            let additional = schema.get("additionalProperties").filter(|schema| **schema != false);
            let names: Vec<String> = map.keys().cloned().collect();
            for name in names.iter().filter(|name| !path.is_empty() || !OWN.contains(&name.as_str())) {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let known = properties.and_then(|properties| properties.get(name)).or(additional);
                match (known, map.get_mut(name)) {
                    (Some(schema), Some(value)) => walk(schema, value, &below, unknown),
                    _ if any => {}
                    _ => {
                        map.remove(name);
                        unknown.push(below);
                    }
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                list.iter_mut().enumerate().for_each(|(at, item)| walk(items, item, &format!("{path}[{at}]"), unknown));
            }
        }
        _ => {}
    }
}

/// Fills in the defaults of the schema, and removes nulls that the schema does not allow.
pub(crate) fn fill(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let properties = schema["properties"].as_object();
            for (name, property) in properties.into_iter().flatten() {
                if map.get(name).is_some_and(|value| is_misplaced_null(property, value)) {
                    map.remove(name);
                }
                if !map.contains_key(name)
                    && let Some(default) = property.get("default")
                {
                    map.insert(name.clone(), default.clone());
                }
                if let Some(value) = map.get_mut(name) {
                    fill(property, value);
                }
            }
            let declared = |name: &String| properties.is_some_and(|properties| properties.contains_key(name));
            if let Some(additional) = schema.get("additionalProperties").filter(|schema| schema.is_object()) {
                map.retain(|name, value| declared(name) || !is_misplaced_null(additional, value));
                map.iter_mut().filter(|(name, _)| !declared(name)).for_each(|(_, value)| fill(additional, value));
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                list.iter_mut().for_each(|item| fill(items, item));
            }
        }
        _ => {}
    }
}

fn is_misplaced_null(schema: &Value, value: &Value) -> bool {
    value.is_null() && schema["nullable"] != true
}

/// Returns all violations of the schema.
pub(crate) fn problems(schema: &Value, value: &Value) -> Vec<StatusCause> {
    let mut causes = Vec::new();
    if schema.is_object() {
        judge(schema, value, "", &mut causes);
    }
    causes
}

fn judge(schema: &Value, value: &Value, path: &str, causes: &mut Vec<StatusCause>) {
    let nullable = value.is_null() && schema["nullable"] == true;
    if nullable || !judge_sort(schema, value, path, causes) {
        return;
    }
    if let Some(allowed) = schema["enum"].as_array().filter(|allowed| !allowed.contains(value)) {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        causes.push(StatusCause {
            reason: "FieldValueNotSupported",
            message: format!("Unsupported value: {value}: supported values: {}", allowed.join(", ")),
            field: path.to_owned(),
        });
    }
    judge_bounds(schema, value, path, causes);
    match value {
        Value::Object(map) => judge_fields(schema, map, path, causes),
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                list.iter().enumerate().for_each(|(at, item)| judge(items, item, &format!("{path}[{at}]"), causes));
            }
        }
        _ => {}
    }
}

fn judge_fields(schema: &Value, map: &Map<String, Value>, path: &str, causes: &mut Vec<StatusCause>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !map.contains_key(name) {
            causes.push(StatusCause::required(below(name), ""));
        }
    }
    for (name, value) in map.iter().filter(|(name, _)| !path.is_empty() || !OWN.contains(&name.as_str())) {
        let property = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        if let Some(property) = property.filter(|property| property.is_object()) {
            judge(property, value, &below(name), causes);
        }
    }
}

fn judge_sort(schema: &Value, value: &Value, path: &str, causes: &mut Vec<StatusCause>) -> bool {
    let Some(wanted) = schema["type"].as_str().filter(|wanted| !wanted.is_empty()) else { return true };
    let (found, fits) = match value {
        Value::Null => ("null", false),
        Value::Bool(_) => ("boolean", wanted == "boolean"),
        Value::Number(number) if number.is_f64() => ("number", wanted == "number"),
        Value::Number(_) => ("integer", wanted == "integer" || wanted == "number"),
        Value::String(_) => ("string", wanted == "string"),
        Value::Array(_) => ("array", wanted == "array"),
        Value::Object(_) => ("object", wanted == "object"),
    };
    let either = schema["x-kubernetes-int-or-string"] == true && matches!(found, "integer" | "string");
    if !fits && !either {
        let rule = format!("{path} in body must be of type {wanted}: \"{found}\"");
        causes.push(StatusCause {
            reason: "FieldValueTypeInvalid",
            message: format!("Invalid value: \"{found}\": {rule}"),
            field: path.to_owned(),
        });
    }
    fits || either
}

fn judge_bounds(schema: &Value, value: &Value, path: &str, causes: &mut Vec<StatusCause>) {
    let number = value.as_f64();
    let length = match value {
        Value::String(text) => Some(("chars long", text.chars().count())),
        Value::Array(list) => Some(("items", list.len())),
        _ => None,
    };
    let bound = |name: &str| schema[name].as_f64();
    let mut tell = |rule: String| causes.push(StatusCause::invalid(path, value, &rule));
    if let (Some(least), Some(number)) = (bound("minimum"), number)
        && number < least
    {
        tell(format!("{path} in body should be greater than or equal to {least}"));
    }
    if let (Some(most), Some(number)) = (bound("maximum"), number)
        && number > most
    {
        tell(format!("{path} in body should be less than or equal to {most}"));
    }
    let Some((unit, length)) = length else { return };
    let (least, most) = if value.is_string() { ("minLength", "maxLength") } else { ("minItems", "maxItems") };
    let limit = |name: &str| schema[name].as_u64().and_then(|limit| usize::try_from(limit).ok());
    if let Some(least) = limit(least).filter(|least| length < *least) {
        tell(format!("{path} in body should be at least {least} {unit}"));
    }
    if let Some(most) = limit(most).filter(|most| length > *most) {
        tell(format!("{path} should have at most {most} {unit}"));
    }
}
