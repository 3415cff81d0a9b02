//! `metadata.managedFields`: the fields of each manager, and the changes of them by updates and by server-side apply.
//!
//! The rules are those of the field managers of apimachinery [`util/managedfields/internal`].

use serde_json::{Value, json};

use crate::model::form;
use crate::model::fresh::now;
use crate::model::resources::Type;
use crate::model::types::{self, Place};
use crate::rules::fields::Fields;
use crate::rules::typed::{self, Difference};

/// The managers that are kept apart, as a real server limits them; the oldest become one beyond that.
const UPDATE_MANAGERS: usize = 10;

/// The manager that stands for those that are not kept apart.
const ANCIENT: &str = "ancient-changes";

/// The manager of the fields that an object had before anybody was noted.
const BEFORE: &str = "before-first-apply";

/// The manager whose applies go together with the annotation of `kubectl apply`.
const KUBECTL: &str = "kubectl";

/// Where `kubectl apply` keeps what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The places that are nobody's.
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

/// Who writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) manager: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
    pub(crate) api_version: String,
}

/// One manager's entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) writer: Writer,
    pub(crate) apply: bool,
    /// Empty where the manager changed nothing.
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
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.json(),
        });
        if !self.time.is_empty() {
            entry["time"] = self.time.as_str().into();
        }
        if !self.writer.subresource.is_empty() {
            entry["subresource"] = self.writer.subresource.as_str().into();
        }
        entry
    }

    /// Returns whether this is the entry of `writer`'s applies. They stay one whatever version they are written in.
    fn is_applied_by(&self, writer: &Writer) -> bool {
        self.apply && self.writer.manager == writer.manager && self.writer.subresource == writer.subresource
    }

    /// As a conflict names the manager.
    pub(crate) fn shown(&self) -> String {
        let Writer { manager, subresource, api_version } = &self.writer;
        let with = if subresource.is_empty() { String::new() } else { format!(" with subresource {subresource:?}") };
        let using = if self.apply { String::new() } else { format!(" using {api_version}") };
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

/// The fields that a write at a subresource, or at none, leaves as they are, whatever it says of them.
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

/// Returns whether the client wants nobody to own anything: an empty list, or one empty entry.
fn forgets(value: &Value) -> bool {
    match value["metadata"]["managedFields"].as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    }
}

/// Notes in `new` what `writer` changed since `old`, or all of it where there was nothing. Fields of others that
/// changed are theirs no longer. An object of which nobody owns anything stays so until it is applied to.
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
    let difference = typed::compare(Place::of(of), Some(old.unwrap_or(&nothing)), Some(new));
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

/// Notes all of an object that is answered and not stored; its kind need not be that of a stored type.
pub(crate) fn track_answer(writer: &Writer, value: &mut Value) {
    let kind = value["kind"].as_str().unwrap_or_default();
    let place = types::of_kind(&writer.api_version, kind).map_or(Place::Open, |(_, known)| Place::Root(known));
    let mut nothing = json!({});
    form::keep_as(&writer.api_version, kind, &mut nothing);
    let mut fields = typed::compare(place, Some(&nothing), Some(value)).written;
    fields.remove(&Fields::of_paths(UNOWNED));
    set_entries(value, vec![Entry { writer: writer.clone(), apply: false, time: now(), fields }]);
}

/// A field that is somebody else's.
#[derive(Debug)]
pub(crate) struct Conflict {
    /// The entry as errors name it.
    pub(crate) with: String,
    pub(crate) fields: Fields,
}

/// What `config` makes of `live`, with the notes of it.
///
/// # Errors
/// The fields that others own, unless they are taken by force.
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
    let (place, reset) = (Place::of(of), reset(of, &writer.subresource));
    let mut new = typed::merge(place, Some(live), Some(config)).unwrap_or_default();
    let mut set = typed::field_set(place, config);
    set.remove_whole(&reset);
    let mine = all.iter().position(|entry| entry.is_applied_by(writer)).map(|at| all.remove(at));
    if let Some(last) = mine.as_ref().map(|mine| &mine.fields) {
        let mut owned = set.clone();
        all.iter().for_each(|entry| owned.add(&entry.fields));
        new = pruned(place, &new, last, &owned);
    }
    let Difference { written, removed } = typed::compare(place, Some(live), Some(&new)).without(&reset);
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

/// `merged` without what this manager applied last and nobody owns any more. What lies below a field that the manager
/// owned goes with it, but for what others own, and for items that the manager never had.
fn pruned(place: Place<'_>, merged: &Value, last: &Fields, owned: &Fields) -> Value {
    let declared = |value: &Value| typed::field_set(place, value).with_declared(place);
    let last = last.with_declared(place);
    let all = declared(merged);
    let mut kept = declared(&typed::without(place, merged, &last));
    kept.add(&owned.with_declared(place));
    let mut gone = all.clone();
    gone.remove(&kept);
    let left = declared(&typed::without(place, merged, &gone));
    let mut gone = all;
    gone.remove(&left);
    typed::without(place, merged, &gone.common(&last))
}

/// The fields that `kubectl apply` set and that are still as it set them: a server-side apply by kubectl may have them.
fn last_applied(of: &Type, live: &Value) -> Option<Fields> {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str().filter(|text| !text.is_empty())?;
    let last: Value = serde_json::from_str(text).ok()?;
    if last["apiVersion"] != of.api_version() {
        return None;
    }
    let place = Place::of(of);
    let mut fields = typed::field_set(place, &last);
    let difference = typed::compare(place, Some(&last), Some(live));
    fields.remove(&difference.written);
    fields.remove(&difference.removed);
    Some(fields)
}

/// Brings the annotation of `kubectl apply` up to date, where there is one.
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
