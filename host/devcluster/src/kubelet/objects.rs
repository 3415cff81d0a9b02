//! The config maps and secrets that a pod refers to.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::client::{Client, ClientError};
use super::pod::{ContentError, Pod, text};

/// A type of object that holds data by key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

/// The objects as they were read, by kind and name; `None` for a missing one.
#[derive(Debug, Default)]
pub(super) struct Objects(BTreeMap<(Kind, String), Option<Value>>);

impl Objects {
    /// Reads all objects that the pod refers to.
    pub(super) async fn read(client: &Client, pod: &Pod<'_>) -> Result<Self, ClientError> {
        let namespace = pod.text("/metadata/namespace");
        let mut objects = BTreeMap::new();
        for (kind, name) in named(pod) {
            let found = client.find(&format!("/api/v1/namespaces/{namespace}/{}s/{name}", kind.name())).await?;
            objects.insert((kind, name.to_owned()), found);
        }
        Ok(Self(objects))
    }

    #[cfg(test)]
    pub(super) fn of(list: &[(Kind, &str, Value)]) -> Self {
        Self(list.iter().map(|(kind, name, object)| ((*kind, (*name).to_owned()), Some(object.clone()))).collect())
    }

    /// Returns the data of an object, all keys; nothing if the object is optional and missing.
    pub(super) fn data(
        &self,
        kind: Kind,
        name: &str,
        optional: bool,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, ContentError> {
        let Some(object) = self.object(kind, name, optional)? else { return Ok(None) };
        decode(kind, name, object).map(Some)
    }

    /// Returns the data of an object that a variable may take: all of a Secret's data, and the text of a `ConfigMap`.
    pub(super) fn data_for_env(
        &self,
        kind: Kind,
        name: &str,
        optional: bool,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, ContentError> {
        let Some(object) = self.object(kind, name, optional)? else { return Ok(None) };
        match kind {
            Kind::Secret => decode(kind, name, object).map(Some),
            Kind::ConfigMap => Ok(Some(texts(object))),
        }
    }

    fn object(&self, kind: Kind, name: &str, optional: bool) -> Result<Option<&Value>, ContentError> {
        match self.0.get(&(kind, name.to_owned())) {
            Some(Some(object)) => Ok(Some(object)),
            _ if optional => Ok(None),
            _ => Err(ContentError::NoObject { kind: kind.name(), name: name.into() }),
        }
    }
}

/// Returns the entries of an object's `data` as bytes.
fn texts(object: &Value) -> BTreeMap<String, Vec<u8>> {
    let entries = object.get("data").and_then(Value::as_object).into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().into())).collect()
}

fn decode(kind: Kind, name: &str, object: &Value) -> Result<BTreeMap<String, Vec<u8>>, ContentError> {
    let entries = |field| object.get(field).and_then(Value::as_object).into_iter().flatten();
    let bad = |key: &String| ContentError::BadData {
        kind: kind.name(),
        name: name.into(),
        key: key.clone(),
        fault: "not base64",
    };
    let coded = |(key, value): (&String, &Value)| {
        let bytes = STANDARD.decode(value.as_str().unwrap_or_default()).map_err(|_| bad(key))?;
        Ok((key.clone(), bytes))
    };
    match kind {
        Kind::Secret => entries("data").map(coded).collect(),
        Kind::ConfigMap => texts(object).into_iter().map(Ok).chain(entries("binaryData").map(coded)).collect(),
    }
}

/// Returns the names of all objects that volumes and env of the pod refer to.
fn named<'a>(pod: &Pod<'a>) -> BTreeSet<(Kind, &'a str)> {
    let volumes = pod.list("/spec/volumes").iter().flat_map(|volume| {
        let projected = volume.pointer("/projected/sources").and_then(Value::as_array).into_iter().flatten();
        let direct = [name_at(volume, "/configMap/name"), name_at(volume, "/secret/secretName")];
        let sources =
            projected.flat_map(|source| [name_at(source, "/configMap/name"), name_at(source, "/secret/name")]);
        direct.into_iter().chain(sources)
    });
    let containers = pod.containers().flat_map(|container| {
        let each = |field| container.get(field).and_then(Value::as_array).into_iter().flatten();
        let keys = each("env").flat_map(|variable| {
            [name_at(variable, "/valueFrom/configMapKeyRef/name"), name_at(variable, "/valueFrom/secretKeyRef/name")]
        });
        keys.chain(
            each("envFrom").flat_map(|from| [name_at(from, "/configMapRef/name"), name_at(from, "/secretRef/name")]),
        )
    });
    volumes.chain(containers).flatten().collect()
}

fn name_at<'a>(value: &'a Value, pointer: &str) -> Option<(Kind, &'a str)> {
    let kind = if pointer.contains("secret") { Kind::Secret } else { Kind::ConfigMap };
    let name = value.pointer(pointer)?.as_str()?;
    // An invalid name must not become another path of the API.
    let sound = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    (sound && !name.is_empty() && !name.starts_with('.')).then_some((kind, name))
}

/// Returns whether a reference is marked optional.
pub(super) fn is_optional(reference: &Value) -> bool {
    reference.get("optional").and_then(Value::as_bool).unwrap_or(false)
}

/// Returns one key of one object, as text for an env variable; nothing if the key is optional and missing.
pub(super) fn key_text(objects: &Objects, kind: Kind, reference: &Value) -> Result<Option<String>, ContentError> {
    let (name, key, optional) = (text(reference, "name"), text(reference, "key"), is_optional(reference));
    let Some(mut data) = objects.data_for_env(kind, name, optional)? else { return Ok(None) };
    match data.remove(key) {
        Some(bytes) => String::from_utf8(bytes).map(Some).map_err(|_| ContentError::BadData {
            kind: kind.name(),
            name: name.into(),
            key: key.into(),
            fault: "not UTF-8",
        }),
        None if optional => Ok(None),
        None => Err(ContentError::NoKey { kind: kind.name(), name: name.into(), key: key.into() }),
    }
}
