//! Sets of fields, in the notation of `metadata.managedFields`.
//!
//! The notation is that of structured-merge-diff: `f:NAME` is a field, `k:{…}` the item of a list with these keys,
//! `v:…` the item of a set, and `.` the path itself.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::model::types::{Merging, TypeRef};

/// A set of fields, as a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// True if the path itself is in the set.
    own: bool,
    below: BTreeMap<String, Fields>,
}

impl Fields {
    pub(crate) fn leaf() -> Self {
        Self { own: true, below: BTreeMap::new() }
    }

    /// Returns the set of the given paths.
    pub(crate) fn of_paths(paths: &[&[&str]]) -> Self {
        let mut all = Self::default();
        for path in paths {
            let at = path.iter().fold(&mut all, |at, name| at.below.entry(format!("f:{name}")).or_default());
            at.own = true;
        }
        all
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

    /// Removes the members of `other`, but not the fields below them.
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

    /// Removes the members of `other` and all fields below them.
    pub(crate) fn remove_whole(&mut self, other: &Fields) {
        for (name, fields) in &other.below {
            if fields.own {
                self.below.remove(name);
            } else if let Some(mine) = self.below.get_mut(name) {
                mine.remove_whole(fields);
                if mine.is_empty() {
                    self.below.remove(name);
                }
            }
        }
    }

    /// Returns the fields that are in both sets.
    pub(crate) fn common(&self, other: &Fields) -> Fields {
        let both = |(name, mine): (&String, &Fields)| {
            let common = mine.common(other.below.get(name)?);
            (!common.is_empty()).then(|| (name.clone(), common))
        };
        Fields { own: self.own && other.own, below: self.below.iter().filter_map(both).collect() }
    }

    /// Returns the set with every declared field that has a member below it.
    pub(crate) fn with_declared(&self, type_ref: TypeRef<'_>) -> Fields {
        let below = self.below.iter().map(|(name, fields)| {
            let field = name.strip_prefix("f:");
            let mut fields = fields.with_declared(field.map_or_else(|| type_ref.item(), |field| type_ref.field(field)));
            fields.own |= field.is_some_and(|field| type_ref.declares(field));
            (name.clone(), fields)
        });
        Fields { own: self.own, below: below.collect() }
    }

    pub(crate) fn below(&self, name: &str) -> Option<&Fields> {
        self.below.get(name)
    }

    pub(crate) fn is_own(&self) -> bool {
        self.own
    }

    /// Adds the path itself.
    pub(crate) fn own(&mut self) {
        self.own = true;
    }

    /// Returns every path in the set, as in errors: `.spec.containers[name="main"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_paths("", &mut found);
        found
    }

    fn collect_paths(&self, at: &str, found: &mut Vec<String>) {
        for (name, _) in self.below.iter().filter(|(_, fields)| fields.own) {
            found.push(format!("{at}{}", shown(name)));
        }
        for (name, fields) in &self.below {
            fields.collect_paths(&format!("{at}{}", shown(name)), found);
        }
    }

    /// Adds a leaf or subtree at `name`.
    pub(crate) fn put(&mut self, name: String, fields: Fields) {
        if !fields.is_empty() {
            self.below.entry(name).or_default().add(&fields);
        }
    }
}

/// Returns an element of a path, as in errors.
pub(crate) fn shown(name: &str) -> String {
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

/// Returns the path element of an item of a merged list.
pub(crate) fn item_name(type_ref: TypeRef<'_>, merging: &Merging, item: &Value) -> String {
    let Merging::Items(keys) = merging else { return format!("v:{item}") };
    let key = |key: &String| {
        let value = item.get(key).cloned().or_else(|| type_ref.item().default_of(key));
        value.map(|value| (key.clone(), value))
    };
    let named: BTreeMap<String, Value> = keys.iter().filter_map(key).collect();
    format!("k:{}", json!(named))
}
