//! One stored version of one object: its JSON, encoded once, and the fields that lists select on.
//!
//! The JSON begins with `kind` and `apiVersion`. A get then copies a pointer, and an item of a list (which leaves the
//! two out) is a slice of the same bytes.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::model::resources::Type;
use crate::model::versions;

/// A stored version of an object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) name: Box<str>,
    /// Empty for a cluster-scoped object.
    pub(crate) namespace: Box<str>,
    pub(crate) uid: Box<str>,
    pub(crate) revision: u64,
    /// True while the object waits for its finalizers or its grace period.
    pub(crate) deleting: bool,
    labels: Box<[(Box<str>, Box<str>)]>,
    /// The identities of its owners.
    pub(crate) owners: Box<[Box<str>]>,
    fields: Box<[(Box<str>, Box<str>)]>,
    json: Bytes,
    /// The length of `{"kind":…,"apiVersion":…,`, in bytes.
    head: usize,
    /// The position of the resource version's digits.
    digits: (usize, usize),
}

impl Object {
    /// Encodes `value` as revision `revision` of an object of the type `of`.
    pub(crate) fn build(of: &Type, value: &Value, revision: u64) -> Self {
        let converted = versions::is_other(of).then(|| versions::to_kept(of, value));
        let value = converted.as_ref().unwrap_or(value);
        let empty = Map::new();
        let metadata = value.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
        let (json, head, digits) = write(of, value, metadata, revision);
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default().into();
        let labels = metadata.get("labels").and_then(Value::as_object).unwrap_or(&empty);
        Self {
            name: text("name"),
            namespace: text("namespace"),
            uid: text("uid"),
            revision,
            deleting: metadata.contains_key("deletionTimestamp"),
            labels: labels.iter().map(|(key, value)| (key.as_str().into(), plain(value))).collect(),
            owners: owners(metadata),
            fields: selectable(of)
                .map(|path| versions::kept_path(of, path).unwrap_or_else(|| path.to_owned()))
                .map(|path| (path.as_str().into(), field(value, &path)))
                .collect(),
            json,
            head,
            digits,
        }
    }

    /// Encodes the result of a dry run, without a resource version.
    pub(crate) fn build_dry(of: &Type, value: &Value) -> Self {
        let mut object = Self::build(of, value, 0);
        let mut value = object.value();
        value["metadata"].as_object_mut().map(|metadata| metadata.remove("resourceVersion"));
        object.json = crate::model::object::ordered(&value, false).into();
        object
    }

    /// Returns the object with a later revision, as in the event of its deletion.
    pub(crate) fn renumbered(&self, revision: u64) -> Self {
        let (start, end) = self.digits;
        let number = revision.to_string();
        let mut json = Vec::with_capacity(self.json.len() + number.len());
        json.extend_from_slice(self.json.get(..start).unwrap_or_default());
        json.extend_from_slice(number.as_bytes());
        json.extend_from_slice(self.json.get(end..).unwrap_or_default());
        Self {
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            uid: self.uid.clone(),
            revision,
            deleting: self.deleting,
            labels: self.labels.clone(),
            owners: self.owners.clone(),
            fields: self.fields.clone(),
            json: json.into(),
            head: self.head,
            digits: (start, start + number.len()),
        }
    }

    /// Returns the JSON of the whole object.
    pub(crate) fn json(&self) -> &Bytes {
        &self.json
    }

    /// Returns the JSON without `kind` and `apiVersion` and without its opening brace, as `"metadata":…}`.
    pub(crate) fn rest(&self) -> &[u8] {
        self.json.get(self.head..).unwrap_or_default()
    }

    /// Returns the object as a tree.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }

    /// Returns the value of a label.
    pub(crate) fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| **name == *key).map(|(_, value)| &**value)
    }

    /// Returns the value that a field selector compares; `None` if the type does not offer the field.
    pub(crate) fn field(&self, path: &str) -> Option<&str> {
        match path {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            _ => self.fields.iter().find(|(name, _)| **name == *path).map(|(_, value)| &**value),
        }
    }

    /// Returns the approximate memory of the object, in bytes.
    pub(crate) fn size(&self) -> usize {
        /// The bytes of the struct, the headers of its allocations and the map's node.
        const OVERHEAD: usize = 400;
        self.json.len() + OVERHEAD
    }
}

/// Returns the key of an object within its type: `NAMESPACE/NAME`, or the name alone.
pub(crate) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

fn write(of: &Type, value: &Value, metadata: &Map<String, Value>, revision: u64) -> (Bytes, usize, (usize, usize)) {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(head_of(of).as_bytes());
    let head = out.len();
    out.extend_from_slice(br#""metadata":{"resourceVersion":""#);
    let start = out.len();
    out.extend_from_slice(revision.to_string().as_bytes());
    let end = out.len();
    out.push(b'"');
    entries(&mut out, metadata, &["resourceVersion", "selfLink"]);
    out.push(b'}');
    if let Some(object) = value.as_object() {
        entries(&mut out, object, &["kind", "apiVersion", "metadata"]);
    }
    out.push(b'}');
    out.shrink_to_fit();
    (out.into(), head, (start, end))
}

/// Returns the beginning of a stored object's JSON.
fn head_of(of: &Type) -> String {
    let (api_version, _) = versions::kept(of);
    format!(r#"{{"kind":"{}","apiVersion":"{api_version}","#, of.kind)
}

fn entries(out: &mut Vec<u8>, map: &Map<String, Value>, without: &[&str]) {
    for (name, value) in map.iter().filter(|(name, _)| !without.contains(&name.as_str())) {
        out.push(b',');
        put(out, name);
        out.push(b':');
        put(out, value);
    }
}

/// Appends the JSON of a value whose encoding cannot fail: text and trees of it.
pub(crate) fn put<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"null");
    }
}

fn owners(metadata: &Map<String, Value>) -> Box<[Box<str>]> {
    let list = metadata.get("ownerReferences").and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|owner| owner["uid"].as_str()).map(Into::into).collect()
}

/// Returns the text of a scalar, as a selector compares it.
fn plain(value: &Value) -> Box<str> {
    match value {
        Value::String(text) => text.as_str().into(),
        Value::Null => "".into(),
        other => other.to_string().into(),
    }
}

fn field(value: &Value, path: &str) -> Box<str> {
    let found = path.trim_start_matches('.').split('.').try_fold(value, |at, name| at.get(name));
    match (path, found) {
        ("spec.hostNetwork" | "spec.unschedulable", None) => "false".into(),
        ("status.successful" | "status.replicas", None) => "0".into(),
        ("source", Some(source)) => plain(source.get("component").unwrap_or(&Value::Null)),
        (_, Some(found)) => plain(found),
        (_, None) => "".into(),
    }
}

/// Returns the field selectors of a type beside `metadata.name` and `metadata.namespace`.
pub(crate) fn selectable(of: &Type) -> impl Iterator<Item = &str> {
    let fixed: &'static [&'static str] = match (of.group.as_str(), of.kind.as_str()) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        ("events.k8s.io", "Event") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase"],
        ("", "Secret") => &["type"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("" | "apps", "ReplicationController" | "ReplicaSet") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        ("certificates.k8s.io", "CertificateSigningRequest") => &["spec.signerName"],
        _ => &[],
    };
    let custom = of.custom.iter().flat_map(|custom| custom.selectable.iter().map(String::as_str));
    fixed.iter().copied().chain(custom)
}

/// Encodes JSON with `kind` and `apiVersion` in front, as a real server does.
pub(crate) fn ordered(value: &Value, pretty: bool) -> Vec<u8> {
    let leading = ["kind", "apiVersion", "metadata"];
    let Some(object) = value.as_object().filter(|object| object.contains_key("kind")) else {
        return if pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) }.unwrap_or_default();
    };
    let first = leading.iter().filter_map(|name| object.get_key_value(*name));
    let rest = object.iter().filter(|(name, _)| !leading.contains(&name.as_str()));
    let entries = Entries(first.chain(rest).collect());
    if pretty { serde_json::to_vec_pretty(&entries) } else { serde_json::to_vec(&entries) }.unwrap_or_default()
}

struct Entries<'a>(Vec<(&'a String, &'a Value)>);

impl serde::Serialize for Entries<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Returns the metadata of an object alone.
pub(crate) fn partial(object: &Object) -> Value {
    let metadata = object.value().get_mut("metadata").map(Value::take);
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}
