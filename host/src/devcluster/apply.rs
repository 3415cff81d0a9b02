//! Server-side apply: a manager says what its fields are to be, and the rest is not its business.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::admission::now;
use super::answer::Answer;
use super::api::{Api, Call};
use super::body::{self, FieldValidation, check_type};
use super::managed::{self, Entry, Fields, Writer, applied_fields, compare, item_name, owned};
use super::rbac::Act;
use super::read::show;
use super::status::ApiError;
use super::types::{Merging, Place};
use super::write::{Origin, check_namespace};

/// What one manager applies.
#[derive(Debug, Clone)]
pub(crate) struct Applied {
    pub(crate) fields: Fields,
    pub(crate) force: bool,
}

impl Api {
    pub(crate) fn apply(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        if call.query.get("fieldManager").is_empty() {
            let message =
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
            return Err(ApiError::new(422, "Invalid", message));
        }
        let mut config = body::yaml(&call.body, &call.of.kind)?;
        check_type(&call.of, &config)?;
        check_namespace(call.namespace(), &config)?;
        let named = config["metadata"]["name"].as_str().unwrap_or(&call.at.name);
        if named != call.at.name {
            let message =
                format!("the name of the object ({named}) does not match the name on the URL ({})", call.at.name);
            return Err(ApiError::bad_request(message));
        }
        if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        let warnings = super::schema::check(&call.of, &mut config, FieldValidation::of(call.query))?;
        let place = Place::of(&call.of);
        let applied = Applied { fields: owned(applied_fields(place, &config)), force: call.query.flag("force") };
        let mut origin = Origin::of(call);
        let writer = origin.writer.clone();
        origin.applied = Some(applied.clone());
        if self.store.table(&call.of).get(&call.key()).is_none() && call.at.subresource.is_empty() {
            config["metadata"]["name"] = call.at.name.as_str().into();
            self.may_create(call)?;
            match self.create_object(&origin, &call.of, call.namespace(), config.clone()) {
                // Somebody else was faster: then there is something to apply to.
                Err(error) if error.reason == "AlreadyExists" => {}
                created => return Ok(body::with_warnings(show(201, call.accept, &call.of, &*created?), &warnings)),
            }
        }
        let object =
            self.change_object(&origin, &call.of, &call.key(), |live| merged(place, live, &config, &applied, &writer))?;
        Ok(body::with_warnings(show(200, call.accept, &call.of, &object), &warnings))
    }
}

impl Api {
    /// Who applies what is not there has to have the right to create it, under this very name.
    fn may_create(&self, call: &Call<'_>) -> Result<(), ApiError> {
        let act = Act::Resource { verb: "create", at: call.at };
        match self.allows(call.who, &act) {
            Some(_) => Ok(()),
            None => Err(act.forbidden(call.who)),
        }
    }
}

/// The live object with the configuration merged in, and without what this manager applied before and no longer does.
fn merged(
    place: Place<'_>,
    live: &Value,
    config: &Value,
    applied: &Applied,
    writer: &Writer,
) -> Result<Value, ApiError> {
    let mut new = merge(place, Some(live), config);
    let all = managed::entries(live);
    let is_mine = |entry: &&Entry| entry.apply && entry.writer == *writer;
    let mut dropped = all.iter().find(is_mine).map(|entry| entry.fields.clone()).unwrap_or_default();
    dropped.remove(&applied.fields);
    for entry in all.iter().filter(|entry| !is_mine(entry)) {
        dropped.remove(&entry.fields);
    }
    prune(place, &mut new, &dropped);
    check_conflicts(place, live, &new, applied, &all, writer)?;
    Ok(new)
}

fn check_conflicts(
    place: Place<'_>,
    live: &Value,
    new: &Value,
    applied: &Applied,
    all: &[Entry],
    writer: &Writer,
) -> Result<(), ApiError> {
    if applied.force {
        return Ok(());
    }
    let changed = owned(compare(place, Some(live), Some(new)).written).common(&applied.fields);
    let others = all.iter().filter(|entry| !(entry.apply && entry.writer == *writer));
    let conflicts: Vec<(String, Vec<String>)> = others
        .map(|entry| (entry.shown(), entry.fields.common(&changed).paths()))
        .filter(|(_, paths)| !paths.is_empty())
        .collect();
    if conflicts.is_empty() { Ok(()) } else { Err(conflict(&conflicts)) }
}

/// 409 with each field and whose it is.
fn conflict(conflicts: &[(String, Vec<String>)]) -> ApiError {
    let causes: Vec<Value> = conflicts
        .iter()
        .flat_map(|(manager, paths)| {
            paths.iter().map(move |path| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path})
            })
        })
        .collect();
    let told = |(manager, paths): &(String, Vec<String>)| match paths.as_slice() {
        [one] => format!("conflict with {manager}: {one}"),
        many => format!("conflicts with {manager}:\n- {}", many.join("\n- ")),
    };
    let all: Vec<String> = conflicts.iter().map(told).collect();
    let plural = if causes.len() == 1 { "conflict" } else { "conflicts" };
    let message = format!("Apply failed with {} {plural}: {}", causes.len(), all.join("\n"));
    ApiError::new(409, "Conflict", message).with_details(json!({"causes": causes}))
}

/// Merges what is applied into what is there, by the types' own rules.
fn merge(place: Place<'_>, live: Option<&Value>, config: &Value) -> Value {
    match (place.merging(config), config) {
        (Merging::Fields, Value::Object(fields)) => {
            let mut new = live.and_then(Value::as_object).cloned().unwrap_or_default();
            for (name, value) in fields {
                let merged = merge(place.field(name), new.get(name), value);
                new.insert(name.clone(), merged);
            }
            Value::Object(new)
        }
        (Merging::Items(keys), Value::Array(items)) => {
            let mut new = live.and_then(Value::as_array).cloned().unwrap_or_default();
            for item in items {
                let name = item_name(&keys, item);
                match new.iter_mut().find(|one| item_name(&keys, one) == name) {
                    Some(found) => *found = merge(place.item(), Some(found), item),
                    None => new.push(item.clone()),
                }
            }
            Value::Array(new)
        }
        (Merging::Set, Value::Array(items)) => {
            let mut new = live.and_then(Value::as_array).cloned().unwrap_or_default();
            new.extend(items.iter().filter(|item| !new.contains(item)).cloned().collect::<Vec<_>>());
            Value::Array(new)
        }
        _ => config.clone(),
    }
}

/// Takes the places of `dropped` out of `value`.
fn prune(place: Place<'_>, value: &mut Value, dropped: &Fields) {
    match place.merging(value) {
        Merging::Fields => {
            let Some(map) = value.as_object_mut() else { return };
            prune_fields(place, map, dropped);
        }
        merging @ (Merging::Items(_) | Merging::Set) => {
            let Some(list) = value.as_array_mut() else { return };
            let named = |item: &Value| match &merging {
                Merging::Items(keys) => item_name(keys, item),
                _ => format!("v:{item}"),
            };
            list.retain(|item| !dropped.below(&named(item)).is_some_and(Fields::is_own));
            for item in list {
                if let Some(below) = dropped.below(&named(item)) {
                    prune(place.item(), item, below);
                }
            }
        }
        Merging::Whole => {}
    }
}

fn prune_fields(place: Place<'_>, map: &mut Map<String, Value>, dropped: &Fields) {
    for (name, fields) in dropped.entries() {
        let Some(field) = name.strip_prefix("f:") else { continue };
        if fields.is_own() {
            map.remove(field);
        } else if let Some(value) = map.get_mut(field) {
            prune(place.field(field), value, fields);
            // What became empty because its last field went is not left behind as an empty map or list.
            let empty = value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
            if empty && !place.always_there(field) {
                map.remove(field);
            }
        }
    }
}

/// Notes in `new` what `writer` applied.
pub(crate) fn track(writer: &Writer, place: Place<'_>, applied: &Applied, old: Option<&Value>, new: &mut Value) {
    let mut all = old.map(managed::entries).unwrap_or_default();
    let changed = old.map(|old| owned(compare(place, Some(old), Some(new)).written)).unwrap_or_default();
    let gone = old.map(|old| owned(compare(place, Some(old), Some(new)).removed)).unwrap_or_default();
    let is_mine = |entry: &Entry| entry.apply && entry.writer == *writer;
    for entry in all.iter_mut().filter(|entry| !is_mine(entry)) {
        entry.fields.remove(&changed.common(&applied.fields));
        entry.fields.remove(&gone);
    }
    match all.iter_mut().find(|entry| is_mine(entry)) {
        Some(entry) => {
            if entry.fields != applied.fields || !changed.is_empty() {
                entry.time = now();
            }
            entry.fields = applied.fields.clone();
        }
        None => all.push(Entry { writer: writer.clone(), apply: true, time: now(), fields: applied.fields.clone() }),
    }
    managed::set_entries(new, all);
}
