//! What an API server says against the objects that make pods, besides what it says against the pods.
//!
//! The rules and words are those of `pkg/apis/apps/validation` and `pkg/apis/batch/validation` of Kubernetes 1.36.

use serde_json::{Map, Value};

use super::resources::Type;
use super::status::Cause;

/// What is wrong with a Deployment, ReplicaSet, StatefulSet, DaemonSet or Job.
pub(crate) fn problems(of: &Type, value: &Value) -> Vec<Cause> {
    let restart = &value["spec"]["template"]["spec"]["restartPolicy"];
    match (of.group.as_str(), of.kind.as_str()) {
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet") => {
            let mut causes = selector(value);
            if restart.as_str().is_some_and(|policy| policy != "Always") {
                let message = format!("Unsupported value: {restart}: supported values: \"Always\"");
                causes.push(restarts("FieldValueNotSupported", message));
            }
            causes
        }
        ("batch", "Job") if restart.as_str().is_none_or(|policy| policy == "Always") => {
            let message = "Required value: valid values: \"OnFailure\", \"Never\"";
            vec![restarts("FieldValueRequired", message.to_owned())]
        }
        _ => Vec::new(),
    }
}

fn restarts(reason: &'static str, message: String) -> Cause {
    Cause { reason, message, field: "spec.template.spec.restartPolicy".to_owned() }
}

/// The selector has to be there, to choose something, and to choose the object's own pods.
fn selector(value: &Value) -> Vec<Cause> {
    let selector = &value["spec"]["selector"];
    let Some(fields) = selector.as_object() else { return vec![Cause::required("spec.selector", "")] };
    if fields
        .values()
        .all(|part| part.as_object().is_none_or(Map::is_empty) && part.as_array().is_none_or(Vec::is_empty))
    {
        return vec![Cause::invalid("spec.selector", selector, "empty selector is invalid for deployment")];
    }
    let labels = &value["spec"]["template"]["metadata"]["labels"];
    if selects(selector, labels) {
        return Vec::new();
    }
    let rule = "`selector` does not match template `labels`";
    vec![Cause::invalid("spec.template.metadata.labels", &shown(labels), rule)]
}

/// Whether a label selector chooses what has these labels.
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
        // What is no operator is another rule's matter.
        _ => true,
    }
}

fn shown(labels: &Value) -> Value {
    if labels.is_null() { Value::Object(Map::new()) } else { labels.clone() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::devcluster::resources::built_in;

    fn told(kind: &str, spec: &Value) -> Vec<String> {
        let of = built_in().into_iter().find(|of| of.kind == kind).unwrap();
        let causes = problems(&of, &json!({"spec": spec}));
        causes.into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
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
        assert_eq!(told("ReplicaSet", &spec(Value::Null)), ["spec.selector: Required value"]);
        assert_eq!(
            told("StatefulSet", &spec(json!({}))),
            ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"]
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
