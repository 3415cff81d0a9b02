//! Objects of one type in versions with different fields.
//!
//! An event is one object in both of its groups, and is stored in the form of `v1`. All other types are stored as sent:
//! they have one version, or the same fields in all served versions. The exception is HorizontalPodAutoscaler, which is
//! not converted between `autoscaling/v1` and `v2`.

use serde_json::{Map, Value};

use crate::model::form;
use crate::model::resources::Type;

/// The fields of an event that have different names in the two groups: in `v1`, and in `events.k8s.io/v1`.
const NAMES: &[(&str, &str)] = &[
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Returns whether objects of this version are stored in another.
pub(crate) fn is_other(of: &Type) -> bool {
    of.group == "events.k8s.io" && of.kind == "Event"
}

/// Returns the `apiVersion` and `PLURAL.GROUP` of the stored version.
pub(crate) fn kept(of: &Type) -> (String, String) {
    if is_other(of) { ("v1".to_owned(), "events".to_owned()) } else { (of.api_version(), of.qualified()) }
}

/// Converts an object into the stored version.
pub(crate) fn to_kept(of: &Type, value: &Value) -> Value {
    if !is_other(of) {
        return value.clone();
    }
    let mut kept = renamed(value, |name| NAMES.iter().find(|(_, new)| *new == name).map(|(old, _)| *old));
    kept["apiVersion"] = "v1".into();
    form::keep_as("v1", &of.kind, &mut kept);
    kept
}

/// Converts a stored object into this version.
pub(crate) fn from_kept(of: &Type, mut value: Value) -> Value {
    if is_other(of) {
        value = renamed(&value, |name| NAMES.iter().find(|(old, _)| *old == name).map(|(_, new)| *new));
        form::keep_as(&of.api_version(), &of.kind, &mut value);
    }
    value["apiVersion"] = of.api_version().into();
    value
}

fn renamed(value: &Value, other: impl Fn(&str) -> Option<&'static str>) -> Value {
    let fields = value.as_object().into_iter().flatten();
    let fields: Map<String, Value> =
        fields.map(|(name, value)| (other(name).unwrap_or(name).to_owned(), value.clone())).collect();
    Value::Object(fields)
}

/// Returns the path in stored objects of a field that this version's selectors name, or `None` if it is unchanged.
pub(crate) fn kept_path(of: &Type, path: &str) -> Option<String> {
    if !is_other(of) {
        return None;
    }
    match path.split_once('.') {
        Some(("regarding", rest)) => Some(format!("involvedObject.{rest}")),
        None if path == "reportingController" => Some("reportingComponent".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::model::resources::built_in;

    #[test]
    fn an_event_is_the_same_there_and_back() {
        let of = built_in().into_iter().find(is_other).unwrap();
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}, "note": "n", "reason": "R",
            "regarding": {"kind": "Pod", "name": "p"}, "eventTime": "2026-01-02T03:04:05.000000Z",
            "deprecatedSource": {}, "deprecatedFirstTimestamp": null, "deprecatedLastTimestamp": null,
        });
        let kept = to_kept(&of, &event);
        assert_eq!((&kept["message"], &kept["involvedObject"]["name"]), (&json!("n"), &json!("p")));
        assert_eq!(kept["apiVersion"], "v1");
        assert_eq!(from_kept(&of, kept), event);
    }
}
