//! Who wrote which field: sets of fields, and `metadata.managedFields`, which keeps one for each manager.
//!
//! The notation is that of structured-merge-diff: `f:NAME` a field, `k:{…}` the item of a list with these keys, `v:…`
//! the item of a set, `.` the place itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::admission::now;
use super::resources::Type;
use super::types::{Merging, Place};

/// The managers that are kept apart, as a real server limits them; the oldest become one beyond that.
const UPDATE_MANAGERS: usize = 10;

/// The manager that stands for those that are not kept apart.
const ANCIENT: &str = "ancient-changes";

/// The fields of the metadata that are the server's and nobody's.
const UNOWNED: &[&str] =
    &["name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion"];

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) manager: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
    pub(crate) api_version: String,
}

/// A set of fields, as a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// Whether the place itself is in the set.
    own: bool,
    below: BTreeMap<String, Fields>,
}

impl Fields {
    fn leaf() -> Self {
        Self { own: true, below: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.own && self.below.values().all(Fields::is_empty)
    }

    /// Reads `fieldsV1`.
    pub(crate) fn parse(value: &Value) -> Self {
        let Some(map) = value.as_object().filter(|map| !map.is_empty()) else { return Self::leaf() };
        let below = map.iter().filter(|(name, _)| *name != ".");
        Self {
            own: map.contains_key("."),
            below: below.map(|(name, value)| (name.clone(), Self::parse(value))).collect(),
        }
    }

    /// Writes `fieldsV1`.
    pub(crate) fn json(&self) -> Value {
        let mut map = Map::new();
        if self.own && !self.below.is_empty() {
            map.insert(".".into(), json!({}));
        }
        map.extend(self.below.iter().map(|(name, fields)| (name.clone(), fields.json())));
        Value::Object(map)
    }

    pub(crate) fn add(&mut self, other: &Fields) {
        self.own |= other.own;
        for (name, fields) in &other.below {
            self.below.entry(name.clone()).or_default().add(fields);
        }
    }

    pub(crate) fn remove(&mut self, other: &Fields) {
        self.own &= !other.own;
        for (name, fields) in &other.below {
            if let Some(mine) = self.below.get_mut(name) {
                mine.remove(fields);
                if mine.is_empty() {
                    self.below.remove(name);
                }
            }
        }
    }

    /// The fields that are in both.
    pub(crate) fn common(&self, other: &Fields) -> Fields {
        let both = |(name, mine): (&String, &Fields)| {
            let common = mine.common(other.below.get(name)?);
            (!common.is_empty()).then(|| (name.clone(), common))
        };
        Fields { own: self.own && other.own, below: self.below.iter().filter_map(both).collect() }
    }

    pub(crate) fn below(&self, name: &str) -> Option<&Fields> {
        self.below.get(name)
    }

    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&String, &Fields)> {
        self.below.iter()
    }

    /// Every place in the set, as errors write it: `.spec.containers[name="main"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_paths("", &mut found);
        found
    }

    fn collect_paths(&self, at: &str, found: &mut Vec<String>) {
        if self.own {
            found.push(at.to_owned());
        }
        for (name, fields) in &self.below {
            fields.collect_paths(&format!("{at}{}", shown(name)), found);
        }
    }

    /// Puts a leaf or subtree at `name`.
    fn put(&mut self, name: String, fields: Fields) {
        if !fields.is_empty() {
            self.below.entry(name).or_default().add(&fields);
        }
    }
}

/// An element of a path as errors write it.
fn shown(name: &str) -> String {
    match name.split_once(':') {
        Some(("f", field)) => format!(".{field}"),
        Some(("k", keys)) => {
            let keys: BTreeMap<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        Some(("v", value)) => format!("[={value}]"),
        _ => name.to_owned(),
    }
}

/// How an item of a list is called, and the item.
pub(crate) fn named_items<'a>(merging: &Merging, list: &'a [Value]) -> Vec<(String, &'a Value)> {
    let name = |item: &Value| match merging {
        Merging::Items(keys) => item_name(keys, item),
        _ => format!("v:{item}"),
    };
    list.iter().map(|item| (name(item), item)).collect()
}

/// The name of an item by its keys. A port without a protocol is one of TCP.
pub(crate) fn item_name(keys: &[String], item: &Value) -> String {
    let key = |key: &String| {
        let value = item.get(key).cloned().or_else(|| (key == "protocol").then(|| "TCP".into()));
        value.map(|value| (key.clone(), value))
    };
    let named: BTreeMap<String, Value> = keys.iter().filter_map(key).collect();
    format!("k:{}", json!(named))
}

/// The fields that an applied object sets.
pub(crate) fn applied_fields(place: Place<'_>, value: &Value) -> Fields {
    match (place.merging(value), value) {
        (Merging::Fields, Value::Object(map)) if !map.is_empty() => {
            let mut fields = Fields::default();
            for (name, value) in map {
                fields.put(format!("f:{name}"), applied_fields(place.field(name), value));
            }
            fields
        }
        (merging @ (Merging::Items(_) | Merging::Set), Value::Array(list)) if !list.is_empty() => {
            let mut fields = Fields::default();
            for (name, item) in named_items(&merging, list) {
                let mut below = match merging {
                    Merging::Set => Fields::leaf(),
                    _ => applied_fields(place.item(), item),
                };
                below.own = true;
                fields.put(name, below);
            }
            fields
        }
        _ => Fields::leaf(),
    }
}

/// What differs between two values.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// What is new or other than before.
    pub(crate) written: Fields,
    /// What is gone.
    pub(crate) removed: Fields,
}

/// Compares two objects field by field.
pub(crate) fn compare(place: Place<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let mut difference = Difference::default();
    walk(place, old, new, &mut difference);
    difference
}

fn walk(place: Place<'_>, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
    let (old, new) = (old.filter(|value| !value.is_null()), new.filter(|value| !value.is_null()));
    if old == new {
        return;
    }
    let shape = new.or(old).map_or(Merging::Whole, |value| place.merging(value));
    let same_sort = match (old, new) {
        (Some(old), Some(new)) => old.is_object() == new.is_object() && old.is_array() == new.is_array(),
        _ => true,
    };
    if new.is_none() {
        out.removed.own = true;
    } else if old.is_none() || shape == Merging::Whole || !same_sort {
        out.written.own = true;
    }
    if shape == Merging::Whole || !same_sort {
        return;
    }
    match shape {
        Merging::Fields => walk_fields(place, old, new, out),
        merging => walk_items(place, &merging, old, new, out),
    }
}

fn walk_fields(place: Place<'_>, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
    let keys = |value: Option<&'_ Value>| -> BTreeSet<String> {
        value.and_then(Value::as_object).into_iter().flat_map(|map| map.keys().cloned()).collect()
    };
    let there = Value::Object(Map::new());
    for name in keys(old).union(&keys(new)) {
        let (before, after) = (old.and_then(|old| old.get(name)), new.and_then(|new| new.get(name)));
        // An empty struct that Go always has counts as there before, so that nobody comes to own it.
        let implied = before.is_none() && place.always_there(name) && after.is_some_and(Value::is_object);
        let before = if implied { Some(&there) } else { before };
        descend(place.field(name), &format!("f:{name}"), before, after, out);
    }
}

fn walk_items(place: Place<'_>, merging: &Merging, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
    fn items<'a>(merging: &Merging, value: Option<&'a Value>) -> BTreeMap<String, &'a Value> {
        let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        named_items(merging, list).into_iter().collect()
    }
    let (old, new) = (items(merging, old), items(merging, new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        descend(place.item(), name, old.get(name).copied(), new.get(name).copied(), out);
    }
}

fn descend(place: Place<'_>, name: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
    let below = compare(place, old, new);
    out.written.put(name.to_owned(), below.written);
    out.removed.put(name.to_owned(), below.removed);
}

/// One manager's entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) writer: Writer,
    pub(crate) apply: bool,
    pub(crate) time: String,
    pub(crate) fields: Fields,
}

impl Entry {
    fn parse(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let writer =
            Writer { manager: text("manager"), subresource: text("subresource"), api_version: text("apiVersion") };
        Self {
            writer,
            apply: value["operation"] == "Apply",
            time: text("time"),
            fields: Fields::parse(&value["fieldsV1"]),
        }
    }

    fn json(&self) -> Value {
        let mut entry = json!({
            "manager": self.writer.manager,
            "operation": if self.apply { "Apply" } else { "Update" },
            "apiVersion": self.writer.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.json(),
        });
        if !self.writer.subresource.is_empty() {
            entry["subresource"] = self.writer.subresource.as_str().into();
        }
        entry
    }

    /// As a conflict names the manager.
    pub(crate) fn shown(&self) -> String {
        let Writer { manager, subresource, api_version } = &self.writer;
        let with = if subresource.is_empty() { String::new() } else { format!(" with subresource {subresource:?}") };
        let using = match (self.apply, self.time.as_str()) {
            (true, _) => String::new(),
            (false, "") => format!(" using {api_version}"),
            (false, time) => format!(" using {api_version} at {time}"),
        };
        format!("{manager:?}{with}{using}")
    }
}

/// The entries of an object.
pub(crate) fn entries(value: &Value) -> Vec<Entry> {
    value["metadata"]["managedFields"].as_array().into_iter().flatten().map(Entry::parse).collect()
}

/// Writes the entries into an object, in a real server's order.
pub(crate) fn set_entries(value: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    join_ancient(&mut entries);
    let order = |entry: &Entry| {
        let Writer { manager, subresource, api_version } = entry.writer.clone();
        (!entry.apply, entry.time.clone(), manager, api_version, subresource)
    };
    entries.sort_by_key(order);
    let Some(metadata) = value["metadata"].as_object_mut() else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), entries.iter().map(Entry::json).collect());
    }
}

fn join_ancient(entries: &mut Vec<Entry>) {
    while entries.iter().filter(|entry| !entry.apply).count() > UPDATE_MANAGERS {
        let oldest = |entries: &[Entry], skip: usize| {
            let updates = entries.iter().enumerate().filter(|(at, entry)| !entry.apply && *at != skip);
            updates.min_by_key(|(_, entry)| (entry.writer.manager != ANCIENT, entry.time.clone())).map(|(at, _)| at)
        };
        let Some(first) = oldest(entries, usize::MAX) else { return };
        let Some(second) = oldest(entries, first) else { return };
        let joined = entries.remove(second.max(first));
        if let Some(into) = entries.get_mut(second.min(first)) {
            into.fields.add(&joined.fields);
            into.time = into.time.clone().max(joined.time);
            ANCIENT.clone_into(&mut into.writer.manager);
            into.writer.subresource.clear();
        }
    }
}

/// Fields without those that are nobody's.
pub(crate) fn owned(mut fields: Fields) -> Fields {
    fields.own = false;
    fields.below.remove("f:kind");
    fields.below.remove("f:apiVersion");
    if let Some(metadata) = fields.below.get_mut("f:metadata") {
        metadata.own = false;
        metadata.below.retain(|name, _| !UNOWNED.iter().any(|unowned| name.strip_prefix("f:") == Some(unowned)));
    }
    fields.below.retain(|_, fields| !fields.is_empty());
    fields
}

/// Notes in `new` what `writer` changed since `old`. Fields that somebody else had and that changed are theirs no longer.
pub(crate) fn track(writer: &Writer, of: &Type, old: Option<&Value>, new: &mut Value) {
    let place = Place::of(of);
    let nothing = json!({"metadata": {}});
    let difference = compare(place, Some(old.unwrap_or(&nothing)), Some(new));
    let (written, removed) = (owned(difference.written), owned(difference.removed));
    let mut all = old.map(entries).unwrap_or_default();
    let mine = all.iter().position(|entry| !entry.apply && entry.writer == *writer);
    for (at, entry) in all.iter_mut().enumerate() {
        if Some(at) != mine {
            entry.fields.remove(&written);
        }
        entry.fields.remove(&removed);
    }
    match mine.and_then(|at| all.get_mut(at)) {
        Some(entry) => {
            let before = entry.fields.clone();
            entry.fields.add(&written);
            if entry.fields != before || !written.is_empty() {
                entry.time = now();
            }
        }
        None => all.push(Entry { writer: writer.clone(), apply: false, time: now(), fields: written }),
    }
    set_entries(new, all);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::devcluster::resources::built_in;

    fn of(kind: &str) -> Type {
        built_in().into_iter().find(|of| of.kind == kind).unwrap()
    }

    fn writer(manager: &str) -> Writer {
        Writer { manager: manager.into(), subresource: String::new(), api_version: "v1".into() }
    }

    fn fields_of(value: &Value, manager: &str) -> Value {
        let found = entries(value).into_iter().find(|entry| entry.writer.manager == manager);
        found.map_or(Value::Null, |entry| entry.fields.json())
    }

    #[test]
    fn a_creation_is_noted_as_a_real_server_notes_it() {
        let mut value =
            json!({"kind": "ConfigMap", "metadata": {"name": "rec-a", "labels": {"set": "rec"}}, "data": {"a": "1"}});
        track(&writer("recorder"), &of("ConfigMap"), None, &mut value);
        let expected = json!({"f:data": {".": {}, "f:a": {}}, "f:metadata": {"f:labels": {".": {}, "f:set": {}}}});
        assert_eq!(fields_of(&value, "recorder"), expected);
    }

    #[test]
    fn lists_and_structs_are_noted_by_their_keys() {
        let mut value = json!({"metadata": {"name": "p"}, "spec": {"containers": [
            {"name": "main", "image": "x", "resources": {}, "ports": [{"containerPort": 80, "protocol": "TCP"}]},
        ], "securityContext": {}}});
        track(&writer("m"), &of("Pod"), None, &mut value);
        let expected = json!({"f:spec": {"f:securityContext": {}, "f:containers": {"k:{\"name\":\"main\"}": {
            ".": {}, "f:name": {}, "f:image": {}, "f:resources": {},
            "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}, "f:protocol": {}}},
        }}}});
        let mut found = fields_of(&value, "m");
        // The list of containers is in every pod, and the table does not say so.
        found["f:spec"]["f:containers"].as_object_mut().unwrap().remove(".");
        assert_eq!(found, expected);
    }

    #[test]
    fn who_changes_a_field_takes_it_over() {
        let first = json!({"metadata": {"name": "a"}, "data": {"a": "1", "b": "1"}});
        let mut old = first.clone();
        track(&writer("one"), &of("ConfigMap"), None, &mut old);
        let mut new = old.clone();
        new["data"] = json!({"a": "2", "c": "3"});
        track(&writer("two"), &of("ConfigMap"), Some(&old), &mut new);
        assert_eq!(fields_of(&new, "one"), json!({"f:data": {}}));
        assert_eq!(fields_of(&new, "two"), json!({"f:data": {"f:a": {}, "f:c": {}}}));
    }

    #[test]
    fn the_managers_of_an_object_are_bounded() {
        let mut value = json!({"metadata": {"name": "a"}, "data": {}});
        for number in 0..50 {
            let old = value.clone();
            value["data"][format!("k{number}")] = "x".into();
            track(&writer(&format!("m{number}")), &of("ConfigMap"), Some(&old), &mut value);
        }
        assert!(entries(&value).len() <= UPDATE_MANAGERS);
    }
}
