//! The content of a pod's volumes, as pure functions of what was read from the API.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::objects::{Kind, Objects, is_optional};
use super::pod::{ContentError, Pod, text};
use super::token::{Ask, Tokens};
use crate::volume::{FileProjection, RelativePath};

/// The mode of a file when neither item nor volume gives one: what the API server fills in.
const DEFAULT_MODE: u32 = 0o644;

/// The files of one volume.
pub(super) type Files = BTreeMap<RelativePath, FileProjection>;

/// Everything that volumes are made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) pod: Pod<'a>,
    pub(super) objects: &'a Objects,
    pub(super) tokens: &'a Tokens,
}

/// A volume's kind as far as its place on disk goes; the plugin names are the real kubelet's directories.
pub(super) fn plugin(volume: &Value) -> Result<&'static str, ContentError> {
    let given = volume.as_object().into_iter().flatten().find(|(name, value)| *name != "name" && !value.is_null());
    match given.map_or("emptyDir", |(name, _)| name.as_str()) {
        "emptyDir" => Ok("kubernetes.io~empty-dir"),
        "downwardAPI" => Ok("kubernetes.io~downward-api"),
        "projected" => Ok("kubernetes.io~projected"),
        "configMap" => Ok("kubernetes.io~configmap"),
        "secret" => Ok("kubernetes.io~secret"),
        kind => Err(ContentError::Kind { volume: text(volume, "name").into(), kind: kind.into() }),
    }
}

/// Where a volume is below the pod's directory.
pub(super) fn directory(volume: &Value) -> Result<PathBuf, ContentError> {
    Ok(["volumes", plugin(volume)?, text(volume, "name")].iter().collect())
}

/// The files of a volume; nothing for an `emptyDir`, which is the containers' own.
pub(super) fn files(volume: &Value, sources: Sources<'_>) -> Result<Option<Files>, ContentError> {
    let given = |kind| volume.get(kind).filter(|source| !source.is_null());
    let mut files = Files::new();
    if let Some(source) = given("downwardAPI") {
        downward(source, mode(source, "defaultMode", DEFAULT_MODE), sources, &mut files)?;
    } else if let Some(source) = given("configMap") {
        let mode = mode(source, "defaultMode", DEFAULT_MODE);
        keys(Kind::ConfigMap, text(source, "name"), source, mode, sources, &mut files)?;
    } else if let Some(source) = given("secret") {
        let mode = mode(source, "defaultMode", DEFAULT_MODE);
        keys(Kind::Secret, text(source, "secretName"), source, mode, sources, &mut files)?;
    } else if let Some(source) = given("projected") {
        projected(source, sources, &mut files)?;
    } else {
        return Ok(None);
    }
    Ok(Some(files))
}

fn projected(source: &Value, sources: Sources<'_>, files: &mut Files) -> Result<(), ContentError> {
    let mode = mode(source, "defaultMode", DEFAULT_MODE);
    for part in each(source, "sources") {
        for (kind, field) in [(Kind::ConfigMap, "configMap"), (Kind::Secret, "secret")] {
            if let Some(part) = part.get(field).filter(|part| !part.is_null()) {
                keys(kind, text(part, "name"), part, mode, sources, files)?;
            }
        }
        if let Some(part) = part.get("downwardAPI") {
            downward(part, mode, sources, files)?;
        }
        if let Some(part) = part.get("serviceAccountToken").filter(|part| !part.is_null()) {
            let token = sources.tokens.get(&Ask::from_source(part))?;
            add(files, text(part, "path"), token.as_bytes().to_vec(), mode)?;
        }
    }
    Ok(())
}

fn downward(source: &Value, default: u32, sources: Sources<'_>, files: &mut Files) -> Result<(), ContentError> {
    for item in each(source, "items") {
        let value = match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(field), _) if !field.is_null() => sources.pod.field(text(field, "fieldPath"))?,
            (_, Some(resource)) => sources.pod.resource(resource, "")?,
            _ => String::new(),
        };
        add(files, text(item, "path"), value.into_bytes(), mode(item, "mode", default))?;
    }
    Ok(())
}

/// The keys of an object: all of them, or those that the items name, under the paths that they give.
fn keys(
    kind: Kind,
    name: &str,
    source: &Value,
    default: u32,
    sources: Sources<'_>,
    files: &mut Files,
) -> Result<(), ContentError> {
    let optional = is_optional(source);
    let Some(mut data) = sources.objects.data(kind, name, optional)? else { return Ok(()) };
    let items: Vec<_> = each(source, "items").collect();
    if items.is_empty() {
        return data.into_iter().try_for_each(|(key, bytes)| add(files, &key, bytes, default));
    }
    for item in items {
        let key = text(item, "key");
        match data.remove(key) {
            Some(bytes) => add(files, text(item, "path"), bytes, mode(item, "mode", default))?,
            None if optional => {}
            None => return Err(ContentError::NoKey { kind: kind.name(), name: name.into(), key: key.into() }),
        }
    }
    Ok(())
}

fn add(files: &mut Files, path: &str, data: Vec<u8>, mode: u32) -> Result<(), ContentError> {
    files.insert(RelativePath::new(path)?, FileProjection { data, mode });
    Ok(())
}

fn each<'a>(value: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.get(list).and_then(Value::as_array).into_iter().flatten()
}

fn mode(value: &Value, field: &str, default: u32) -> u32 {
    value.get(field).and_then(Value::as_u64).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default)
}

/// The `downwardAPI` items of a volume, those of a projected one's sources included, as they stand in the spec.
pub(super) fn downward_items(volume: &Value) -> Vec<Value> {
    let parts = volume.pointer("/projected/sources").and_then(Value::as_array).into_iter().flatten();
    let parts = parts.filter_map(|part| part.get("downwardAPI")).chain(volume.get("downwardAPI"));
    parts.flat_map(|part| each(part, "items")).cloned().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::{Files, Sources, downward_items, files, plugin};
    use crate::devcluster::kubelet::objects::{Kind, Objects};
    use crate::devcluster::kubelet::pod::{Allocatable, ContentError, Pod};
    use crate::devcluster::kubelet::token::{Ask, Tokens};

    fn content(volume: &Value) -> Result<Option<Files>, ContentError> {
        let object = json!({"metadata": {"name": "p", "labels": {"a": "b"}},
            "spec": {"containers": [{"name": "main", "resources": {"limits": {"cpu": "250m"}}}]}});
        let objects = Objects::of(&[
            (Kind::ConfigMap, "c", json!({"data": {"one": "1", "two": "2"}, "binaryData": {"bin": "AP8="}})),
            (Kind::Secret, "s", json!({"data": {"k": "c2VjcmV0", "bad": "%"}})),
            (Kind::Secret, "sound", json!({"data": {"k": "c2VjcmV0"}})),
        ]);
        let mut tokens = Tokens::default();
        tokens.put(Ask { audience: "vault".into(), seconds: 600 }, "token-of-vault");
        let node = Allocatable::default();
        files(volume, Sources { pod: Pod { object: &object, node: &node }, objects: &objects, tokens: &tokens })
    }

    fn shown(volume: &Value) -> Vec<String> {
        let files = content(volume).unwrap().unwrap();
        let line = |(path, file): (_, &crate::volume::FileProjection)| {
            format!("{path} {:o} {}", file.mode, String::from_utf8_lossy(&file.data))
        };
        files.iter().map(line).collect()
    }

    #[test]
    fn each_kind_of_volume_has_its_files() {
        let table = [
            (
                json!({"downwardAPI": {"defaultMode": 256, "items": [
                    {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                    {"path": "deep/name", "mode": 511, "fieldRef": {"fieldPath": "metadata.name"}},
                    {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"}},
                ]}}),
                vec!["cpu 400 250", "deep/name 777 p", "labels 400 a=\"b\""],
            ),
            (json!({"configMap": {"name": "c"}}), vec!["bin 644 \0\u{fffd}", "one 644 1", "two 644 2"]),
            (
                json!({"configMap": {"name": "c", "defaultMode": 292, "items": [{"key": "one", "path": "x/y"}, {"key": "two", "path": "z", "mode": 384}]}}),
                vec!["x/y 444 1", "z 600 2"],
            ),
            (json!({"secret": {"secretName": "sound"}}), vec!["k 644 secret"]),
            (json!({"secret": {"secretName": "none", "optional": true}}), vec![]),
            (json!({"configMap": {"name": "c", "optional": true, "items": [{"key": "gone", "path": "g"}]}}), vec![]),
            (
                json!({"projected": {"defaultMode": 288, "sources": [
                    {"serviceAccountToken": {"path": "t/token", "audience": "vault", "expirationSeconds": 600}},
                    {"configMap": {"name": "c", "items": [{"key": "one", "path": "one", "mode": 420}]}},
                    {"secret": {"name": "sound"}},
                    {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
                ]}}),
                vec!["k 440 secret", "name 440 p", "one 644 1", "t/token 440 token-of-vault"],
            ),
        ];
        for (volume, expected) in table {
            assert_eq!(shown(&volume), expected, "{volume}");
        }
        assert_eq!(content(&json!({"emptyDir": {}})), Ok(None));
        assert_eq!(content(&json!({"name": "v"})), Ok(None));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let told = |volume: Value| content(&volume).unwrap_err().to_string();
        assert_eq!(told(json!({"configMap": {"name": "none"}})), "configmap \"none\" not found");
        assert_eq!(
            told(json!({"configMap": {"name": "c", "items": [{"key": "gone", "path": "g"}]}})),
            "configmap \"c\" has no key \"gone\""
        );
        assert_eq!(told(json!({"secret": {"secretName": "s"}})), "the data of secret \"s\" under \"bad\" is not base64");
        assert!(told(json!({"configMap": {"name": "c", "items": [{"key": "one", "path": "../x"}]}})).contains("'..'"));
        assert!(plugin(&json!({"name": "v", "hostPath": {"path": "/"}})).unwrap_err().to_string().contains("is of kind hostPath"));
    }

    #[test]
    fn the_items_of_a_volume_are_those_of_its_spec() {
        let items = |volume: Value| downward_items(&volume).iter().map(|item| item["path"].clone()).collect::<Vec<_>>();
        assert_eq!(items(json!({"downwardAPI": {"items": [{"path": "a"}]}})), ["a"]);
        assert_eq!(
            items(json!({"projected": {"sources": [{"downwardAPI": {"items": [{"path": "a"}]}}, {"secret": {}}, {"downwardAPI": {"items": [{"path": "b"}]}}]}})),
            ["a", "b"]
        );
        assert!(items(json!({"emptyDir": {}})).is_empty());
    }
}
