//! Tests of bodies as a guest sends them.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::body::*;
use crate::cluster::ObjectKind;

fn config_map() -> ObjectKind {
    ObjectKind::new("", "v1", "ConfigMap")
}

fn stored(body: &str, name: Option<&str>) -> Result<String, String> {
    let kind = config_map();
    let place = Place { kind: Some(&kind), name, namespace: Some("demo"), ..Place::default() };
    match object(body.into(), place) {
        Ok(bytes) => Ok(String::from_utf8(bytes.into()).unwrap()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_body_that_says_everything_goes_out_byte_for_byte() {
    let body =
        "{ \"kind\":\"ConfigMap\",\"apiVersion\" : \"v1\", \"metadata\": {\"namespace\":\"demo\", \"name\":\"a\"}}\n";
    assert_eq!(stored(body, Some("a")).unwrap(), body);
}

#[test]
fn what_is_left_out_of_type_and_name_is_filled_in() {
    let table = [
        ("{}", r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}"#),
        (r#"{"metadata":null,"kind":""}"#, r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}"#),
        (
            r#"{"data":{"k": "v" },"metadata":{"labels":{"x":"y"}},"kind":"ConfigMap"}"#,
            r#"{"data":{"k": "v" },"kind":"ConfigMap","apiVersion":"v1","metadata":{"labels":{"x":"y"},"name":"a"}}"#,
        ),
    ];
    for (body, expected) in table {
        assert_eq!(stored(body, Some("a")).unwrap(), expected, "{body}");
    }
    assert_eq!(stored("{}", None).unwrap(), r#"{"kind":"ConfigMap","apiVersion":"v1"}"#);
}

#[test]
fn what_is_applied_is_filled_in_and_written_for_a_parser_of_yaml() {
    let kind = config_map();
    let place = Place { kind: Some(&kind), name: Some("a"), ..Place::default() };
    let written = applied(br#"{ "data": {"k": "\ud83d\ude00\u007f", "n": 12345678901234567890123} }"#.to_vec(), place);
    let expected = r#"{"data":{"k":"😀\u007f","n":12345678901234567890123},"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}"#;
    assert_eq!(written.unwrap(), expected);
    assert!(matches!(applied(br#"{"data":{"k":"\ud83d"}}"#.to_vec(), place), Err(BodyError::NotJson { .. })));
}

#[test]
fn what_stands_twice_is_refused_wherever_it_is_looked_at() {
    for (body, field) in [
        (r#"{"kind":"ConfigMap","kind":"ConfigMap"}"#, "kind"),
        (r#"{"kind":"ConfigMap","KIND":"Secret"}"#, "kind"),
        (r#"{"kind":"ConfigMap","\u212aind":"Secret"}"#, "kind"),
        (r#"{"k\u0069nd":"Secret","kind":"ConfigMap"}"#, "kind"),
        (r#"{"Kind":"ConfigMap"}"#, "kind"),
        (r#"{"apiVersion":"v1","apiverſion":"v2"}"#, "apiVersion"),
        (r#"{"metadata":{"name":"b"},"metadata":{"labels":{}}}"#, "metadata"),
        (r#"{"metadata":{"name":"b"},"metadata":null}"#, "metadata"),
        (r#"{"metadata":{"name":"b","name":"a"}}"#, "metadata.name"),
        (r#"{"metadata":{"name":"a","n\u0061me":"b"}}"#, "metadata.name"),
        (r#"{"metadata":{"namespace":"other","namespace":"demo"}}"#, "metadata.namespace"),
    ] {
        let said = stored(body, Some("a")).unwrap_err();
        assert!(said.starts_with(&format!("the body's {field} stands twice, as ")), "{body}: {said}");
        let place = Place { name: Some("a"), namespace: Some("demo"), ..Place::default() };
        assert!(part(body.into(), place).is_err() && applied(body.into(), place).is_err(), "{body}");
    }
    // The server judges all other members, and warns of this one.
    assert!(stored(r#"{"data":{"a":"1"},"data":{"b":"2"},"metadata":{"Name":"x"}}"#, Some("a")).is_ok());
}

/// Members of a body in their order. Those that are checked occur among them, twice and in other spellings.
fn members() -> impl Strategy<Value = Vec<(String, Value)>> {
    let names = ["kind", "Kind", "apiVersion", "metadata", "metadata", "Metadata", "data", "spec"];
    let word = prop::sample::select(vec!["ConfigMap", "Secret", "v1", "a", "b", ""]).prop_map(Value::from);
    let inner = prop::sample::select(vec!["name", "name", "Name", "namespace", "labels"]);
    let metadata = prop::collection::vec((inner, word.clone()), 0..4);
    let value = prop_oneof![
        word,
        Just(Value::Null),
        metadata.prop_map(|list| Value::from(list.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())),
    ];
    prop::collection::vec((prop::sample::select(names.to_vec()).prop_map(str::to_owned), value), 0..6)
}

/// Returns the name that Go reads: the members of all `metadata`, one merged into the other.
fn name_merged(members: &[(String, Value)]) -> Option<String> {
    let metadata = members.iter().filter(|(name, _)| name == "metadata").map(|(_, value)| value);
    let mut named = metadata.filter_map(|value| value.get("name")).filter_map(Value::as_str);
    named.rfind(|name| !name.is_empty()).map(str::to_owned)
}

proptest! {
    #[test]
    fn no_body_is_taken_that_merged_speaks_of_another_object(members in members()) {
        let written: Vec<_> = members.iter().map(|(name, value)| format!("{}:{value}", Value::from(&**name))).collect();
        let body = format!("{{{}}}", written.join(","));
        if let Ok(sent) = stored(&body, Some("a")) {
            let merged = name_merged(&members);
            prop_assert_ne!(merged.as_deref(), Some("b"), "{}", body);
            let sent: Value = serde_json::from_str(&sent).unwrap();
            prop_assert_eq!((&sent["kind"], &sent["metadata"]["name"]), (&Value::from("ConfigMap"), &Value::from("a")));
        }
    }
}

#[test]
fn what_speaks_of_something_else_is_refused_by_its_field() {
    let table = [
        (r#"{"kind":"Secret"}"#, "kind is \"Secret\""),
        (r#"{"kind":"ConfigMap","kind":"Secret"}"#, "kind stands twice"),
        (r#"{"apiVersion":"v2"}"#, "apiVersion is \"v2\""),
        (r#"{"metadata":{"name":"b"}}"#, "metadata.name is \"b\", but the call is for \"a\""),
        (r#"{"metadata":{"namespace":"other"}}"#, "metadata.namespace is \"other\""),
        (r#"{"metadata":[]}"#, "metadata is no object"),
        (r#"{"metadata":{"name":7}}"#, "metadata.name is no string"),
        (r#"{"kind":true}"#, "kind is no string"),
        ("[]", "no JSON object"),
        ("{", "no JSON object"),
        ("", "no JSON object"),
        ("{} {}", "no JSON object"),
        ("null", "no JSON object"),
    ];
    for (body, expected) in table {
        let error = stored(body, Some("a")).unwrap_err();
        assert!(error.contains(expected), "{body}: {error}");
    }
    let long = "\u{7f}".repeat(10_000);
    for body in [
        format!(r#"{{"kind":"{long}"}}"#),
        format!(r#""{long}""#),
        format!(r#"{{"metadata":"{long}"}}"#),
        format!(r#"{{"a":1,"{long}":}}"#),
    ] {
        assert!(stored(&body, None).unwrap_err().len() < 600, "{}", body.len());
    }
    for body in [format!(r#""{long}""#), format!(r#"["{long}"]"#), format!(r#"[{{"op":["{long}"]}}]"#)] {
        assert!(operations(body.into()).unwrap_err().to_string().len() < 200);
    }
}

#[test]
fn an_object_of_no_namespace_names_none() {
    let kind = ObjectKind::new("", "v1", "Node");
    let place = Place { kind: Some(&kind), ..Place::default() };
    assert!(object(br#"{"metadata":{"namespace":"demo"}}"#.to_vec(), place).is_err());
    assert!(object(br#"{"metadata":{"namespace":""}}"#.to_vec(), place).is_ok());
}

#[test]
fn a_subresource_takes_another_version_of_its_kind() {
    let kind = ObjectKind::new("policy", "v1", "Eviction");
    let place = Place { kind: Some(&kind), is_subresource: true, name: Some("p"), ..Place::default() };
    assert!(object(br#"{"apiVersion":"policy/v1beta1","kind":"Eviction"}"#.to_vec(), place).is_ok());
    assert!(object(br#"{"apiVersion":"v1","kind":"Eviction"}"#.to_vec(), place).is_err());
    assert_eq!(name(br#"{"metadata":{"name":"p"}}"#).unwrap(), "p");
    assert!(matches!(name(b"{}"), Err(BodyError::Nameless)));
}

#[test]
fn what_is_no_text_or_too_long_is_refused() {
    let place = Place::default();
    assert!(matches!(object(b"{\"a\":\"\xff\"}".to_vec(), place), Err(BodyError::NotUtf8(_))));
    assert!(matches!(object(vec![b' '; MAX_BODY + 1], place), Err(BodyError::TooLarge(_))));
    assert!(matches!(operations(vec![b' '; MAX_BODY + 1]), Err(BodyError::TooLarge(_))));
}

#[test]
fn a_json_patch_is_a_list_of_operations() {
    assert!(operations(br#"[{"op":"add","path":"/data/\u0061","value":{"x":[1]}}]"#.to_vec()).is_ok());
    for body in ["{}", r#"[{"op":"add"}]"#, "[7]", "", r#"{"op":"add","path":"/"}"#] {
        assert!(operations(body.into()).is_err(), "{body}");
    }
}
