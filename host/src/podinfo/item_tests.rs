//! The pod spec's notation as YAML, and the input that is refused.
#![allow(clippy::unwrap_used)]

use super::super::field::{Field, Map, Meaning};
use super::{EnvField, Item, ItemError, MAX_ITEMS, file_sources};

fn items(yaml: &str) -> Vec<Item> {
    serde_saphyr::from_str(yaml).unwrap()
}

fn fields(yaml: &str) -> Vec<EnvField> {
    serde_saphyr::from_str(yaml).unwrap()
}

/// Returns the error of the items with all its causes.
fn refusal(yaml: &str) -> String {
    chain(&file_sources(&items(yaml)).unwrap_err())
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    error.to_string() + &cause.unwrap_or_default()
}

#[test]
fn items_read_as_the_pod_spec_writes_them() {
    let sources = file_sources(&items(
        "
- {path: labels, fieldRef: {fieldPath: metadata.labels, apiVersion: v1}, mode: 256}
- {path: a/b, fieldRef: {fieldPath: \"metadata.annotations['k']\"}}
- {path: cpu, resourceFieldRef: {containerName: main, resource: requests.cpu, divisor: 1m}}
- {path: mem, resourceFieldRef: {containerName: main, resource: limits.memory, divisor: 1}}
",
    ))
    .unwrap();
    let paths: Vec<_> = sources.iter().map(|source| source.path.as_str()).collect();
    assert_eq!(paths, ["labels", "a/b", "cpu", "mem"]);
    assert_eq!(sources[1].meaning, Meaning::Field(Field::One(Map::Annotations, "k".to_owned())));
    let Meaning::Resource(bound) = &sources[2].meaning else { panic!("not a bound") };
    assert_eq!((bound.container.as_deref(), bound.unit), (Some("main"), 1));
}

#[test]
fn unknown_fields_are_refused() {
    let table = [
        "- {path: a, fieldref: {fieldPath: metadata.name}}",
        "- {path: a, fieldRef: {fieldPath: metadata.name, key: x}}",
        "- {path: a, resourceFieldRef: {container: main, resource: limits.cpu}}",
        "- {fieldRef: {fieldPath: metadata.name}}",
        "- {path: a, resourceFieldRef: {containerName: main, resource: limits.memory, divisor: 1ki}}",
        "- {path: a, mode: -1, fieldRef: {fieldPath: metadata.name}}",
    ];
    for yaml in table {
        assert!(serde_saphyr::from_str::<Vec<Item>>(yaml).is_err(), "{yaml}");
    }
    for yaml in ["- {name: A, valueFrom: {fieldRef: metadata.name}}", "- {name: A, from: x}", "- {value: x}"] {
        assert!(serde_saphyr::from_str::<Vec<EnvField>>(yaml).is_err(), "{yaml}");
    }
}

#[test]
fn items_that_an_api_server_refuses_are_refused_with_the_reason() {
    let table = [
        (
            "- {path: labels, fieldRef: {fieldPath: matadata.labels}}",
            "downwardAPI item \"labels\": field label not supported: matadata.labels",
        ),
        (
            "- {path: node, fieldRef: {fieldPath: spec.nodeName}}",
            "downwardAPI item \"node\": spec.nodeName is for variables, not for files",
        ),
        (
            "- {path: cpu, resourceFieldRef: {resource: limits.cpu}}",
            "downwardAPI item \"cpu\": containerName is required in a volume",
        ),
        (
            "- {path: cpu, resourceFieldRef: {containerName: a, resource: limits.cpu, divisor: 1Mi}}",
            "downwardAPI item \"cpu\": divisor 1Mi is not allowed for limits.cpu",
        ),
        ("- {path: a}", "downwardAPI item \"a\": exactly one of fieldRef and resourceFieldRef is required"),
        (
            "- {path: a, fieldRef: {fieldPath: metadata.name}}\n- {path: ./a, fieldRef: {fieldPath: metadata.uid}}",
            "two downwardAPI items have the path a",
        ),
        (
            "- {path: /a, fieldRef: {fieldPath: metadata.name}}",
            "path of a downwardAPI item: must be a relative path: \"/a\"",
        ),
        (
            "- {path: a/../b, fieldRef: {fieldPath: metadata.name}}",
            "path of a downwardAPI item: must not contain '..': \"a/../b\"",
        ),
        (
            "- {path: ..data, fieldRef: {fieldPath: metadata.name}}",
            "path of a downwardAPI item: must not start with '..': \"..data\"",
        ),
        (
            "- {path: \"\", fieldRef: {fieldPath: metadata.name}}",
            "path of a downwardAPI item: a path in a volume must not be empty",
        ),
    ];
    for (yaml, expected) in table {
        assert_eq!(refusal(yaml), expected, "{yaml}");
    }
}

#[test]
fn there_is_a_bound_on_items() {
    let item = |number| format!("- {{path: f{number}, fieldRef: {{fieldPath: metadata.name}}}}\n");
    let many: String = (0..=MAX_ITEMS).map(item).collect();
    assert_eq!(file_sources(&items(&many)), Err(ItemError::TooMany));
}

#[test]
fn a_literal_and_a_secret_tell_nothing_of_the_pod() {
    let env = fields(
        "
- {name: POD_NAME, value: me}
- {name: POD_UID, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
- {name: NODE_NAME, valueFrom: {configMapKeyRef: {name: c, key: k}}}
- {name: POD_IP}
",
    );
    for field in env {
        assert_eq!(field.meaning(), Ok(None), "{}", field.name);
    }
}

#[test]
fn a_variable_of_all_labels_is_refused() {
    let env = fields("- {name: LABELS, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}");
    let error = env[0].meaning().unwrap_err();
    assert_eq!(chain(&error), "variable \"LABELS\": metadata.labels is for files, not for variables");
}
