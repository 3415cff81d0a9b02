//! One page of a list, cut into its objects without parsing them.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The fields that a page needs of a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: ListMeta,
    // `null` stands for an empty list where a server encodes a nil slice.
    #[serde(borrow, default)]
    items: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListMeta {
    resource_version: String,
    r#continue: String,
    remaining_item_count: Option<u64>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListPage {
    /// The objects, each as JSON with `apiVersion` and `kind`.
    pub items: Vec<Vec<u8>>,
    /// The `continue` token of the next page; `None` on the last page.
    pub cursor: Option<String>,
    /// The number of objects after this page, if the server sends it.
    pub remaining: Option<u64>,
    /// The `resourceVersion` of the list.
    pub resource_version: String,
}

/// A page whose objects are still in one piece.
pub(super) struct UncutPage<'a> {
    items: Option<&'a RawValue>,
    /// The first members that each object gets.
    head: String,
    metadata: ListMeta,
}

/// The most memory of a list's objects, as a multiple of the list's size. Each object gets its type, and an allocation
/// ([`EACH`] bytes). The smallest objects of Kubernetes take three times their size; a list of `{}` alone would take
/// hundreds of times.
const AS_OBJECTS: usize = 4;
/// The bytes that an object takes besides its text.
const EACH: usize = 64;
/// The bytes that the objects of any list may take: in a short list the types are longer than the rest.
const LEAST: usize = 64 << 10;

/// Cuts a list into a page.
///
/// The server leaves `apiVersion` and `kind` out of a list's items, since the list has them. Each object gets them
/// back.
///
/// # Errors
/// When the text is no list, or its objects take many times its size.
pub(crate) fn list_page(list: &[u8]) -> Result<ListPage, serde_json::Error> {
    let page = UncutPage::read(list)?;
    let (mut items, mut left) = (Vec::new(), list.len().saturating_mul(AS_OBJECTS).max(LEAST));
    page.cut(|item| {
        let room = left.checked_sub(item.len().saturating_add(EACH));
        left = room.ok_or_else(|| serde_json::Error::custom("its objects take many times the size of the list"))?;
        items.push(item);
        Ok::<_, serde_json::Error>(())
    })?;
    let remaining = page.metadata.remaining_item_count;
    Ok(ListPage { items, remaining, cursor: page.cursor(), resource_version: page.metadata.resource_version })
}

impl<'a> UncutPage<'a> {
    /// Reads the fields of a list, and leaves its objects in one piece.
    pub(super) fn read(list: &'a [u8]) -> Result<Self, serde_json::Error> {
        let List { api_version, kind, metadata, items } = serde_json::from_slice(list)?;
        Ok(Self { items, head: head(&api_version, &kind)?, metadata })
    }

    /// Returns the `continue` token of the next page; `None` on the last page.
    pub(super) fn cursor(&self) -> Option<String> {
        Some(self.metadata.r#continue.clone()).filter(|cursor| !cursor.is_empty())
    }

    /// Returns the `resourceVersion` of the list.
    pub(super) fn version(&self) -> &str {
        &self.metadata.resource_version
    }

    /// Passes the objects to `take` one after the other, until `take` fails. Only one object is copied at a time.
    pub(super) fn cut<E: From<serde_json::Error>>(&self, take: impl FnMut(Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let Some(items) = self.items else { return Ok(()) };
        let mut cutter = Cutter { head: &self.head, take, refused: None };
        let cut = serde_json::Deserializer::from_str(items.get()).deserialize_seq(&mut cutter);
        cutter.refused.map_or(Ok(()), Err)?;
        cut.map_err(E::from)
    }
}

/// A reader of an array's elements, one at a time.
struct Cutter<'h, F, E> {
    head: &'h str,
    take: F,
    refused: Option<E>,
}

impl<'de, F: FnMut(Vec<u8>) -> Result<(), E>, E> Visitor<'de> for &mut Cutter<'_, F, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list's items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element::<&RawValue>()? {
            if let Err(why) = (self.take)(typed(self.head, item.get())) {
                self.refused = Some(why);
                return Err(A::Error::custom("an item was not taken"));
            }
        }
        Ok(())
    }
}

/// The most bytes of a kind, and of an `apiVersion` (a group, a slash, a version): in the API they are DNS names
/// (`validateCustomResourceDefinition`). Both are copied into each item. Without a bound, a list of megabytes could
/// become terabytes.
const MAX_KIND: usize = 253;
const MAX_API_VERSION: usize = 253 + 1 + 63;

/// Returns the first members of each item: `{"kind":"Pod","apiVersion":"v1"`.
fn head(api_version: &str, list_kind: &str) -> Result<String, serde_json::Error> {
    let kind = list_kind.strip_suffix("List").unwrap_or_default();
    if kind.is_empty() {
        return Ok(String::new());
    }
    if kind.len() > MAX_KIND || api_version.len() > MAX_API_VERSION {
        return Err(serde_json::Error::custom("the list's kind or apiVersion is longer than any of Kubernetes"));
    }
    let (kind, version) = (serde_json::to_string(kind)?, serde_json::to_string(api_version)?);
    Ok(format!("{{\"kind\":{kind},\"apiVersion\":{version}"))
}

fn typed(head: &str, item: &str) -> Vec<u8> {
    let members = item.strip_prefix('{').map(str::trim_start);
    match members {
        Some(members) if !head.is_empty() && !has_kind(item) => {
            let comma = if members.starts_with('}') { "" } else { "," };
            [head, comma, members].concat().into_bytes()
        }
        _ => item.as_bytes().to_vec(),
    }
}

/// Returns whether an item has a `kind` of its own, as custom resources do.
fn has_kind(item: &str) -> bool {
    #[derive(Deserialize)]
    struct Typed<'a> {
        #[serde(borrow)]
        kind: Option<&'a RawValue>,
    }
    serde_json::from_str::<Typed<'_>>(item).is_ok_and(|typed| typed.kind.is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn items(list: &str) -> Vec<String> {
        list_page(list.as_bytes()).unwrap().items.into_iter().map(|item| String::from_utf8(item).unwrap()).collect()
    }

    #[test]
    fn an_item_of_a_list_gets_its_type_back() {
        let list = r#"{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"name":"a"}},{}]}"#;
        let expected =
            [r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}"#, r#"{"kind":"Pod","apiVersion":"v1"}"#];
        assert_eq!(items(list), expected);
    }

    #[test]
    fn an_item_that_says_its_type_is_left_as_it_is() {
        let list = r#"{"kind":"FooList","apiVersion":"x/v1","items":[{ "kind":"Bar", "a": 1 }]}"#;
        assert_eq!(items(list), [r#"{ "kind":"Bar", "a": 1 }"#]);
    }

    #[test]
    fn the_cursor_is_none_on_the_last_page() {
        let page = list_page(br#"{"metadata":{"resourceVersion":"7","continue":""},"items":null}"#).unwrap();
        assert_eq!((page.cursor, page.resource_version.as_str(), page.items.len()), (None, "7", 0));
    }

    #[test]
    fn cutting_ends_with_the_object_that_is_not_taken() {
        let page = UncutPage::read(br#"{"items":[{},{"a":1},{},7"#).err();
        assert!(page.is_some(), "it breaks off");
        let page = UncutPage::read(br#"{"items":[{},{"a":1},{}]}"#).unwrap();
        let mut taken = 0;
        let cut = page.cut(|item| {
            taken += 1;
            if item == b"{}" { Ok(()) } else { Err(serde_json::Error::custom("no")) }
        });
        assert_eq!((cut.unwrap_err().to_string().as_str(), taken), ("no", 2));
    }

    #[test]
    fn what_each_item_gets_is_short() {
        let list = |kind: &str, version: &str| {
            list_page(format!(r#"{{"kind":"{kind}List","apiVersion":"{version}","items":[{{}},{{}}]}}"#).as_bytes())
        };
        assert_eq!(list(&"k".repeat(253), &"v".repeat(317)).unwrap().items.len(), 2);
        for (kind, version) in [(254, 1), (1, 318)] {
            assert!(list(&"k".repeat(kind), &"v".repeat(version)).is_err(), "{kind} {version}");
        }
    }

    #[test]
    fn a_list_takes_not_many_times_its_size() {
        let list = |item: &str, number: usize| {
            let items = vec![item; number].join(",");
            list_page(format!(r#"{{"kind":"PodList","apiVersion":"v1","items":[{items}]}}"#).as_bytes())
        };
        assert_eq!(list("{}", 500).unwrap().items.len(), 500);
        assert_eq!(list(r#"{"metadata":{"name":"a","namespace":"b"}}"#, 100_000).unwrap().items.len(), 100_000);
        assert!(list("{}", 100_000).unwrap_err().to_string().contains("many times the size"));
    }

    #[test]
    fn what_is_not_a_list_is_an_error() {
        assert!(list_page(b"<html>").is_err());
        assert!(list_page(br#"{"items": 3}"#).is_err());
    }
}
