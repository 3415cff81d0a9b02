//! The volumes of a pod.

use std::collections::BTreeSet;

use super::cause::{Causes, Field};
use super::downward::{self, VOLUME_FIELDS};
use super::names;

/// The permission bits that a mode may have.
const MAX_MODE: i64 = 0o777;

const MODE_RULE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// The shortest and the longest life of a projected token, in seconds.
const TOKEN_SECONDS: std::ops::RangeInclusive<i64> = 600..=1 << 32;

/// Judges all volumes and returns the names of the valid ones. A mount of an invalid volume is reported as not found,
/// as by the server.
pub(super) fn check<'a>(spec: &Field<'a>, causes: &mut Causes) -> BTreeSet<&'a str> {
    let mut sound = BTreeSet::new();
    for volume in spec.child("volumes").items() {
        let before = causes.len();
        source(&volume, causes);
        let name = volume.child("name");
        let text = name.text_or_empty();
        if text.is_empty() {
            causes.required(&name, "");
        } else {
            causes.broken(&name, text, names::label(text));
        }
        if sound.contains(text) {
            causes.duplicate(&name, text);
        }
        if causes.len() == before {
            sound.insert(text);
        }
    }
    sound
}

/// Judges the source of a volume: none means `emptyDir`, and two are refused.
fn source(volume: &Field<'_>, causes: &mut Causes) {
    let fields = volume.value.as_object().into_iter().flatten();
    let given: Vec<_> =
        fields.filter(|(name, value)| *name != "name" && !value.is_null()).map(|(name, _)| name).collect();
    for extra in given.iter().skip(1) {
        causes.forbidden(&volume.child(extra), "may not specify more than 1 volume type");
    }
    let Some(kind) = given.first() else { return };
    let field = volume.child(kind);
    match kind.as_str() {
        "downwardAPI" => downward_api(&field, causes),
        "projected" => projected(&field, causes),
        "configMap" => keys(&field, "name", causes),
        "secret" => keys(&field, "secretName", causes),
        _ => {}
    }
}

fn downward_api(field: &Field<'_>, causes: &mut Causes) {
    mode(&field.child("defaultMode"), causes);
    for item in field.anonymous_items("items") {
        downward_file(&item, causes);
    }
}

fn downward_file(item: &Field<'_>, causes: &mut Causes) {
    file_path(&item.child("path"), true, causes);
    let (field_ref, resource) = (item.child("fieldRef"), item.child("resourceFieldRef"));
    if field_ref.is_given() {
        downward::field_ref(&field_ref, &VOLUME_FIELDS, causes);
        if resource.is_given() {
            causes.invalid(item, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
        }
    } else if resource.is_given() {
        downward::resource_field_ref(&resource, true, causes);
    } else {
        causes.required(item, "one of fieldRef and resourceFieldRef is required");
    }
    mode(&item.child("mode"), causes);
}

/// Judges a `configMap` or a `secret`: its object and its keys.
fn keys(field: &Field<'_>, name: &str, causes: &mut Causes) {
    let name = field.child(name);
    if name.text_or_empty().is_empty() {
        causes.required(&name, "");
    }
    mode(&field.child("defaultMode"), causes);
    for item in field.child("items").items() {
        key_to_path(&item, causes);
    }
}

fn key_to_path(item: &Field<'_>, causes: &mut Causes) {
    let key = item.child("key");
    if key.text_or_empty().is_empty() {
        causes.required(&key, "");
    }
    file_path(&item.child("path"), true, causes);
    mode(&item.child("mode"), causes);
}

fn projected(field: &Field<'_>, causes: &mut Causes) {
    mode(&field.child("defaultMode"), causes);
    let mut paths = BTreeSet::new();
    for source in field.child("sources").items() {
        projection(field, &source, &mut paths, causes);
        if source.value.as_object().is_some_and(|kinds| kinds.values().filter(|value| !value.is_null()).count() > 1) {
            causes.forbidden(&source, "may not specify more than 1 volume type");
        }
    }
}

fn projection<'a>(volume: &Field<'a>, source: &Field<'a>, paths: &mut BTreeSet<&'a str>, causes: &mut Causes) {
    for kind in ["secret", "configMap"] {
        let field = source.child(kind);
        let name = field.child("name");
        if field.is_given() && name.text_or_empty().is_empty() {
            causes.required(&name, "");
        }
        for item in field.child("items").items() {
            key_to_path(&item, causes);
            once(volume, &item, name.text_or_empty(), paths, causes);
        }
    }
    for item in source.child("downwardAPI").anonymous_items("items") {
        downward_file(&item, causes);
        once(volume, &item, item.child("path").text_or_empty(), paths, causes);
    }
    let token = source.child("serviceAccountToken");
    if token.is_given() {
        service_account_token(volume, &token, causes);
    }
}

/// Refuses two sources of a projected volume that write one file. The server shows `shown` as the bad value.
fn once<'a>(volume: &Field<'a>, item: &Field<'a>, shown: &str, paths: &mut BTreeSet<&'a str>, causes: &mut Causes) {
    let path = item.child("path").text_or_empty();
    if !path.is_empty() && !paths.insert(path) {
        causes.invalid(volume, shown, "conflicting duplicate paths");
    }
}

fn service_account_token(volume: &Field<'_>, token: &Field<'_>, causes: &mut Causes) {
    let seconds = token.child("expirationSeconds");
    match seconds.value.as_i64() {
        Some(life) if life < *TOKEN_SECONDS.start() => {
            causes.invalid(&seconds, &life, "may not specify a duration less than 10 minutes");
        }
        Some(life) if life > *TOKEN_SECONDS.end() => {
            causes.invalid(&seconds, &life, "may not specify a duration larger than 2^32 seconds");
        }
        _ => {}
    }
    // The server reports these two as fields of the volume itself.
    let path = token.child("path").reported_below(volume, "path");
    if path.text_or_empty().is_empty() {
        causes.required(&path, "");
    } else {
        file_path(&path, true, causes);
    }
}

fn mode(field: &Field<'_>, causes: &mut Causes) {
    if let Some(mode) = field.value.as_i64().filter(|mode| !(0..=MAX_MODE).contains(mode)) {
        causes.invalid(field, &mode, MODE_RULE);
    }
}

/// Judges a path below a volume. With `reserved`, names that start with `..` belong to the kubelet.
pub(super) fn file_path(field: &Field<'_>, reserved: bool, causes: &mut Causes) {
    let path = field.text_or_empty();
    if path.is_empty() {
        causes.required(field, "");
    }
    if path.starts_with('/') {
        causes.invalid(field, path, "must be a relative path");
    }
    if path.split('/').any(|element| element == "..") {
        causes.invalid(field, path, "must not contain '..'");
    }
    if reserved && path.starts_with("..") && !path.starts_with("../") {
        causes.invalid(field, path, "must not start with '..'");
    }
}
