#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::{DocumentError, decodable, document, pod, pod_spec};
use crate::manifest;

/// Returns a pod with one container, one valid volume and its mount, changed by a merge patch.
fn changed(patch: &Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "main", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    }});
    let container = &mut object["spec"]["containers"][0];
    for (field, value) in patch["container"].as_object().into_iter().flatten() {
        container[field] = value.clone();
    }
    for (field, value) in patch["spec"].as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

fn told(patch: &Value) -> Vec<String> {
    pod(&changed(patch)).iter().map(ToString::to_string).collect()
}

fn with_volume(volume: &Value) -> Vec<String> {
    let causes = told(&json!({"spec": {"volumes": [volume]}, "container": {"volumeMounts": []}}));
    causes.into_iter().map(|cause| cause.replace("spec.volumes[0]", "V")).collect()
}

fn with_item(item: &Value) -> Vec<String> {
    with_volume(&json!({"name": "v", "downwardAPI": {"items": [item]}}))
}

fn with_env(variable: &Value) -> Vec<String> {
    let causes = told(&json!({"container": {"env": [variable]}}));
    causes.into_iter().map(|cause| cause.replace("spec.containers[0].env[0]", "E")).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_sound_pod_passes() {
    assert_eq!(told(&json!({})), NOTHING);
    assert_eq!(with_volume(&json!({"name": "v"})), NOTHING);
}

#[test]
fn files_take_the_fields_of_a_volume_and_variables_those_of_env() {
    let table = [
        ("metadata.name", true, true),
        ("metadata.namespace", true, true),
        ("metadata.uid", true, true),
        ("metadata.labels", true, false),
        ("metadata.annotations", true, false),
        ("metadata.labels['a.b/c']", true, true),
        ("metadata.annotations['Upper/Case']", true, true),
        ("spec.nodeName", false, true),
        ("spec.host", false, true),
        ("spec.serviceAccountName", false, true),
        ("status.hostIP", false, true),
        ("status.hostIPs", false, true),
        ("status.podIP", false, true),
        ("status.podIPs", false, true),
        ("spec.restartPolicy", false, false),
        ("status.phase", false, false),
        ("matadata.labels", false, false),
        ("metadata.name['x']", false, false),
        ("metadata.labels['']", false, false),
        ("metadata.labels['a b']", false, false),
        ("metadata.labels[x]", false, false),
    ];
    for (path, in_volume, in_env) in table {
        let reference = json!({"fieldPath": path});
        let file = with_item(&json!({"path": "f", "fieldRef": reference}));
        assert_eq!(file.is_empty(), in_volume, "{path} in a volume: {file:?}");
        let variable = with_env(&json!({"name": "A", "valueFrom": {"fieldRef": reference}}));
        assert_eq!(variable.is_empty(), in_env, "{path} in env: {variable:?}");
    }
}

#[test]
fn bad_fields_are_told_in_the_words_of_the_server() {
    let said = |path: &str| with_item(&json!({"path": "f", "fieldRef": {"fieldPath": path}}));
    assert_eq!(
        said("matadata.labels"),
        [
            "V.downwardAPI.fieldRef.fieldPath: Invalid value: \"matadata.labels\": error converting fieldPath: field label not supported: matadata.labels"
        ]
    );
    assert_eq!(
        said("spec.nodeName"),
        [
            "V.downwardAPI.fieldRef.fieldPath: Unsupported value: \"spec.nodeName\": supported values: \"metadata.annotations\", \"metadata.labels\", \"metadata.name\", \"metadata.namespace\", \"metadata.uid\""
        ]
    );
    assert_eq!(
        said("metadata.name['x']"),
        [
            "V.downwardAPI.fieldRef.fieldPath: Invalid value: \"metadata.name['x']\": error converting fieldPath: field label does not support subscript: metadata.name['x']"
        ]
    );
    assert_eq!(said(""), ["V.downwardAPI.fieldRef.fieldPath: Required value"]);
    assert!(
        said("metadata.labels['/x']")[0]
            .starts_with("V.downwardAPI.fieldRef: Invalid value: \"/x\": prefix part must be non-empty")
    );
    let version =
        with_env(&json!({"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v2", "fieldPath": "metadata.name"}}}));
    assert_eq!(
        version,
        [
            "E.valueFrom.fieldRef.fieldPath: Invalid value: \"metadata.name\": error converting fieldPath: unsupported pod version: v2"
        ]
    );
}

#[test]
fn resource_fields_name_container_resource_and_divisor() {
    let item = |reference: Value| with_item(&json!({"path": "f", "resourceFieldRef": reference}));
    let full = |resource: &str, divisor: &str| {
        item(json!({"containerName": "main", "resource": resource, "divisor": divisor}))
    };
    for (resource, divisor) in [
        ("limits.cpu", "1m"),
        ("requests.cpu", "1"),
        ("requests.cpu", "1000m"),
        ("limits.memory", "1Mi"),
        ("requests.memory", "1024Ki"),
        ("limits.ephemeral-storage", "1E"),
        ("requests.hugepages-2Mi", "1Ei"),
        ("limits.memory", "0"),
    ] {
        assert_eq!(full(resource, divisor), NOTHING, "{resource} / {divisor}");
    }
    assert_eq!(
        full("limits.cpu", "10m"),
        [
            "V.downwardAPI.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource"
        ]
    );
    assert_eq!(
        full("requests.memory", "2"),
        [
            "V.downwardAPI.resourceFieldRef.divisor: Invalid value: \"requests.memory\": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource"
        ]
    );
    assert!(full("limits.ephemeral-storage", "1m")[0].ends_with("supported with the local ephemeral storage resource"));
    assert!(full("limits.hugepages-2Mi", "1m")[0].ends_with("supported with the hugepages resource"));
    assert_eq!(
        full("limits.gpu", "1"),
        [
            "V.downwardAPI.resourceFieldRef.resource: Unsupported value: \"limits.gpu\": supported values: \"limits.cpu\", \"limits.ephemeral-storage\", \"limits.memory\", \"requests.cpu\", \"requests.ephemeral-storage\", \"requests.memory\""
        ]
    );
    assert_eq!(
        item(json!({"resource": "limits.cpu"})),
        ["V.downwardAPI.resourceFieldRef.containerName: Required value"]
    );
    assert_eq!(item(json!({"containerName": "main"})), ["V.downwardAPI.resourceFieldRef.resource: Required value"]);
    assert_eq!(with_env(&json!({"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}})), NOTHING);
}

#[test]
fn items_have_one_source_a_path_and_a_mode() {
    let table = [
        (json!({"path": "f"}), "V.downwardAPI: Required value: one of fieldRef and resourceFieldRef is required"),
        (
            json!({"path": "/f", "fieldRef": {"fieldPath": "metadata.name"}}),
            "V.downwardAPI.path: Invalid value: \"/f\": must be a relative path",
        ),
        (
            json!({"path": "a/../f", "fieldRef": {"fieldPath": "metadata.name"}}),
            "V.downwardAPI.path: Invalid value: \"a/../f\": must not contain '..'",
        ),
        (
            json!({"path": "..f", "fieldRef": {"fieldPath": "metadata.name"}}),
            "V.downwardAPI.path: Invalid value: \"..f\": must not start with '..'",
        ),
        (json!({"fieldRef": {"fieldPath": "metadata.name"}}), "V.downwardAPI.path: Required value"),
        (
            json!({"path": "f", "mode": 512, "fieldRef": {"fieldPath": "metadata.name"}}),
            "V.downwardAPI.mode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
        ),
        (
            json!({"path": "f", "fieldRef": {"fieldPath": "metadata.name"}, "resourceFieldRef": {}}),
            "V.downwardAPI: Invalid value: \"resource\": fieldRef and resourceFieldRef can not be specified simultaneously",
        ),
    ];
    for (item, expected) in table {
        assert_eq!(with_item(&item), [expected], "{item}");
    }
    let mode = with_volume(&json!({"name": "v", "downwardAPI": {"defaultMode": -1}}));
    assert_eq!(
        mode,
        ["V.downwardAPI.defaultMode: Invalid value: -1: must be a number between 0 and 0777 (octal), both inclusive"]
    );
}

#[test]
fn the_other_volumes_are_judged_too() {
    let table = [
        (json!({"name": "v", "configMap": {}}), vec!["V.configMap.name: Required value"]),
        (
            json!({"name": "v", "secret": {"secretName": "s", "items": [{"path": "p"}]}}),
            vec!["V.secret.items[0].key: Required value"],
        ),
        (
            json!({"name": "v", "emptyDir": {}, "secret": {"secretName": "s"}}),
            vec!["V.secret: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            json!({"name": "V_1"}),
            vec![
                "V.name: Invalid value: \"V_1\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            ],
        ),
        (json!({}), vec!["V.name: Required value"]),
        (
            json!({"name": "v", "projected": {"sources": [
                {"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                {"configMap": {"name": "c", "items": [{"key": "k", "path": "x"}]}},
                {"serviceAccountToken": {"expirationSeconds": 60, "path": "/t"}},
                {"secret": {}, "configMap": {"name": "c"}},
            ]}}),
            vec![
                "V.projected: Invalid value: \"c\": conflicting duplicate paths",
                "V.projected.sources[2].serviceAccountToken.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes",
                "V.projected.path: Invalid value: \"/t\": must be a relative path",
                "V.projected.sources[3].secret.name: Required value",
                "V.projected.sources[3]: Forbidden: may not specify more than 1 volume type",
            ],
        ),
    ];
    for (volume, expected) in table {
        assert_eq!(with_volume(&volume), expected, "{volume}");
    }
    let twice = told(&json!({"spec": {"volumes": [{"name": "v"}, {"name": "v"}]}}));
    assert_eq!(twice, ["spec.volumes[1].name: Duplicate value: \"v\""]);
}

#[test]
fn mounts_name_a_sound_volume_and_differ() {
    let mounts = |list: Value| told(&json!({"container": {"volumeMounts": list}}));
    assert_eq!(
        mounts(json!([{"name": "w", "mountPath": "/w"}])),
        ["spec.containers[0].volumeMounts[0].name: Not found: \"w\""]
    );
    assert_eq!(
        mounts(json!([{"name": "v", "mountPath": "/v"}, {"name": "v", "mountPath": "/v"}])),
        ["spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/v\": must be unique"]
    );
    assert_eq!(mounts(json!([{"name": "v"}])), ["spec.containers[0].volumeMounts[0].mountPath: Required value"]);
    assert_eq!(
        mounts(json!([{"name": "v", "mountPath": "/v", "subPath": "../x"}])),
        ["spec.containers[0].volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'"]
    );
}

#[test]
fn variables_have_a_name_and_one_source() {
    let one_of =
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
    let table = [
        (json!({"value": "x"}), "E.name: Required value".to_owned()),
        (json!({"name": "a=b"}), "E.name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()),
        (json!({"name": "A", "valueFrom": {}}), format!("E.valueFrom: Invalid value: \"\": {one_of}")),
        (
            json!({"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
            "E.valueFrom: Invalid value: \"\": may not be specified when `value` is not empty".to_owned(),
        ),
        (
            json!({"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}, "secretKeyRef": {"name": "s", "key": "k"}}}),
            "E.valueFrom: Invalid value: \"\": may not have more than one field specified at a time".to_owned(),
        ),
        (json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c"}}}), "E.valueFrom.configMapKeyRef.key: Required value".to_owned()),
    ];
    for (variable, expected) in table {
        assert_eq!(with_env(&variable), [expected], "{variable}");
    }
    assert_eq!(with_env(&json!({"name": "1 odd-but.allowed"})), NOTHING);
    let from = told(&json!({"container": {"envFrom": [{"configMapRef": {}}, {}]}}));
    assert_eq!(from[0], "spec.containers[0].envFrom[0].configMapRef.name: Required value");
    assert_eq!(
        from[1],
        "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`"
    );
}

#[test]
fn containers_have_distinct_names_and_sound_resources() {
    assert_eq!(told(&json!({"spec": {"containers": []}})), ["spec.containers: Required value"]);
    assert_eq!(
        told(&json!({"spec": {"initContainers": [{"name": "main", "image": "i"}]}})),
        ["spec.initContainers[0].name: Duplicate value: \"main\""]
    );
    assert_eq!(told(&json!({"container": {"image": ""}})), ["spec.containers[0].image: Required value"]);
    assert_eq!(
        told(&json!({"container": {"resources": {"limits": {"cpu": "100m"}, "requests": {"cpu": "0.2"}}}})),
        [
            "spec.containers[0].resources.requests: Invalid value: \"200m\": must be less than or equal to cpu limit of 100m"
        ]
    );
    assert_eq!(
        told(&json!({"container": {"resources": {"limits": {"memory": "-1"}}}})),
        ["spec.containers[0].resources.limits.memory: Invalid value: \"-1\": must be greater than or equal to 0"]
    );
}

#[test]
fn a_bad_quantity_anywhere_makes_the_object_unreadable() {
    let refused = |patch: Value| decodable(&changed(&patch)).unwrap_err();
    let error = refused(json!({"container": {"resources": {"requests": {"memory": "100ki"}}}}));
    assert_eq!(
        error.to_string(),
        "Pod in version \"v1\" cannot be handled as a Pod: unable to parse quantity's suffix"
    );
    assert_eq!(error.at, "spec.containers[0].resources.requests.memory");
    let error = refused(
        json!({"spec": {"volumes": [{"name": "v", "downwardAPI": {"items": [{"resourceFieldRef": {"divisor": ""}}]}}]}}),
    );
    assert!(error.to_string().contains("quantities must match the regular expression '^([+-]?[0-9.]+)"));
    assert_eq!(error.at, "spec.volumes[0].downwardAPI.items[0].resourceFieldRef.divisor");
    let template = json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": {"spec": {"overhead": {"cpu": "x"}}}}});
    assert!(
        decodable(&template)
            .unwrap_err()
            .to_string()
            .starts_with("Deployment in version \"v1\" cannot be handled as a Deployment: ")
    );
    assert_eq!(
        decodable(&changed(&json!({"container": {"resources": {"limits": {"cpu": 2, "memory": 1.5}}}}))),
        Ok(())
    );
}

#[test]
fn nothing_that_a_client_sends_makes_the_judge_stumble() {
    let odd = [json!(null), json!([]), json!("x"), json!(7), json!({"containers": "x", "volumes": {"a": 1}})];
    for spec in odd {
        let _ = pod_spec(&spec, "spec");
        let _ = decodable(&json!({"kind": "Pod", "spec": spec}));
    }
    let containers = json!({"containers": [null, [], {"name": 3, "env": [1], "resources": {"limits": [1]}, "volumeMounts": 9}], "volumes": [null, 1, {"projected": 3}]});
    assert!(!pod_spec(&containers, "spec").is_empty());
}

fn judged(name: &str) -> Result<(), DocumentError> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/manifests/seed").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    manifest::parse(&text, name).unwrap().iter().try_for_each(document)
}

#[test]
fn the_seeds_manifests_are_answered_as_by_a_real_server() {
    for name in ["dapi-volume.yaml", "dapi-volume-resources.yaml", "curl-with-ambassador.yaml"] {
        assert_eq!(judged(name), Ok(()), "{name}");
    }
    assert_eq!(
        judged("downward-env-cut.yaml").unwrap_err().to_string(),
        "downward-env-cut.yaml:13:17: Pod in version \"v1\" cannot be handled as a Pod: unable to parse quantity's suffix"
    );
    assert_eq!(
        judged("downward-volume-cut.yaml").unwrap_err().to_string(),
        "downward-volume-cut.yaml:40:22: spec.volumes[0].downwardAPI.fieldRef.fieldPath: Invalid value: \"matadata.labels\": error converting fieldPath: field label not supported: matadata.labels\n\
         downward-volume-cut.yaml:26:13: spec.containers[0].volumeMounts[0].name: Not found: \"downward\""
    );
}

#[test]
fn with_its_slips_mended_each_of_the_seeds_manifests_passes() {
    let mended = [("downward-env-cut.yaml", "100ki", "100Ki"), ("downward-volume-cut.yaml", "matadata", "metadata")];
    for (name, slip, right) in mended {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/manifests/seed").join(name);
        let text = std::fs::read_to_string(path).unwrap().replace(slip, right);
        let documents = manifest::parse(&text, name).unwrap();
        assert_eq!(documents.iter().try_for_each(document), Ok(()), "{name}");
    }
}
