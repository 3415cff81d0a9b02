//! One stored object: its JSON, and the few fields that the host reads.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::Error as _;

/// The bytes that an object takes besides its texts: its fields, the heads of its allocations, and its share of a map's
/// node.
const UPKEEP: u64 = 192;

/// The most bytes of a `resourceVersion`. API servers send some ten. A long version would be kept for each collection
/// and each watch, outside the budget.
const LONGEST_VERSION: usize = 256;

/// An object of a watched collection.
#[derive(Debug, PartialEq, Eq)]
pub struct WatchedObject {
    key: Arc<str>,
    version: Box<str>,
    uid: Box<str>,
    json: Box<[u8]>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
}

impl WatchedObject {
    /// Reads an object as the API server sends it.
    ///
    /// # Errors
    /// When the text is no JSON, has no name, or a version beyond [`LONGEST_VERSION`].
    pub(super) fn read(json: impl Into<Box<[u8]>>) -> Result<Self, serde_json::Error> {
        let json = json.into();
        let Head { metadata } = serde_json::from_slice(&json)?;
        let key = key(&metadata.namespace, &metadata.name).into();
        check_version(&metadata.resource_version)?;
        let (version, uid) = (metadata.resource_version.into(), metadata.uid.into());
        Ok(Self { key, version, uid, json })
    }

    /// Returns `namespace/name`, or the name alone for a cluster-scoped object.
    pub fn key(&self) -> &Arc<str> {
        &self.key
    }

    /// Returns the object as JSON, as the server sent it.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Returns its `resourceVersion`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Returns whether `other` is this object in this state.
    pub(super) fn is_at(&self, other: &Self) -> bool {
        !self.version.is_empty() && self.version == other.version && self.uid == other.uid
    }

    /// Returns whether `other` is a new object with the name of this one.
    pub(super) fn was_replaced_by(&self, other: &Self) -> bool {
        self.uid != other.uid
    }

    /// Returns the bytes that the object takes in a store.
    pub(super) fn cost(&self) -> u64 {
        let texts = [self.json.len(), self.key.len(), self.uid.len(), self.version.len()];
        let bytes = texts.into_iter().fold(0, usize::saturating_add);
        UPKEEP.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

/// Fails for a version beyond [`LONGEST_VERSION`].
pub(super) fn check_version(version: &str) -> Result<(), serde_json::Error> {
    if version.len() <= LONGEST_VERSION {
        return Ok(());
    }
    Err(serde_json::Error::custom(format_args!("a resourceVersion is longer than {LONGEST_VERSION} bytes")))
}

/// Returns the key of an object. Neither part has a slash.
pub(super) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_object_is_known_by_namespace_and_name() {
        let json = br#"{"kind":"Pod","metadata":{"name":"a","namespace":"demo","uid":"u","resourceVersion":"7"}}"#;
        let object = WatchedObject::read(&json[..]).unwrap();
        assert_eq!((&**object.key(), object.version(), object.json()), ("demo/a", "7", json.as_slice()));
        let node = WatchedObject::read(&br#"{"metadata":{"name":"n"}}"#[..]).unwrap();
        assert_eq!(&**node.key(), "n");
    }

    #[test]
    fn what_has_no_name_is_no_object() {
        for json in ["{}", "[]", "", r#"{"metadata":{}}"#, r#"{"metadata":{"name":7}}"#, r#"{"metadata":null}"#] {
            assert!(WatchedObject::read(json.as_bytes()).is_err(), "{json}");
        }
    }

    #[test]
    fn all_texts_of_an_object_are_counted_and_its_version_is_short() {
        let read = |uid: usize, version: usize| {
            let (uid, version) = ("u".repeat(uid), "7".repeat(version));
            let json = format!(r#"{{"metadata":{{"name":"a","uid":"{uid}","resourceVersion":"{version}"}}}}"#);
            WatchedObject::read(json.into_bytes()).map(|object| object.cost())
        };
        let bare = read(0, 0).unwrap();
        assert_eq!((read(100, 0).unwrap() - bare, read(0, 100).unwrap() - bare), (200, 200), "each is in the JSON too");
        assert!(read(0, LONGEST_VERSION).is_ok() && read(0, LONGEST_VERSION + 1).is_err());
    }

    #[test]
    fn objects_without_a_version_are_never_the_same() {
        let read = |json: &str| WatchedObject::read(json.as_bytes()).unwrap();
        let bare = r#"{"metadata":{"name":"a"}}"#;
        assert!(!read(bare).is_at(&read(bare)));
        let (one, two) = (r#"{"metadata":{"name":"a","uid":"1"}}"#, r#"{"metadata":{"name":"a","uid":"2"}}"#);
        assert!(read(one).was_replaced_by(&read(two)));
    }
}
