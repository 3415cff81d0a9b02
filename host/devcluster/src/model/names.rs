//! The rules for names, labels and annotations that all types share.

use attache_base::names::{MAX_LABEL, MAX_SUBDOMAIN, has_label_form, has_qualified_form, has_subdomain_form};
use serde_json::{Map, Value};

use crate::model::resources::Type;
use crate::model::status::StatusCause;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
     '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SERVICE_LABEL: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with \
     an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
     with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
     '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex \
     used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
     'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";

/// The largest total size of an object's annotations, in bytes.
const ANNOTATIONS_LONGEST: usize = 256 * 1024;

/// Returns the faults of an object's name, by the rule of its type.
pub(crate) fn name(of: &Type, name: &str) -> Vec<StatusCause> {
    let invalid = |rule: &str| vec![StatusCause::invalid("metadata.name", &name.into(), rule)];
    let too_long = |most: usize| invalid(&format!("must be no more than {most} bytes"));
    match (of.group.as_str(), of.kind.as_str()) {
        ("rbac.authorization.k8s.io", _) => path_segment(name).map_or_else(Vec::new, |rule| invalid(&rule)),
        ("", "Namespace") if name.len() > MAX_LABEL => too_long(MAX_LABEL),
        ("", "Service") if name.len() > MAX_LABEL => too_long(MAX_LABEL),
        ("", "Namespace") if !has_label_form(name) => invalid(LABEL),
        ("", "Service") if !has_label_form(name) || name.starts_with(|c: char| c.is_ascii_digit()) => {
            invalid(SERVICE_LABEL)
        }
        _ if name.len() > MAX_SUBDOMAIN => too_long(MAX_SUBDOMAIN),
        _ if !has_subdomain_form(name) => invalid(SUBDOMAIN),
        _ => Vec::new(),
    }
}

/// Returns the reason why a text cannot be one segment of a path.
fn path_segment(name: &str) -> Option<String> {
    match name {
        "." | ".." => Some(format!("may not be '{name}'")),
        _ => ['/', '%'].into_iter().find(|c| name.contains(*c)).map(|c| format!("may not contain '{c}'")),
    }
}

/// Checks the key of a label, an annotation or a selector.
pub(crate) fn label_key(field: &str, key: &str) -> Result<(), StatusCause> {
    let invalid = |rule: &str| Err(StatusCause::invalid(field, &key.into(), rule));
    let (prefix, name) = match key.split_once('/') {
        Some((_, rest)) if rest.contains('/') => {
            return invalid(
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                 with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for \
                 validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and \
                 '/' (e.g. 'example.com/MyName')",
            );
        }
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    if prefix.is_some_and(str::is_empty) {
        return invalid("prefix part must be non-empty");
    }
    if prefix.is_some_and(|prefix| !has_subdomain_form(prefix)) {
        return invalid(&format!("prefix part {SUBDOMAIN}"));
    }
    if name.is_empty() {
        return invalid("name part must be non-empty");
    }
    if name.len() > MAX_LABEL {
        return invalid("name part must be no more than 63 bytes");
    }
    if has_qualified_form(name) { Ok(()) } else { invalid(QUALIFIED) }
}

/// Returns the faults of the labels and annotations below `path`.
pub(crate) fn metadata(path: &str, metadata: &Value) -> Vec<StatusCause> {
    let empty = Map::new();
    let of = |name: &str| metadata.get(name).and_then(Value::as_object).unwrap_or(&empty);
    let mut causes = Vec::new();
    let field = format!("{path}.labels");
    for (key, value) in of("labels") {
        causes.extend(label_key(&field, key).err());
        causes.extend(label_value(&field, value.as_str().unwrap_or_default()));
    }
    let field = format!("{path}.annotations");
    for key in of("annotations").keys() {
        causes.extend(label_key(&field, &key.to_ascii_lowercase()).err());
    }
    for owner in metadata.get("ownerReferences").and_then(Value::as_array).into_iter().flatten() {
        for name in ["apiVersion", "kind", "name", "uid"] {
            if owner.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                let at = if name == "apiVersion" { "version" } else { name };
                causes.push(StatusCause::invalid(
                    format!("{path}.ownerReferences.{at}"),
                    &"".into(),
                    "must not be empty",
                ));
            }
        }
    }
    let size: usize = of("annotations").iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_LONGEST {
        causes.push(StatusCause {
            reason: "FieldValueTooLong",
            message: format!("Too long: may not be more than {ANNOTATIONS_LONGEST} bytes"),
            field,
        });
    }
    causes
}

fn label_value(field: &str, value: &str) -> Option<StatusCause> {
    let rule = if value.len() > MAX_LABEL {
        "must be no more than 63 bytes"
    } else if value.is_empty() || has_qualified_form(value) {
        return None;
    } else {
        LABEL_VALUE
    };
    Some(StatusCause::invalid(field, &value.into(), rule))
}

/// Returns the fault of a key of a `ConfigMap` or a Secret.
pub(crate) fn config_key(field: &str, key: &str) -> Option<StatusCause> {
    let fits = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    let rule = match key {
        "." | ".." => format!("must not be '{key}'"),
        _ if key.len() > MAX_SUBDOMAIN => format!("must be no more than {MAX_SUBDOMAIN} bytes"),
        _ if fits && key.starts_with("..") => "must not start with '..'".to_owned(),
        _ if fits => return None,
        _ => CONFIG_KEY.to_owned(),
    };
    Some(StatusCause::invalid(format!("{field}[{key}]"), &key.into(), &rule))
}
