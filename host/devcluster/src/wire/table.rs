//! Tables: the output of `kubectl get`, made by the server.

use serde_json::{Value, json};

use crate::model::object::Object;
use crate::model::resources::Column;
use crate::model::resources::Type;
use crate::wire::printers;
use crate::wire::printers::age;

const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some \
     resources may allow a client to request the generation of an appropriate name automatically. Name is primarily \
     intended for creation idempotence and configuration definition. Cannot be updated. More info: \
     https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is \
     not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It \
     is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
     https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// Returns the columns of a type's table.
pub(crate) fn columns(of: &Type) -> Value {
    let name = json!({"name": "Name", "type": "string", "format": "name", "description": NAME, "priority": 0});
    let middle: Vec<Value> = match &of.custom {
        Some(custom) => custom.columns.iter().map(custom_column).collect(),
        None => printers::columns(of).iter().map(printers::Heading::json).collect(),
    };
    let titled: Vec<Value> = std::iter::once(name).chain(middle).collect();
    // In a real server the age is a date for custom types, and a text for built-in types.
    let kind = if of.custom.is_some() { "date" } else { "string" };
    if has_age(of) { with_age(titled, kind) } else { titled.into() }
}

/// Inserts the age in front of the columns that only `-o wide` shows.
fn with_age(mut columns: Vec<Value>, kind: &str) -> Value {
    let age = json!({"name": "Age", "type": kind, "format": "", "description": AGE, "priority": 0});
    let at = columns.iter().position(|column| column["priority"] != 0).unwrap_or(columns.len());
    columns.insert(at, age);
    columns.into()
}

/// Returns whether the server adds the age. A definition with columns names the age itself.
fn has_age(of: &Type) -> bool {
    match &of.custom {
        Some(custom) => custom.columns.is_empty(),
        None => printers::has_age(of),
    }
}

fn custom_column(column: &Column) -> Value {
    json!({"name": column.name, "type": column.kind, "format": column.format,
           "description": column.description, "priority": column.priority})
}

/// Returns the row of one object.
pub(crate) fn row(of: &Type, object: &Object) -> Value {
    // The columns of an event are those of the stored version.
    let value = object.value();
    let age = age(value.pointer("/metadata/creationTimestamp"));
    let mut cells = vec![Value::from(&*object.name)];
    if let Some(custom) = &of.custom {
        cells.extend(custom.columns.iter().map(|column| custom_cell(column, &value)));
        cells.extend(custom.columns.is_empty().then_some(age));
    } else {
        let headings = printers::columns(of);
        let mut rest = printers::cells(of, &value);
        let shown = headings.iter().filter(|heading| heading.priority == 0).count().min(rest.len());
        let wide = rest.split_off(shown);
        cells.extend(rest);
        cells.extend(printers::has_age(of).then_some(age));
        cells.extend(wide);
    }
    let mut row = json!({"cells": cells, "object": crate::model::object::partial(object)});
    if let Some(conditions) = printers::conditions(of, &value) {
        row["conditions"] = conditions;
    }
    row
}

/// Returns a table of one row.
pub(crate) fn of_one(of: &Type, object: &Object) -> Value {
    let metadata = json!({"resourceVersion": object.revision.to_string()});
    of_rows(of, &metadata, vec![row(of, object)])
}

/// Returns a table of these rows.
pub(crate) fn of_rows(of: &Type, metadata: &Value, rows: Vec<Value>) -> Value {
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
           "columnDefinitions": columns(of), "rows": rows})
}

fn custom_cell(column: &Column, value: &Value) -> Value {
    let found = json_path(value, &column.path).cloned().unwrap_or(Value::Null);
    if column.kind == "date" { age(Some(&found)) } else { found }
}

/// Returns the value at a simple JSONPath: `.a.b`, `.a[0].b`, `.a[?(@.type=="Ready")].status`.
pub(crate) fn json_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut at = value;
    let mut rest = path.trim().trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(tail) = rest.strip_prefix('.') {
            let end = tail.find(['.', '[']).unwrap_or(tail.len());
            let (name, after) = tail.split_at(end);
            at = at.get(name.replace('\\', ""))?;
            rest = after;
        } else {
            let (inside, after) = rest.strip_prefix('[')?.split_once(']')?;
            at = element(at, inside)?;
            rest = after;
        }
    }
    Some(at)
}

fn element<'a>(list: &'a Value, inside: &str) -> Option<&'a Value> {
    if let Ok(index) = inside.parse::<usize>() {
        return list.get(index);
    }
    if let Some(name) = inside.strip_prefix('\'').and_then(|name| name.strip_suffix('\'')) {
        return list.get(name);
    }
    let test = inside.strip_prefix("?(@.")?.strip_suffix(')')?;
    let (field, wanted) = test.split_once("==")?;
    let wanted = wanted.trim().trim_matches(['"', '\'']);
    list.as_array()?.iter().find(|one| one.get(field.trim()).and_then(Value::as_str) == Some(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::printers::duration;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let cases = [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (780, "13m"),
            (7199, "119m"),
            (10_800, "3h"),
            (10_860, "3h1m"),
            (90_000, "25h"),
            (180_000, "2d2h"),
            (864_000, "10d"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn the_json_paths_of_definitions_are_followed() {
        let value = json!({"a": {"b": [{"type": "Ready", "status": "True"}, {"c": 1}]}});
        let cases =
            [(".a.b[1].c", Some(json!(1))), (".a.b[?(@.type==\"Ready\")].status", Some(json!("True"))), (".a.x", None)];
        for (path, expected) in cases {
            assert_eq!(json_path(&value, path).cloned(), expected, "{path}");
        }
    }
}
