//! The containers of a pod: names, env, mounts, resources.

use std::collections::BTreeSet;

use attache_base::quantity::Quantity;

use super::cause::{Causes, Field};
use super::downward::{self, ENV_FIELDS};
use super::names;
use super::volumes::file_path;

/// Judges all containers; `volumes` are the names that may be mounted.
pub(super) fn check(spec: &Field<'_>, volumes: &BTreeSet<&str>, causes: &mut Causes) {
    let containers = spec.child("containers");
    if containers.items().is_empty() {
        causes.required(&containers, "");
    }
    let mut seen = BTreeSet::new();
    for container in containers.items().into_iter().chain(spec.child("initContainers").items()) {
        name(&container, &mut seen, causes);
        env(&container.child("env"), causes);
        env_from(&container.child("envFrom"), causes);
        mounts(&container.child("volumeMounts"), volumes, causes);
        resources(&container.child("resources"), causes);
    }
}

fn name<'a>(container: &Field<'a>, seen: &mut BTreeSet<&'a str>, causes: &mut Causes) {
    let name = container.child("name");
    let text = name.text_or_empty();
    if text.is_empty() {
        causes.required(&name, "");
    } else {
        causes.broken(&name, text, names::label(text));
        if !seen.insert(text) {
            causes.duplicate(&name, text);
        }
    }
    let image = container.child("image");
    if image.text_or_empty().is_empty() {
        causes.required(&image, "");
    }
}

fn env(list: &Field<'_>, causes: &mut Causes) {
    for variable in list.items() {
        let name = variable.child("name");
        let text = name.text_or_empty();
        if text.is_empty() {
            causes.required(&name, "");
        }
        causes.broken(&name, text, names::variable(text));
        let from = variable.child("valueFrom");
        if from.is_given() {
            let literal = variable.child("value").text().is_some_and(|value| !value.is_empty());
            value_from(&from, literal, causes);
        }
    }
}

fn value_from(from: &Field<'_>, literal: bool, causes: &mut Causes) {
    let (field_ref, resource) = (from.child("fieldRef"), from.child("resourceFieldRef"));
    let (config_map, secret) = (from.child("configMapKeyRef"), from.child("secretKeyRef"));
    if field_ref.is_given() {
        downward::field_ref(&field_ref, &ENV_FIELDS, causes);
    }
    if resource.is_given() {
        downward::resource_field_ref(&resource, false, causes);
    }
    for key in [&config_map, &secret].into_iter().filter(|key| key.is_given()) {
        key_ref(key, causes);
    }
    let file = from.child("fileKeyRef");
    match [field_ref, resource, config_map, secret, file].iter().filter(|source| source.is_given()).count() {
        0 => causes.invalid(
            from,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        _ if literal => causes.invalid(from, "", "may not be specified when `value` is not empty"),
        1 => {}
        _ => causes.invalid(from, "", "may not have more than one field specified at a time"),
    }
}

fn key_ref(selector: &Field<'_>, causes: &mut Causes) {
    let (name, key) = (selector.child("name"), selector.child("key"));
    let (name_text, key_text) = (name.text_or_empty(), key.text_or_empty());
    causes.broken(&name, name_text, names::subdomain(name_text));
    if key_text.is_empty() {
        causes.required(&key, "");
    } else {
        causes.broken(&key, key_text, names::config_key(key_text));
    }
}

fn env_from(list: &Field<'_>, causes: &mut Causes) {
    for source in list.items() {
        let prefix = source.child("prefix");
        let text = prefix.text_or_empty();
        causes.broken(&prefix, text, names::variable(text));
        let given: Vec<_> = ["configMapRef", "secretRef"].map(|kind| source.child(kind)).into_iter().collect();
        let given: Vec<_> = given.into_iter().filter(Field::is_given).collect();
        for reference in &given {
            let name = reference.child("name");
            match name.text_or_empty() {
                "" => causes.required(&name, ""),
                text => causes.broken(&name, text, names::subdomain(text)),
            }
        }
        // The server reports these two with the path of the whole list.
        match given.len() {
            0 => causes.invalid(list, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => causes.invalid(list, "", "may not have more than one field specified at a time"),
        }
    }
}

fn mounts(list: &Field<'_>, volumes: &BTreeSet<&str>, causes: &mut Causes) {
    let mut points = BTreeSet::new();
    for mount in list.items() {
        let (name, path) = (mount.child("name"), mount.child("mountPath"));
        if name.text_or_empty().is_empty() {
            causes.required(&name, "");
        }
        if !volumes.contains(name.text_or_empty()) {
            causes.not_found(&name, name.text_or_empty());
        }
        if path.text_or_empty().is_empty() {
            causes.required(&path, "");
        }
        if !points.insert(path.text_or_empty()) {
            causes.invalid(&path, path.text_or_empty(), "must be unique");
        }
        sub_path(list, &mount, causes);
    }
}

fn sub_path(list: &Field<'_>, mount: &Field<'_>, causes: &mut Causes) {
    let (plain, expression) = (mount.child("subPath"), mount.child("subPathExpr"));
    let given = |field: &Field<'_>| !field.text_or_empty().is_empty();
    // The server reports a bad path without the mount's index.
    if given(&plain) {
        file_path(&plain.reported_below(list, "subPath"), false, causes);
    }
    if given(&expression) {
        if given(&plain) {
            let text = expression.text_or_empty();
            causes.invalid(&expression, text, "subPathExpr and subPath are mutually exclusive");
        }
        file_path(&expression.reported_below(list, "subPathExpr"), false, causes);
    }
}

fn resources(field: &Field<'_>, causes: &mut Causes) {
    let (limits, requests) = (field.child("limits"), field.child("requests"));
    for list in [&limits, &requests] {
        for (name, quantity) in quantities(list) {
            if quantity.is_negative() {
                let entry = list.child(name).reported_below(list, name);
                causes.invalid(&entry, quantity.to_string().as_str(), "must be greater than or equal to 0");
            }
        }
    }
    for (name, request) in quantities(&requests) {
        let limit = serde_json::from_value::<Quantity>(limits.child(name).value.clone()).ok();
        if let Some(limit) = limit.filter(|limit| request > *limit) {
            let rule = format!("must be less than or equal to {name} limit of {limit}");
            causes.invalid(&requests, request.to_string().as_str(), rule);
        }
    }
}

fn quantities<'a>(list: &Field<'a>) -> impl Iterator<Item = (&'a str, Quantity)> {
    let entries = list.value.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.as_str(), serde_json::from_value(value.clone()).ok()?)))
}
