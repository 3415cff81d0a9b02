//! The rules for names. Each returns the messages of the rules that a text breaks, in the words of
//! `apimachinery/pkg/util/validation/validation.go`.

use attache_base::names::{MAX_LABEL, MAX_SUBDOMAIN, has_label_form, has_qualified_form, has_subdomain_form};

const LABEL_RULE: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
    must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
    or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const NAME_PART_RULE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const KEY_RULE: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  \
    or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const VARIABLE_RULE: &str =
    "a valid environment variable name must consist only of printable ASCII characters other than '='";

fn too_long(text: &str, most: usize) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} bytes"))
}

/// Judges a DNS label: the name of a container or a volume.
pub(super) fn label(text: &str) -> Vec<String> {
    let malformed = (!has_label_form(text)).then(|| LABEL_RULE.to_owned());
    too_long(text, MAX_LABEL).into_iter().chain(malformed).collect()
}

/// Judges a DNS subdomain: the name of most objects.
pub(super) fn subdomain(text: &str) -> Vec<String> {
    let malformed = (!has_subdomain_form(text)).then(|| SUBDOMAIN_RULE.to_owned());
    too_long(text, MAX_SUBDOMAIN).into_iter().chain(malformed).collect()
}

/// Judges a qualified name: the key of a label or an annotation.
pub(super) fn qualified(text: &str) -> Vec<String> {
    let (prefix, name) = match text.split_once('/') {
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a qualified name {NAME_PART_RULE} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    let mut broken = Vec::new();
    match prefix {
        Some("") => broken.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => broken.extend(subdomain(prefix).into_iter().map(|rule| format!("prefix part {rule}"))),
        None => {}
    }
    if name.is_empty() {
        broken.push("name part must be non-empty".to_owned());
    }
    broken.extend(too_long(name, MAX_LABEL).map(|rule| format!("name part {rule}")));
    if !has_qualified_form(name) {
        broken.push(format!("name part {NAME_PART_RULE}"));
    }
    broken
}

/// Judges a key of a `ConfigMap` or a Secret.
pub(super) fn config_key(text: &str) -> Vec<String> {
    let mut broken: Vec<_> = too_long(text, MAX_SUBDOMAIN).into_iter().collect();
    if text.is_empty() || !text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        broken.push(KEY_RULE.to_owned());
    }
    match text {
        "." | ".." => broken.push(format!("must not be '{text}'")),
        _ if text.starts_with("..") => broken.push("must not start with '..'".to_owned()),
        _ => {}
    }
    broken
}

/// Judges the name of an environment variable, by the relaxed rule in force since 1.32.
pub(super) fn variable(text: &str) -> Vec<String> {
    let fits = text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'=');
    if fits { Vec::new() } else { vec![VARIABLE_RULE.to_owned()] }
}
