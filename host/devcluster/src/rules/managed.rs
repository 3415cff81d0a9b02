//! `metadata.managedFields`: the fields of each manager, and their changes by updates and by server-side apply.
//!
//! The rules are those of the field managers of apimachinery [`util/managedfields/internal`].

use serde_json::{Value, json};

use crate::model::form;
use crate::model::fresh::now;
use crate::model::resources::Type;
use crate::model::types::{self, TypeRef};
use crate::rules::entries::{Entry, Writer, entries, forgets, join_ancient, set_entries};
use crate::rules::fields::Fields;
use crate::rules::typed::{self, Difference};

/// The manager of the fields that an object had before its managers were recorded.
const BEFORE: &str = "before-first-apply";

/// The manager whose applies also use the annotation of `kubectl apply`.
const KUBECTL: &str = "kubectl";

/// The annotation in which `kubectl apply` keeps the last applied configuration.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The paths without an owner.
const UNOWNED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Returns the fields that a write at a subresource, or at none, leaves unchanged.
pub(crate) fn reset_paths(of: &Type, subresource: &str) -> &'static [&'static [&'static str]] {
    match (of.group.as_str(), of.kind.as_str(), subresource) {
        ("certificates.k8s.io", "CertificateSigningRequest", "") => &[&["spec"], &["status"]],
        ("certificates.k8s.io", "CertificateSigningRequest", "status") => &[&["spec"], &["status", "conditions"]],
        ("certificates.k8s.io", "CertificateSigningRequest", "approval") => &[&["spec"], &["status", "certificate"]],
        (_, _, "" | "finalize") if of.has_status() => &[&["status"]],
        ("", "Pod", "status") => &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]],
        ("apps", "Deployment", "status") => &[&["spec"], &["metadata", "labels"]],
        ("" | "apps" | "batch" | "autoscaling" | "policy", _, "status") => &[&["spec"]],
        ("networking.k8s.io", "Ingress", "status") => &[&["spec"]],
        (_, _, "status") => &[&["metadata"], &["spec"]],
        _ => &[],
    }
}

fn reset(of: &Type, subresource: &str) -> Fields {
    Fields::of_paths(reset_paths(of, subresource))
}

/// Records in `new` the fields that `writer` changed since `old`, or all of them for a new object. Other managers lose
/// the fields that changed. An object without owners stays so until its first apply.
pub(crate) fn track(writer: &Writer, of: &Type, old: Option<&Value>, new: &mut Value) {
    let mut all = match old {
        Some(old) if !writer.subresource.is_empty() => entries(old),
        _ if forgets(new) => Vec::new(),
        old => Some(entries(new)).filter(|all| !all.is_empty()).or_else(|| old.map(entries)).unwrap_or_default(),
    };
    let untracked = old.is_some() && all.is_empty();
    if !untracked {
        update(writer, of, old, new, &mut all);
        join_ancient(&mut all);
    }
    set_entries(new, all);
}

fn update(writer: &Writer, of: &Type, old: Option<&Value>, new: &Value, all: &mut Vec<Entry>) {
    let nothing = form::nothing(of);
    let difference = typed::compare(TypeRef::of(of), Some(old.unwrap_or(&nothing)), Some(new));
    let Difference { mut written, removed } = difference.without(&reset(of, &writer.subresource));
    for entry in &mut *all {
        entry.fields.remove(&written);
        entry.fields.remove(&removed);
    }
    all.retain(|entry| !entry.fields.is_empty());
    written.remove(&Fields::of_paths(UNOWNED));
    if written.is_empty() {
        return;
    }
    match all.iter_mut().find(|entry| !entry.apply && entry.writer == *writer) {
        Some(entry) => {
            entry.fields.add(&written);
            entry.time = now();
        }
        None => all.push(Entry { writer: writer.clone(), apply: false, time: now(), fields: written }),
    }
}

/// Records the fields of an object that is answered and not stored. Its kind need not be that of a stored type.
pub(crate) fn track_answer(writer: &Writer, value: &mut Value) {
    let kind = value["kind"].as_str().unwrap_or_default();
    let type_ref = types::of_kind(&writer.api_version, kind).map_or(TypeRef::Open, |(_, known)| TypeRef::Root(known));
    let mut nothing = json!({});
    form::keep_as(&writer.api_version, kind, &mut nothing);
    let mut fields = typed::compare(type_ref, Some(&nothing), Some(value)).written;
    fields.remove(&Fields::of_paths(UNOWNED));
    set_entries(value, vec![Entry { writer: writer.clone(), apply: false, time: now(), fields }]);
}

/// A field that another manager owns.
#[derive(Debug)]
pub(crate) struct Conflict {
    /// The other manager, as in errors.
    pub(crate) with: String,
    pub(crate) fields: Fields,
}

/// Applies `config` to `live`, and records the fields.
///
/// # Errors
/// Returns the fields that other managers own, unless the apply is forced.
pub(crate) fn apply(
    writer: &Writer,
    of: &Type,
    live: Option<&Value>,
    config: &Value,
    force: bool,
) -> Result<Value, Vec<Conflict>> {
    let nothing = form::nothing(of);
    let mut all = live.map(entries).unwrap_or_default();
    if let Some(live) = live.filter(|_| all.is_empty()) {
        let before = Writer { manager: BEFORE.to_owned(), ..writer.clone() };
        update(&before, of, None, live, &mut all);
        join_ancient(&mut all);
    }
    let before = live.unwrap_or(&nothing);
    let mut applied = try_apply(writer, of, before, config, all.clone(), force);
    if let Err(conflicts) = &mut applied
        && writer.manager == KUBECTL
        && let Some(allowed) = last_applied(of, before)
    {
        conflicts.iter_mut().for_each(|conflict| conflict.fields.remove(&allowed));
        conflicts.retain(|conflict| !conflict.fields.is_empty());
        if conflicts.is_empty() {
            applied = try_apply(writer, of, before, config, all, true);
        }
    }
    let mut new = applied?;
    if writer.manager == KUBECTL {
        renew_last_applied(config, &mut new);
    }
    Ok(new)
}

fn try_apply(
    writer: &Writer,
    of: &Type,
    live: &Value,
    config: &Value,
    mut all: Vec<Entry>,
    force: bool,
) -> Result<Value, Vec<Conflict>> {
    let (type_ref, reset) = (TypeRef::of(of), reset(of, &writer.subresource));
    let mut new = typed::merge(type_ref, Some(live), Some(config)).unwrap_or_default();
    let mut set = typed::field_set(type_ref, config);
    set.remove_whole(&reset);
    let mine = all.iter().position(|entry| entry.is_applied_by(writer)).map(|at| all.remove(at));
    if let Some(last) = mine.as_ref().map(|mine| &mine.fields) {
        let mut owned = set.clone();
        all.iter().for_each(|entry| owned.add(&entry.fields));
        new = pruned(type_ref, &new, last, &owned);
    }
    let Difference { written, removed } = typed::compare(type_ref, Some(live), Some(&new)).without(&reset);
    let conflicts: Vec<Conflict> = all
        .iter()
        .map(|entry| Conflict { with: entry.shown(), fields: entry.fields.common(&written) })
        .filter(|conflict| !conflict.fields.is_empty())
        .collect();
    if !force && !conflicts.is_empty() {
        return Err(conflicts);
    }
    for entry in &mut all {
        entry.fields.remove(&written);
        entry.fields.remove(&removed);
    }
    set.remove(&Fields::of_paths(UNOWNED));
    let time = if new == *live { mine.map(|mine| mine.time).unwrap_or_default() } else { now() };
    all.push(Entry { writer: writer.clone(), apply: true, time, fields: set });
    set_entries(&mut new, all);
    Ok(new)
}

/// Returns `merged` without the fields that this manager applied last and nobody owns now. Fields below them go too,
/// except for those with owners, and for items that the manager never had.
fn pruned(type_ref: TypeRef<'_>, merged: &Value, last: &Fields, owned: &Fields) -> Value {
    let declared = |value: &Value| typed::field_set(type_ref, value).with_declared(type_ref);
    let last = last.with_declared(type_ref);
    let all = declared(merged);
    let mut kept = declared(&typed::without(type_ref, merged, &last));
    kept.add(&owned.with_declared(type_ref));
    let mut gone = all.clone();
    gone.remove(&kept);
    let left = declared(&typed::without(type_ref, merged, &gone));
    let mut gone = all;
    gone.remove(&left);
    typed::without(type_ref, merged, &gone.common(&last))
}

/// Returns the fields that `kubectl apply` set and that still have its values. A server-side apply by kubectl may take
/// them.
fn last_applied(of: &Type, live: &Value) -> Option<Fields> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last["apiVersion"] != of.api_version() {
        return None;
    }
    let type_ref = TypeRef::of(of);
    let mut fields = typed::field_set(type_ref, &last);
    let difference = typed::compare(type_ref, Some(&last), Some(live));
    fields.remove(&difference.written);
    fields.remove(&difference.removed);
    Some(fields)
}

/// Updates the annotation of `kubectl apply`, if there is one.
fn renew_last_applied(config: &Value, new: &mut Value) {
    let Some(annotation) = new.pointer_mut("/metadata/annotations").and_then(|all| all.get_mut(LAST_APPLIED)) else {
        return;
    };
    if annotation.as_str().is_none_or(str::is_empty) {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(LAST_APPLIED);
    }
    *annotation = format!("{config}\n").into();
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::model::resources::built_in;
    use crate::rules::entries::UPDATE_MANAGERS;

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
        assert_eq!(fields_of(&value, "m"), expected);
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
