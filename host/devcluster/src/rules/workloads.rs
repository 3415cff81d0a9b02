//! Validation of objects that make pods, except for the pods themselves.
//!
//! The rules and words are those of `pkg/apis/apps/validation` and `pkg/apis/batch/validation` of Kubernetes 1.36.

use serde_json::{Map, Value};

use crate::model::resources::Type;
use crate::model::status::StatusCause;

/// The types whose selector has to select their own pods.
const SELECTING: &[&str] = &["Deployment", "ReplicaSet", "StatefulSet", "DaemonSet"];

/// Returns the faults of the selector of a Deployment, ReplicaSet, StatefulSet or DaemonSet. They are reported before
/// the faults of the pods.
pub(crate) fn selector_problems(of: &Type, value: &Value) -> Vec<StatusCause> {
    if of.group == "apps" && SELECTING.contains(&of.kind.as_str()) { selector(of, value) } else { Vec::new() }
}

/// Returns the fault of the restart policy of their pods, or a Job's. It is reported after the faults of the pods.
pub(crate) fn restart_problem(of: &Type, value: &Value) -> Option<StatusCause> {
    let restart = &value["spec"]["template"]["spec"]["restartPolicy"];
    match (of.group.as_str(), of.kind.as_str()) {
        ("apps", kind) if SELECTING.contains(&kind) && restart.as_str().is_some_and(|policy| policy != "Always") => {
            let message = format!("Unsupported value: {restart}: supported values: \"Always\"");
            Some(restarts("FieldValueNotSupported", message))
        }
        ("batch", "Job") if restart.as_str().is_none_or(|policy| policy == "Always") => {
            let message = "Required value: valid values: \"OnFailure\", \"Never\"";
            Some(restarts("FieldValueRequired", message.to_owned()))
        }
        _ => None,
    }
}

fn restarts(reason: &'static str, message: String) -> StatusCause {
    StatusCause { reason, message, field: "spec.template.spec.restartPolicy".to_owned() }
}

/// Judges a selector: it has to be set, to select something, and to select the object's own pods.
fn selector(of: &Type, value: &Value) -> Vec<StatusCause> {
    let selector = &value["spec"]["selector"];
    let fields = selector.as_object();
    let empty = |part: &Value| part.as_object().is_none_or(Map::is_empty) && part.as_array().is_none_or(Vec::is_empty);
    if fields.is_some_and(|fields| fields.values().all(empty)) {
        // A real server has these words for a ReplicaSet too.
        let kind = if of.kind == "ReplicaSet" { "deployment".to_owned() } else { of.kind.to_ascii_lowercase() };
        let rule = format!("empty selector is invalid for {kind}");
        return vec![StatusCause::invalid("spec.selector", selector, &rule)];
    }
    let mut causes = Vec::new();
    if fields.is_none() && of.kind != "DaemonSet" {
        causes.push(StatusCause::required("spec.selector", ""));
    }
    let labels = &value["spec"]["template"]["metadata"]["labels"];
    if fields.is_none() || !selects(selector, labels) {
        let rule = "`selector` does not match template `labels`";
        causes.push(StatusCause::invalid("spec.template.metadata.labels", labels, rule));
    }
    causes
}

/// Returns whether a label selector selects these labels.
fn selects(selector: &Value, labels: &Value) -> bool {
    let equal = selector["matchLabels"].as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value);
    let each = selector["matchExpressions"].as_array().into_iter().flatten();
    equal && each.into_iter().all(|expression| expresses(expression, labels))
}

fn expresses(expression: &Value, labels: &Value) -> bool {
    let found = labels.get(expression["key"].as_str().unwrap_or_default()).filter(|value| !value.is_null());
    let listed = |value: &Value| expression["values"].as_array().is_some_and(|values| values.contains(value));
    match expression["operator"].as_str() {
        Some("In") => found.is_some_and(listed),
        Some("NotIn") => !found.is_some_and(listed),
        Some("Exists") => found.is_some(),
        Some("DoesNotExist") => found.is_none(),
        // An invalid operator is another rule's matter.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::model::resources::built_in;

    fn told(kind: &str, spec: &Value) -> Vec<String> {
        let of = built_in().into_iter().find(|of| of.kind == kind).unwrap();
        let value = json!({"spec": spec});
        let causes = selector_problems(&of, &value).into_iter().chain(restart_problem(&of, &value));
        causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn a_selector_has_to_choose_the_templates_own_pods() {
        let template = json!({"metadata": {"labels": {"a": "b"}}});
        let spec = |selector: Value| json!({"selector": selector, "template": template});
        let fits = [
            json!({"matchLabels": {"a": "b"}}),
            json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b", "c"]}, {"key": "x", "operator": "DoesNotExist"}]}),
        ];
        for selector in fits {
            assert!(told("Deployment", &spec(selector.clone())).is_empty(), "{selector}");
        }
        let mismatch =
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`";
        assert_eq!(told("DaemonSet", &spec(json!({"matchLabels": {"a": "c"}}))), [mismatch]);
        assert_eq!(told("ReplicaSet", &spec(Value::Null)), ["spec.selector: Required value", mismatch]);
        assert_eq!(told("DaemonSet", &spec(Value::Null)), [mismatch]);
        assert_eq!(
            told("StatefulSet", &spec(json!({}))),
            ["spec.selector: Invalid value: {}: empty selector is invalid for statefulset"]
        );
    }

    #[test]
    fn jobs_end_and_the_others_go_on() {
        let spec = |policy: &str| json!({"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": policy}}});
        assert!(told("Job", &spec("Never")).is_empty() && told("Deployment", &spec("Always")).is_empty());
        assert_eq!(
            told("Job", &spec("Always")),
            ["spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""]
        );
        assert_eq!(
            told("Deployment", &spec("Never")),
            ["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""]
        );
    }
}
