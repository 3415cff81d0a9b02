//! One page of a list, cut into its objects without building them.

use serde::Deserialize;
use serde_json::value::RawValue;

/// A list as the API server sends it; only what a page needs of it.
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
    items: Option<Vec<&'a RawValue>>,
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
pub struct ListPage {
    /// The objects, each as JSON that says its own type.
    pub items: Vec<Vec<u8>>,
    /// What the next page is asked for with; `None` on the last one.
    pub cursor: Option<String>,
    /// How many more there are, where the server says so.
    pub remaining: Option<u64>,
    /// The version of the whole list.
    pub resource_version: String,
}

/// Cuts a list into a page.
///
/// The server leaves `apiVersion` and `kind` out of a list's items, as the list has said them. An object on its own has
/// them, so they are put back.
///
/// # Errors
/// When it is no list.
pub fn list_page(list: &[u8]) -> Result<ListPage, serde_json::Error> {
    let list: List<'_> = serde_json::from_slice(list)?;
    let head = head(&list.api_version, &list.kind)?;
    let items = list.items.unwrap_or_default();
    let ListMeta { resource_version, r#continue: cursor, remaining_item_count: remaining } = list.metadata;
    Ok(ListPage {
        items: items.into_iter().map(|item| typed(&head, item.get())).collect(),
        cursor: Some(cursor).filter(|cursor| !cursor.is_empty()),
        remaining,
        resource_version,
    })
}

/// The first members of each item: `{"kind":"Pod","apiVersion":"v1",`.
fn head(api_version: &str, list_kind: &str) -> Result<String, serde_json::Error> {
    let kind = list_kind.strip_suffix("List").unwrap_or_default();
    if kind.is_empty() {
        return Ok(String::new());
    }
    let (kind, version) = (serde_json::to_string(kind)?, serde_json::to_string(api_version)?);
    Ok(format!("{{\"kind\":{kind},\"apiVersion\":{version}"))
}

fn typed(head: &str, item: &str) -> Vec<u8> {
    let members = item.strip_prefix('{').map(str::trim_start);
    match members {
        Some(members) if !head.is_empty() && !says_its_type(item) => {
            let comma = if members.starts_with('}') { "" } else { "," };
            [head, comma, members].concat().into_bytes()
        }
        _ => item.as_bytes().to_vec(),
    }
}

/// Says whether an item has a `kind` of its own, as those of a custom resource do.
fn says_its_type(item: &str) -> bool {
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
    fn what_is_not_a_list_is_an_error() {
        assert!(list_page(b"<html>").is_err());
        assert!(list_page(br#"{"items": 3}"#).is_err());
    }
}
