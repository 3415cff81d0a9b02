//! Admission: the additions and checks of an object before it is stored.

use serde_json::Value;

use crate::model::crd;
use crate::model::fresh::now;
use crate::model::names;
use crate::model::resources::Type;
use crate::model::status::{ApiError, StatusCause};
use crate::rules::prepare;
use crate::rules::validation;
use crate::server::api::Api;

/// The largest content of a `ConfigMap` or a Secret, in bytes.
const CONTENT_LONGEST: usize = 1 << 20;

/// Completes and judges a new object.
pub(crate) fn admit_new(api: &Api, of: &Type, value: &mut Value) -> Result<(), ApiError> {
    prepare::new(of, value);
    if of.group.is_empty() && of.kind == "Pod" {
        crate::server::service_accounts::admit(api, value)?;
    }
    if of.group == "apiextensions.k8s.io" {
        value["status"] = crd::accepted_status(value, &now());
    }
    verdict(of, value, &problems(of, value))
}

/// Completes and judges a changed object.
pub(crate) fn admit_change(
    _api: &Api,
    of: &Type,
    subresource: &str,
    old: &Value,
    new: &mut Value,
) -> Result<(), ApiError> {
    if subresource.is_empty() {
        prepare::changed(of, old, new);
    }
    if of.group == "apiextensions.k8s.io" && subresource.is_empty() {
        new["status"] = old["status"].clone();
    }
    let mut causes: Vec<StatusCause> = late_finalizers(old, new).into_iter().collect();
    causes.extend(problems(of, new));
    causes.extend(immutable(of, old, new));
    verdict(of, new, &causes)
}

fn verdict(of: &Type, value: &Value, causes: &[StatusCause]) -> Result<(), ApiError> {
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid(of, name_of(value), causes)) }
}

fn name_of(value: &Value) -> &str {
    value["metadata"]["name"].as_str().unwrap_or_default()
}

/// Returns all faults of an object by itself.
fn problems(of: &Type, value: &Value) -> Vec<StatusCause> {
    let metadata = &value["metadata"];
    let mut causes = match name_of(value) {
        "" => vec![StatusCause::required("metadata.name", "name or generateName is required")],
        name => names::name(of, name),
    };
    causes.extend(names::metadata("metadata", metadata));
    match (of.group.as_str(), of.kind.as_str()) {
        ("", "ConfigMap" | "Secret") => causes.extend(keys(value)),
        ("apiextensions.k8s.io", _) => causes.extend(crd::problems(value)),
        ("coordination.k8s.io", "Lease") => causes.extend(lease(value)),
        ("", "Service") => causes.extend(crate::rules::services::problems(value)),
        _ => {}
    }
    causes.extend(crate::rules::workloads::selector_problems(of, value));
    causes.extend(pods(of, value));
    causes.extend(crate::rules::workloads::restart_problem(of, value));
    if let Some(custom) = &of.custom {
        causes.extend(crate::model::custom_schema::problems(&custom.schema, value));
    }
    causes
}

/// Returns warnings for the client about an object that is stored.
pub(crate) fn remarks(of: &Type, value: &Value) -> Vec<String> {
    match (of.group.as_str(), of.kind.as_str()) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crd::remarks(value),
        ("", "Service") => {
            let spec = &value["spec"];
            let ignored = spec["externalName"].is_string() && spec["type"] != "ExternalName";
            ignored
                .then(|| r#"spec.externalName is ignored when spec.type is not "ExternalName""#.to_owned())
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the faults of a pod's spec, or of a template's.
fn pods(of: &Type, value: &Value) -> Vec<StatusCause> {
    let built_in = matches!(of.group.as_str(), "" | "apps" | "batch");
    let Some(path) = validation::pod_spec_path(&of.kind).filter(|_| built_in) else { return Vec::new() };
    let spec = value.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null);
    let told = |cause: validation::Cause| StatusCause {
        reason: cause.reason.as_str(),
        message: cause.message,
        field: cause.field,
    };
    validation::pod_spec(spec, path).into_iter().map(told).collect()
}

fn lease(value: &Value) -> Vec<StatusCause> {
    let bound = |field: &str, least: i64, rule: &str| {
        let given = &value["spec"][field];
        given
            .as_i64()
            .filter(|number| *number < least)
            .map(|_| StatusCause::invalid(format!("spec.{field}"), given, rule))
    };
    let seconds = bound("leaseDurationSeconds", 1, "must be greater than 0");
    seconds.into_iter().chain(bound("leaseTransitions", 0, "must be greater than or equal to 0")).collect()
}

fn keys(value: &Value) -> Vec<StatusCause> {
    let of = |field: &'static str| {
        let map = value.get(field).and_then(Value::as_object);
        map.into_iter().flat_map(|map| map.keys()).filter_map(move |key| names::config_key(field, key))
    };
    let size: usize = ["data", "binaryData"].iter().map(|field| content(value, field)).sum();
    let too_long = (size > CONTENT_LONGEST).then(|| {
        let field = if value["kind"] == "Secret" { "data" } else { "[]" };
        let message = format!("Too long: may not be more than {CONTENT_LONGEST} bytes");
        StatusCause { reason: "FieldValueTooLong", message, field: field.to_owned() }
    });
    of("data").chain(of("binaryData")).chain(too_long).collect()
}

/// Returns the size of the values of a map. Base64 counts as its decoded content.
fn content(value: &Value, field: &str) -> usize {
    let encoded = field == "binaryData" || value["kind"] == "Secret";
    let values = value.get(field).and_then(Value::as_object).into_iter().flat_map(|map| map.values());
    let length = |text: &str| if encoded { text.trim_end_matches('=').len() * 3 / 4 } else { text.len() };
    values.filter_map(Value::as_str).map(length).sum()
}

/// Returns the changes of immutable fields.
fn immutable(of: &Type, old: &Value, new: &Value) -> Vec<StatusCause> {
    let rule = "field is immutable";
    let fixed: &[&str] = match (of.group.as_str(), of.kind.as_str()) {
        ("", "Secret") => &["/type"],
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => &["/spec/selector"],
        ("batch", "Job") => &["/spec/completions", "/spec/selector", "/spec/template"],
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &["/roleRef"],
        _ => &[],
    };
    let changed = fixed.iter().filter(|path| old.pointer(path) != new.pointer(path));
    let told = |path: &&str| {
        let found = new.pointer(path).cloned().unwrap_or(Value::Null);
        StatusCause::invalid(path.trim_start_matches('/').replace('/', "."), &found, rule)
    };
    let mut causes: Vec<StatusCause> = changed.map(told).collect();
    if of.group.is_empty() && of.kind == "Service" {
        causes.extend(crate::rules::services::fixed(old, new));
    }
    let sealed = matches!(of.kind.as_str(), "ConfigMap" | "Secret") && old["immutable"] == true;
    if sealed && (old.get("data") != new.get("data") || old.get("binaryData") != new.get("binaryData")) {
        causes.push(StatusCause::forbidden("data", "field is immutable when `immutable` is set"));
    }
    causes
}

/// Refuses new finalizers once a deletion has begun [`pkg/api/validation/objectmeta.go`].
fn late_finalizers(old: &Value, new: &Value) -> Option<StatusCause> {
    fn list(value: &Value) -> &[Value] {
        value["metadata"]["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default()
    }
    let late: Vec<String> = list(new).iter().filter(|one| !list(old).contains(one)).map(Value::to_string).collect();
    if late.is_empty() || !old["metadata"]["deletionTimestamp"].is_string() {
        return None;
    }
    let found = late.join(", ");
    let rule = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{found}}}"
    );
    Some(StatusCause::forbidden("metadata.finalizers", &rule))
}
