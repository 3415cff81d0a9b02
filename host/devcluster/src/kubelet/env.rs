//! The environment of a container.

use std::collections::BTreeMap;

use serde_json::Value;

use super::objects::{Kind, Objects, is_optional, key_text};
use super::pod::{ContentError, Pod, text};

/// Variable names and values.
pub type Environment = BTreeMap<String, String>;

/// Returns the variables of a container, in the order of `pkg/kubelet/kubelet_pods.go`, `makeEnvironmentVariables`.
/// `envFrom` comes first, then `env` over it, each value expanded by the variables before it. The services' variables
/// come last, and only where the name is free.
pub(super) fn variables(
    container: &Value,
    pod: &Pod<'_>,
    objects: &Objects,
    services: &Environment,
) -> Result<Environment, ContentError> {
    let each = |field| container.get(field).and_then(Value::as_array).into_iter().flatten();
    let mut set = Environment::new();
    for from in each("envFrom") {
        import(from, objects, &mut set)?;
    }
    for variable in each("env") {
        let literal = text(variable, "value");
        let value = if literal.is_empty() {
            value_from(variable, text(container, "name"), pod, objects)?
        } else {
            Some(expand(literal, &[&set, services]))
        };
        if let Some(value) = value {
            set.insert(text(variable, "name").into(), value);
        }
    }
    for (name, value) in services {
        set.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Ok(set)
}

fn import(from: &Value, objects: &Objects, set: &mut Environment) -> Result<(), ContentError> {
    for (kind, field) in [(Kind::ConfigMap, "configMapRef"), (Kind::Secret, "secretRef")] {
        let Some(reference) = from.get(field).filter(|reference| !reference.is_null()) else { continue };
        let data = objects.data_for_env(kind, text(reference, "name"), is_optional(reference))?;
        for (key, bytes) in data.into_iter().flatten() {
            let name = format!("{}{key}", text(from, "prefix"));
            // An invalid variable is left out. The real kubelet reports it in an event.
            if let (Ok(value), false) = (String::from_utf8(bytes), name.contains('=')) {
                set.insert(name, value);
            }
        }
    }
    Ok(())
}

/// Returns nothing if the source is optional and missing; the variable is not set then.
fn value_from(
    variable: &Value,
    container: &str,
    pod: &Pod<'_>,
    objects: &Objects,
) -> Result<Option<String>, ContentError> {
    let Some(from) = variable.get("valueFrom").filter(|from| !from.is_null()) else { return Ok(Some(String::new())) };
    let given = |field| from.get(field).filter(|source| !source.is_null());
    if let Some(field) = given("fieldRef") {
        return pod.field(text(field, "fieldPath")).map(Some);
    }
    if let Some(resource) = given("resourceFieldRef") {
        return pod.resource_of_variable(resource, container).map(Some);
    }
    if let Some(reference) = given("configMapKeyRef") {
        return key_text(objects, Kind::ConfigMap, reference);
    }
    if let Some(reference) = given("secretKeyRef") {
        return key_text(objects, Kind::Secret, reference);
    }
    if let Some(file) = given("fileKeyRef") {
        let missing =
            || ContentError::NoFile { volume: text(file, "volumeName").into(), path: text(file, "path").into() };
        return if is_optional(file) { Ok(None) } else { Err(missing()) };
    }
    Err(ContentError::Field(format!("valueFrom of {}", text(variable, "name"))))
}

/// Replaces each `$(NAME)` by the variable's value. `$$` stands for one `$`. An unset name, or a bracket without its
/// end, stays as it is [`third_party/forked/golang/expansion/expand.go`].
pub(super) fn expand(text: &str, scopes: &[&Environment]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        rest = after;
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match scopes.iter().find_map(|scope| scope.get(name)) {
                Some(value) => out.push_str(value),
                None => out = format!("{out}$({name})"),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out + rest
}

/// Returns the `env` entries of a container that are filled from the pod's fields, as written in the spec.
pub(super) fn downward_entries(container: &Value) -> Vec<Value> {
    let entries = container.get("env").and_then(Value::as_array).into_iter().flatten();
    let from_pod = |entry: &&Value| {
        ["/valueFrom/fieldRef", "/valueFrom/resourceFieldRef"]
            .iter()
            .any(|at| entry.pointer(at).is_some_and(Value::is_object))
    };
    entries.filter(from_pod).cloned().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::{Value, json};

    use super::{Environment, downward_entries, expand, variables};
    use crate::kubelet::objects::{Kind, Objects};
    use crate::kubelet::pod::{Allocatable, ContentError, Pod};

    fn built(container: &Value) -> Result<Vec<(String, String)>, ContentError> {
        let object = json!({"metadata": {"name": "p", "namespace": "n"}, "status": {"podIP": "10.0.0.1"}, "spec": {"containers": [container]}});
        let objects = Objects::of(&[
            (
                Kind::ConfigMap,
                "c",
                json!({"data": {"one": "1", "a=b": "x"}, "binaryData": {"bin": "/w==", "text": "dGV4dA=="}}),
            ),
            (Kind::Secret, "s", json!({"data": {"k": "c2VjcmV0", "raw": "/w=="}})),
        ]);
        let node = Allocatable::default();
        let services = Environment::from([("KUBERNETES_SERVICE_HOST".into(), "h".into())]);
        let built = variables(container, &Pod { object: &object, node: &node }, &objects, &services)?;
        Ok(built.into_iter().collect())
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn variables_come_from_everywhere_in_order() {
        let container = json!({"name": "main", "resources": {"limits": {"memory": "64Mi"}},
        "envFrom": [{"prefix": "C_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "s"}}, {"configMapRef": {"name": "none", "optional": true}}],
        "env": [
            {"name": "EMPTY"},
            {"name": "PLAIN", "value": "v"},
            {"name": "C_one", "value": "over $(C_one)"},
            {"name": "CHAIN", "value": "$(PLAIN)-$(C_one)-$(LATER)-$(KUBERNETES_SERVICE_HOST)"},
            {"name": "LATER", "value": "l"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "ONE", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "one"}}},
            {"name": "SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "UNSET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "none", "optional": true}}},
            {"name": "NO_FILE", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "a.env", "key": "A", "optional": true}}},
        ]});
        let expected = [
            ("CHAIN", "v-over 1-$(LATER)-h"),
            ("C_one", "over 1"),
            ("EMPTY", ""),
            ("IP", "10.0.0.1"),
            ("KUBERNETES_SERVICE_HOST", "h"),
            ("LATER", "l"),
            ("MEMORY", "64"),
            ("NAME", "p"),
            ("ONE", "1"),
            ("PLAIN", "v"),
            ("SECRET", "secret"),
            ("k", "secret"),
        ];
        assert_eq!(built(&container).unwrap(), pairs(&expected));
        let names: Vec<_> = downward_entries(&container).iter().map(|entry| entry["name"].clone()).collect();
        assert_eq!(names, ["NAME", "IP", "MEMORY"]);
    }

    #[test]
    fn a_variable_of_the_container_hides_a_services() {
        let hidden = built(&json!({"name": "main", "env": [{"name": "KUBERNETES_SERVICE_HOST", "value": "mine"}]}));
        assert_eq!(hidden.unwrap(), pairs(&[("KUBERNETES_SERVICE_HOST", "mine")]));
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let told = |variable: Value| built(&json!({"name": "main", "env": [variable]})).unwrap_err().to_string();
        assert_eq!(
            told(json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "x"}}})),
            "configmap \"c\" has no key \"x\""
        );
        assert_eq!(
            told(json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "x", "key": "x"}}})),
            "secret \"x\" not found"
        );
        assert_eq!(
            told(json!({"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "bin"}}})),
            "configmap \"c\" has no key \"bin\"",
            "what is binary is for files"
        );
        assert_eq!(
            told(json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "raw"}}})),
            "the data of secret \"s\" under \"raw\" is not UTF-8"
        );
        assert_eq!(
            told(json!({"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "v", "path": "a.env", "key": "A"}}})),
            "volume \"v\" has no file \"a.env\": no init container is run that would write it"
        );
        assert_eq!(
            told(json!({"name": "A", "valueFrom": {"laterRef": {}}})),
            "field \"valueFrom of A\" is not supported"
        );
    }

    #[test]
    fn references_expand_as_in_a_real_kubelet() {
        let scope =
            Environment::from([("A".into(), "a".into()), ("E".into(), String::new()), ("R".into(), "$(A)".into())]);
        let table = [
            ("$(A)", "a"),
            ("x$(A)y$(A)", "xaya"),
            ("$(E)", ""),
            ("$$(A)", "$(A)"),
            ("$$$(A)", "$a"),
            ("$$$$(A)", "$$(A)"),
            ("$(NONE)", "$(NONE)"),
            ("$(R)", "$(A)"),
            ("$A", "$A"),
            ("$", "$"),
            ("$(", "$("),
            ("$(A", "$(A"),
            ("$((A)", "$((A)"),
            ("$()", "$()"),
            ("a$한", "a$한"),
            ("", ""),
        ];
        for (text, expected) in table {
            assert_eq!(expand(text, &[&scope]), expected, "{text}");
        }
    }
}
