//! Custom resource definitions: the types that users add.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::model::resources::Column;
use crate::model::resources::{ALL, Custom, PART, Subresource, Type};
use crate::model::status::StatusCause;

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn words(value: &Value) -> Vec<String> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Returns the types that a definition adds, one for each served version, in the order of preference.
pub(crate) fn types(definition: &Value) -> Vec<Type> {
    let spec = &definition["spec"];
    let mut versions: Vec<&Value> = spec["versions"].as_array().into_iter().flatten().collect();
    versions.retain(|version| version["served"].as_bool().unwrap_or(false));
    versions.sort_by_key(|version| std::cmp::Reverse(priority(text(version, "name"))));
    versions.into_iter().map(|version| one(spec, version)).collect()
}

/// Returns the rank of a version: stable before beta before alpha, higher numbers first.
fn priority(version: &str) -> (u8, u64, u64) {
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    let split = |rest: &str, word: &str| {
        let (major, minor) = rest.split_once(word)?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    if let Ok(major) = rest.parse() {
        (3, major, 0)
    } else if let Some((major, minor)) = split(rest, "beta") {
        (2, major, minor)
    } else if let Some((major, minor)) = split(rest, "alpha") {
        (1, major, minor)
    } else {
        (0, 0, 0)
    }
}

fn one(spec: &Value, version: &Value) -> Type {
    let names = &spec["names"];
    let kind = text(names, "kind").to_owned();
    let list_kind = match text(names, "listKind") {
        "" => format!("{kind}List"),
        given => given.to_owned(),
    };
    let singular = match text(names, "singular") {
        "" => kind.to_ascii_lowercase(),
        given => given.to_owned(),
    };
    Type {
        group: text(spec, "group").to_owned(),
        version: text(version, "name").to_owned(),
        list_kind,
        plural: text(names, "plural").to_owned(),
        singular,
        namespaced: text(spec, "scope") != "Cluster",
        verbs: ALL.iter().map(|&verb| verb.to_owned()).collect(),
        short_names: words(&names["shortNames"]),
        categories: words(&names["categories"]),
        subresources: subresources(&kind, &version["subresources"]),
        kind,
        custom: Some(custom(version)),
    }
}

fn subresources(kind: &str, given: &Value) -> Vec<Subresource> {
    let verbs = || PART.iter().map(|&verb| verb.to_owned()).collect();
    let part = |name: &str, group: &str, version: &str, kind: &str| Subresource {
        name: name.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: kind.to_owned(),
        verbs: verbs(),
    };
    let mut found = Vec::new();
    if given.get("scale").is_some() {
        found.push(part("scale", "autoscaling", "v1", "Scale"));
    }
    if given.get("status").is_some() {
        found.push(part("status", "", "", kind));
    }
    found
}

fn custom(version: &Value) -> Custom {
    let columns = version["additionalPrinterColumns"].as_array().into_iter().flatten().map(column).collect();
    let paths = version["selectableFields"].as_array().into_iter().flatten();
    let scale = version["subresources"]["scale"].as_object().into_iter().flatten();
    Custom {
        columns,
        selectable: paths.map(|field| text(field, "jsonPath").to_owned()).collect(),
        schema: version["schema"]["openAPIV3Schema"].clone(),
        scale: scale
            .filter_map(|(name, path)| Some((name.clone(), path.as_str()?.to_owned())))
            .collect::<BTreeMap<_, _>>(),
    }
}

fn column(given: &Value) -> Column {
    Column {
        name: text(given, "name").to_owned(),
        kind: text(given, "type").to_owned(),
        format: text(given, "format").to_owned(),
        description: match text(given, "description") {
            "" => format!("Custom resource definition column (in JSONPath format): {}", text(given, "jsonPath")),
            words => words.to_owned(),
        },
        priority: given["priority"].as_i64().unwrap_or(0),
        path: text(given, "jsonPath").to_owned(),
    }
}

/// Returns the faults of a definition, as far as they would prevent its type from being served.
pub(crate) fn problems(definition: &Value) -> Vec<StatusCause> {
    let spec = &definition["spec"];
    let mut causes = Vec::new();
    let needed = [(spec, "spec", "group"), (spec, "spec", "scope")]
        .into_iter()
        .chain(["plural", "kind"].map(|name| (&spec["names"], "spec.names", name)));
    for (parent, path, name) in needed {
        if text(parent, name).is_empty() {
            causes.push(StatusCause::required(format!("{path}.{name}"), ""));
        }
    }
    let expected = format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group"));
    let name = text(&definition["metadata"], "name");
    if causes.is_empty() && name != expected {
        let rule = "must be spec.names.plural+\".\"+spec.group";
        causes.push(StatusCause::invalid("metadata.name", &name.into(), rule));
    }
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let shown: Value = versions.iter().map(|version| version["name"].clone()).collect();
        let rule = "must have exactly one version marked as storage version";
        causes.push(StatusCause::invalid("spec.versions", &shown, rule));
    }
    causes
}

/// The keyword under which a schema has rules in CEL.
const RULES: &str = "x-kubernetes-validations";

/// Returns warnings about the parts of a definition that have no effect: its CEL rules are not evaluated.
pub(crate) fn remarks(definition: &Value) -> Vec<String> {
    fn has_rules(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.contains_key(RULES) || map.values().any(has_rules),
            Value::Array(list) => list.iter().any(has_rules),
            _ => false,
        }
    }
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let with_rules = versions.enumerate().filter(|(_, version)| has_rules(&version["schema"]));
    let told = |(at, _): (usize, &Value)| {
        format!(
            "spec.versions[{at}].schema.openAPIV3Schema: the devcluster does not evaluate {RULES}: objects that break \
             these rules are stored here, and refused by other servers"
        )
    };
    with_rules.map(told).collect()
}

/// Returns the status that makes a definition's type usable. It is established at once, since nothing is pending.
pub(crate) fn accepted_status(definition: &Value, now: &str) -> Value {
    let names = &definition["spec"]["names"];
    let kind = text(names, "kind");
    let mut accepted = names.clone();
    if text(names, "singular").is_empty() {
        accepted["singular"] = kind.to_ascii_lowercase().into();
    }
    if text(names, "listKind").is_empty() {
        accepted["listKind"] = format!("{kind}List").into();
    }
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message});
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let stored: Vec<&str> = versions.filter(|one| one["storage"] == true).map(|one| text(one, "name")).collect();
    json!({
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": accepted,
        "storedVersions": stored,
    })
}
