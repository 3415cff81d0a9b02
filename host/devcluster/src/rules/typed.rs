//! Values with their types: merging, comparing, and removing fields.
//!
//! The rules are those of structured-merge-diff 6, by which a real server computes an apply. A value is a leaf if its
//! type merges nothing, or if both sides are empty. So an empty map differs from a missing one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use crate::model::types::{Merging, TypeRef};
use crate::rules::fields::{Fields, item_name, shown};

/// The fields that differ between two values.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// New fields, and fields with another value than before.
    pub(crate) written: Fields,
    /// Removed fields.
    pub(crate) removed: Fields,
}

impl Difference {
    /// Removes `fields` and all fields below them.
    pub(crate) fn without(mut self, fields: &Fields) -> Self {
        self.written.remove_whole(fields);
        self.removed.remove_whole(fields);
        self
    }
}

fn is_empty(value: Option<&Value>) -> bool {
    value.is_none_or(|value| match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => true,
    })
}

/// Returns the ways in which two values of one field are merged: one, unless the values are of different types.
fn mergings(type_ref: TypeRef<'_>, left: Option<&Value>, right: Option<&Value>) -> Vec<Merging> {
    let of = |value: Option<&Value>| value.filter(|value| !value.is_null()).map(|value| type_ref.merging(value));
    match (of(left), of(right)) {
        (Some(left), Some(right)) if left != right => vec![left, right],
        (left, right) => vec![right.or(left).unwrap_or(Merging::Whole)],
    }
}

fn keys(value: Option<&Value>) -> impl Iterator<Item = &String> {
    value.and_then(Value::as_object).into_iter().flat_map(Map::keys)
}

fn member<'a>(value: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    value.and_then(Value::as_object).and_then(|map| map.get(name))
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Compares two objects field by field.
pub(crate) fn compare(type_ref: TypeRef<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let mut difference = Difference::default();
    for merging in mergings(type_ref, old, new) {
        let leaf = merging == Merging::Whole || (is_empty(old) && is_empty(new));
        match (old, new) {
            (None, _) => difference.written.own(),
            (_, None) => difference.removed.own(),
            (Some(old), Some(new)) if leaf && old != new => difference.written.own(),
            _ => {}
        }
        match merging {
            _ if leaf => {}
            Merging::Fields => compare_fields(type_ref, old, new, &mut difference),
            merging => compare_items(type_ref, &merging, old, new, &mut difference),
        }
    }
    difference
}

fn compare_fields(type_ref: TypeRef<'_>, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
    let names: BTreeSet<&String> = keys(old).chain(keys(new)).collect();
    for name in names {
        descend(type_ref.field(name), format!("f:{name}"), member(old, name), member(new, name), out);
    }
}

/// Returns the items of a list by their names.
fn grouped<'a>(type_ref: TypeRef<'_>, merging: &Merging, list: &'a [Value]) -> BTreeMap<String, Vec<&'a Value>> {
    let mut named: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    list.iter().for_each(|item| named.entry(item_name(type_ref, merging, item)).or_default().push(item));
    named
}

fn compare_items(
    type_ref: TypeRef<'_>,
    merging: &Merging,
    old: Option<&Value>,
    new: Option<&Value>,
    out: &mut Difference,
) {
    let (old, new) = (grouped(type_ref, merging, list(old)), grouped(type_ref, merging, list(new)));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (before, after) = (old.get(name).map(Vec::as_slice), new.get(name).map(Vec::as_slice));
        match (before.unwrap_or_default(), after.unwrap_or_default()) {
            // Items of one name are one value together.
            (before @ [_, _, ..], after @ [_, _, ..]) => {
                if before != after {
                    out.written.put(name.clone(), Fields::leaf());
                }
            }
            ([_, _, ..], after) => {
                if let Some(after) = after.first() {
                    descend(type_ref.item(), name.clone(), None, Some(after), out);
                }
                out.removed.put(name.clone(), Fields::leaf());
            }
            (before, [_, _, ..]) => {
                if let Some(before) = before.first() {
                    descend(type_ref.item(), name.clone(), Some(before), None, out);
                }
                out.written.put(name.clone(), Fields::leaf());
            }
            (before, after) => {
                descend(type_ref.item(), name.clone(), before.first().copied(), after.first().copied(), out);
            }
        }
    }
}

fn descend(type_ref: TypeRef<'_>, name: String, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
    if old == new {
        return;
    }
    let below = compare(type_ref, old, new);
    out.written.put(name.clone(), below.written);
    out.removed.put(name, below.removed);
}

/// Returns the fields that a value sets.
pub(crate) fn field_set(type_ref: TypeRef<'_>, value: &Value) -> Fields {
    let mut fields = Fields::default();
    match (type_ref.merging(value), value) {
        (_, Value::Null) => {}
        (Merging::Fields, Value::Object(map)) => {
            for (name, value) in map {
                let mut below = field_set(type_ref.field(name), value);
                if value.is_null() || value.as_object().is_some_and(Map::is_empty) || !type_ref.declares(name) {
                    below.own();
                }
                fields.put(format!("f:{name}"), below);
            }
        }
        (merging @ (Merging::Items(_) | Merging::Set), Value::Array(list)) => {
            for (name, items) in grouped(type_ref, &merging, list) {
                let mut below = match &items[..] {
                    [one] => field_set(type_ref.item(), one),
                    _ => Fields::default(),
                };
                below.own();
                fields.put(name, below);
            }
        }
        _ => fields.own(),
    }
    fields
}

/// Returns the name of two items of a list that have the same name, as in errors.
pub(crate) fn duplicate(type_ref: TypeRef<'_>, value: &Value) -> Option<String> {
    match (type_ref.merging(value), value) {
        (Merging::Fields, Value::Object(map)) => {
            map.iter().find_map(|(name, value)| Some(format!(".{name}{}", duplicate(type_ref.field(name), value)?)))
        }
        (merging @ (Merging::Items(_) | Merging::Set), Value::Array(list)) => {
            let named = grouped(type_ref, &merging, list);
            if let Some((name, _)) = named.iter().find(|(_, items)| items.len() > 1) {
                return Some(format!(": duplicate entries for key {}", shown(name)));
            }
            named.iter().find_map(|(name, items)| {
                Some(format!("{}{}", shown(name), duplicate(type_ref.item(), items.first()?)?))
            })
        }
        _ => None,
    }
}

/// Merges `new` into `old`. Nothing is removed, and `new` takes precedence.
pub(crate) fn merge(type_ref: TypeRef<'_>, old: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    let merging = mergings(type_ref, old, new).pop().unwrap_or(Merging::Whole);
    if merging == Merging::Whole || (is_empty(old) && is_empty(new)) {
        return new.or(old).cloned();
    }
    match merging {
        Merging::Fields => {
            let names: BTreeSet<&String> = keys(old).chain(keys(new)).collect();
            let merged = names.into_iter().filter_map(|name| {
                Some((name.clone(), merge(type_ref.field(name), member(old, name), member(new, name))?))
            });
            Some(Value::Object(merged.collect()))
        }
        merging => Some(Value::Array(merge_items(type_ref, &merging, list(old), list(new)))),
    }
}

/// Returns the items of a list by their names; `None` for a name that several items have.
fn by_name<'a>(items: &[(String, &'a Value)]) -> HashMap<String, Option<&'a Value>> {
    let mut named = HashMap::with_capacity(items.len());
    for (name, item) in items {
        named.entry(name.clone()).and_modify(|found| *found = None).or_insert(Some(*item));
    }
    named
}

/// Merges two lists. The items of `new` keep their order. Each of the others stays behind the item that it followed, as
/// far as possible.
fn merge_items(type_ref: TypeRef<'_>, merging: &Merging, old: &[Value], new: &[Value]) -> Vec<Value> {
    let named = |item| (item_name(type_ref, merging, item), item);
    let left: Vec<(String, &Value)> = old.iter().map(named).collect();
    let right: Vec<(String, &Value)> = new.iter().map(named).collect();
    let (mine, theirs) = (by_name(&left), by_name(&right));
    let mut shared = right.iter().map(|(name, _)| name).filter(|name| mine.contains_key(*name));
    let mut next = shared.next();
    let mut done = HashSet::new();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let (mut from, mut with) = (left.iter().peekable(), right.iter().peekable());
    while from.peek().is_some() || with.peek().is_some() {
        let side_by_side = matches!((from.peek(), with.peek()), (Some((one, _)), Some((other, _))) if one == other);
        match from.peek() {
            _ if side_by_side => _ = from.next(),
            Some((name, item)) if !theirs.contains_key(name) => {
                out.push((*item).clone());
                from.next();
                continue;
            }
            // A shared item that is out of order comes where the new list has it.
            Some((name, _)) if with.peek().is_some() && next.is_some_and(|next| next != name) => {
                from.next();
                continue;
            }
            Some((name, _)) if done.contains(name) => _ = from.next(),
            _ => {}
        }
        let Some((name, item)) = with.next() else { continue };
        out.extend(merge(type_ref.item(), mine.get(name).copied().flatten(), Some(item)));
        done.insert(name);
        if next == Some(name) {
            next = shared.next();
        }
    }
    out
}

/// Returns `value` without the fields of `gone`. A value that loses all of its content stays, empty.
pub(crate) fn without(type_ref: TypeRef<'_>, value: &Value, gone: &Fields) -> Value {
    match (type_ref.merging(value), value) {
        (Merging::Fields, Value::Object(map)) => {
            let kept = map.iter().filter_map(|(name, value)| match gone.below(&format!("f:{name}")) {
                Some(fields) if fields.is_own() => None,
                Some(fields) => Some((name.clone(), without(type_ref.field(name), value, fields))),
                None => Some((name.clone(), value.clone())),
            });
            Value::Object(kept.collect())
        }
        (merging @ (Merging::Items(_) | Merging::Set), Value::Array(list)) => {
            let kept = list.iter().filter_map(|item| match gone.below(&item_name(type_ref, &merging, item)) {
                Some(fields) if fields.is_own() => None,
                Some(fields) => Some(without(type_ref.item(), item, fields)),
                None => Some(item.clone()),
            });
            Value::Array(kept.collect())
        }
        // An atomic value is removed with any of its fields.
        (_, Value::Object(_)) if !gone.is_empty() => Value::Object(Map::new()),
        (_, Value::Array(_)) if !gone.is_empty() => Value::Array(Vec::new()),
        (_, value) => value.clone(),
    }
}
