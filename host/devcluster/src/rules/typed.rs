//! Values together with what their types say of them: merging, comparing, and taking fields out.
//!
//! The rules are those of structured-merge-diff 6, by which a real server decides what an apply makes of an object. A
//! place is a leaf where the type merges nothing, and where both sides hold nothing: that is what keeps an empty map
//! apart from none.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use crate::model::types::{Merging, Place};
use crate::rules::fields::{Fields, item_name, shown};

/// The fields that differ between two values.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// New fields, and fields with another value than before.
    pub(crate) written: Fields,
    /// Fields that are gone.
    pub(crate) removed: Fields,
}

impl Difference {
    /// Leaves `fields` out, and all that is below them.
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

/// The ways in which two values at one place are merged: one, unless they are of different sorts.
fn mergings(place: Place<'_>, left: Option<&Value>, right: Option<&Value>) -> Vec<Merging> {
    let of = |value: Option<&Value>| value.filter(|value| !value.is_null()).map(|value| place.merging(value));
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
pub(crate) fn compare(place: Place<'_>, old: Option<&Value>, new: Option<&Value>) -> Difference {
    let mut difference = Difference::default();
    for merging in mergings(place, old, new) {
        let leaf = merging == Merging::Whole || (is_empty(old) && is_empty(new));
        match (old, new) {
            (None, _) => difference.written.own(),
            (_, None) => difference.removed.own(),
            (Some(old), Some(new)) if leaf && old != new => difference.written.own(),
            _ => {}
        }
        match merging {
            _ if leaf => {}
            Merging::Fields => compare_fields(place, old, new, &mut difference),
            merging => compare_items(place, &merging, old, new, &mut difference),
        }
    }
    difference
}

fn compare_fields(place: Place<'_>, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
    let names: BTreeSet<&String> = keys(old).chain(keys(new)).collect();
    for name in names {
        descend(place.field(name), format!("f:{name}"), member(old, name), member(new, name), out);
    }
}

/// The items of a list by their names.
fn grouped<'a>(place: Place<'_>, merging: &Merging, list: &'a [Value]) -> BTreeMap<String, Vec<&'a Value>> {
    let mut named: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    list.iter().for_each(|item| named.entry(item_name(place, merging, item)).or_default().push(item));
    named
}

fn compare_items(place: Place<'_>, merging: &Merging, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
    let (old, new) = (grouped(place, merging, list(old)), grouped(place, merging, list(new)));
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
                    descend(place.item(), name.clone(), None, Some(after), out);
                }
                out.removed.put(name.clone(), Fields::leaf());
            }
            (before, [_, _, ..]) => {
                if let Some(before) = before.first() {
                    descend(place.item(), name.clone(), Some(before), None, out);
                }
                out.written.put(name.clone(), Fields::leaf());
            }
            (before, after) => {
                descend(place.item(), name.clone(), before.first().copied(), after.first().copied(), out);
            }
        }
    }
}

fn descend(place: Place<'_>, name: String, old: Option<&Value>, new: Option<&Value>, out: &mut Difference) {
    if old == new {
        return;
    }
    let below = compare(place, old, new);
    out.written.put(name.clone(), below.written);
    out.removed.put(name, below.removed);
}

/// The fields that a value sets.
pub(crate) fn field_set(place: Place<'_>, value: &Value) -> Fields {
    let mut fields = Fields::default();
    match (place.merging(value), value) {
        (_, Value::Null) => {}
        (Merging::Fields, Value::Object(map)) => {
            for (name, value) in map {
                let mut below = field_set(place.field(name), value);
                if value.is_null() || value.as_object().is_some_and(Map::is_empty) || !place.declares(name) {
                    below.own();
                }
                fields.put(format!("f:{name}"), below);
            }
        }
        (merging @ (Merging::Items(_) | Merging::Set), Value::Array(list)) => {
            for (name, items) in grouped(place, &merging, list) {
                let mut below = match &items[..] {
                    [one] => field_set(place.item(), one),
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

/// A list that has two items of one name, as errors write it.
pub(crate) fn duplicate(place: Place<'_>, value: &Value) -> Option<String> {
    match (place.merging(value), value) {
        (Merging::Fields, Value::Object(map)) => {
            map.iter().find_map(|(name, value)| Some(format!(".{name}{}", duplicate(place.field(name), value)?)))
        }
        (merging @ (Merging::Items(_) | Merging::Set), Value::Array(list)) => {
            let named = grouped(place, &merging, list);
            if let Some((name, _)) = named.iter().find(|(_, items)| items.len() > 1) {
                return Some(format!(": duplicate entries for key {}", shown(name)));
            }
            named
                .iter()
                .find_map(|(name, items)| Some(format!("{}{}", shown(name), duplicate(place.item(), items.first()?)?)))
        }
        _ => None,
    }
}

/// Merges `new` into `old`: nothing goes, and where both say something, `new` is right.
pub(crate) fn merge(place: Place<'_>, old: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    let merging = mergings(place, old, new).pop().unwrap_or(Merging::Whole);
    if merging == Merging::Whole || (is_empty(old) && is_empty(new)) {
        return new.or(old).cloned();
    }
    match merging {
        Merging::Fields => {
            let names: BTreeSet<&String> = keys(old).chain(keys(new)).collect();
            let merged = names.into_iter().filter_map(|name| {
                Some((name.clone(), merge(place.field(name), member(old, name), member(new, name))?))
            });
            Some(Value::Object(merged.collect()))
        }
        merging => Some(Value::Array(merge_items(place, &merging, list(old), list(new)))),
    }
}

/// The items of a list by their names. A name that several items have stands for none of them.
fn by_name<'a>(items: &[(String, &'a Value)]) -> HashMap<String, Option<&'a Value>> {
    let mut named = HashMap::with_capacity(items.len());
    for (name, item) in items {
        named.entry(name.clone()).and_modify(|found| *found = None).or_insert(Some(*item));
    }
    named
}

/// Merges two lists. The items of `new` keep their order; each of the others stays behind the item that it followed, as
/// far as that goes.
fn merge_items(place: Place<'_>, merging: &Merging, old: &[Value], new: &[Value]) -> Vec<Value> {
    let named = |item| (item_name(place, merging, item), item);
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
            // A shared item out of its turn: it comes where the new list has it.
            Some((name, _)) if with.peek().is_some() && next.is_some_and(|next| next != name) => {
                from.next();
                continue;
            }
            Some((name, _)) if done.contains(name) => _ = from.next(),
            _ => {}
        }
        let Some((name, item)) = with.next() else { continue };
        out.extend(merge(place.item(), mine.get(name).copied().flatten(), Some(item)));
        done.insert(name);
        if next == Some(name) {
            next = shared.next();
        }
    }
    out
}

/// `value` without the places of `gone`. What loses all that it held stays, empty.
pub(crate) fn without(place: Place<'_>, value: &Value, gone: &Fields) -> Value {
    match (place.merging(value), value) {
        (Merging::Fields, Value::Object(map)) => {
            let kept = map.iter().filter_map(|(name, value)| match gone.below(&format!("f:{name}")) {
                Some(fields) if fields.is_own() => None,
                Some(fields) => Some((name.clone(), without(place.field(name), value, fields))),
                None => Some((name.clone(), value.clone())),
            });
            Value::Object(kept.collect())
        }
        (merging @ (Merging::Items(_) | Merging::Set), Value::Array(list)) => {
            let kept = list.iter().filter_map(|item| match gone.below(&item_name(place, &merging, item)) {
                Some(fields) if fields.is_own() => None,
                Some(fields) => Some(without(place.item(), item, fields)),
                None => Some(item.clone()),
            });
            Value::Array(kept.collect())
        }
        // One value: it goes with any of what it holds.
        (_, Value::Object(_)) if !gone.is_empty() => Value::Object(Map::new()),
        (_, Value::Array(_)) if !gone.is_empty() => Value::Array(Vec::new()),
        (_, value) => value.clone(),
    }
}
