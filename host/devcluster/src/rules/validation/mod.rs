//! Validation of pods, as far as a kubelet without containers needs it: volumes, the Downward API, env, mounts and
//! resources.
//!
//! The rules, the order and the words are those of `pkg/apis/core/validation/validation.go` of Kubernetes 1.36, so that
//! a manifest refused here is refused for the same reason there. A value of the wrong JSON type counts as missing: the
//! schema is checked elsewhere.

mod cause;
mod containers;
mod downward;
mod names;
mod quantities;
mod volumes;

use serde_json::Value;

pub use self::cause::{Cause, CauseType};
use self::cause::{Causes, Field};
pub use self::quantities::{Undecodable, decodable};
use crate::manifest::{Document, Location};
use crate::rules::schema;

pub(crate) use self::downward::subscript;
pub use self::downward::{ENV_FIELDS, VOLUME_FIELDS};

/// Returns the violations of a Pod's spec, in the order of a real server.
pub fn pod(object: &Value) -> Vec<Cause> {
    pod_spec(object.get("spec").unwrap_or(&Value::Null), "spec")
}

/// Returns the violations of a pod template's spec. `path` is the path of the spec: `spec.template.spec`.
pub fn pod_spec(spec: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Causes::default();
    let spec = Field::new(spec, path);
    let volumes = volumes::check(&spec, &mut causes);
    containers::check(&spec, &volumes, &mut causes);
    let account = spec.child("serviceAccountName");
    if let Some(name) = account.text().filter(|name| !name.is_empty()) {
        causes.broken(&account, name, names::subdomain(name));
    }
    causes.into_list()
}

/// Returns the path of the pod spec that is judged in objects of a kind: in the Pod itself, or in a template.
pub fn pod_spec_path(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some("spec"),
        "Deployment" | "ReplicaSet" | "DaemonSet" | "Job" | "ReplicationController" => Some("spec.template.spec"),
        // A server does not judge the pods of a StatefulSet: volumes may come from its claims
        // [`pkg/apis/apps/validation`, `ValidatePodTemplateSpecForStatefulSet`].
        "CronJob" => Some("spec.jobTemplate.spec.template.spec"),
        "PodTemplate" => Some("template.spec"),
        _ => None,
    }
}

/// An error of a document: the server's messages with their locations in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The object cannot be decoded: a 400 from the server.
    #[error("{location}: {error}")]
    Undecodable {
        /// The location of the value.
        location: Location,
        /// The server's message.
        error: Undecodable,
    },
    /// A value is of the wrong type for its field, such as a number for a name: a 400 from the server.
    #[error("{location}: {field}: {message}")]
    Misread {
        /// The location of the value.
        location: Location,
        /// The path of the field.
        field: String,
        /// The server's message.
        message: String,
    },
    /// The object breaks rules: a 422 from the server.
    #[error("{}", lines(.0))]
    Invalid(Vec<(Location, Cause)>),
}

fn lines(causes: &[(Location, Cause)]) -> String {
    let lines: Vec<_> = causes.iter().map(|(location, cause)| format!("{location}: {cause}")).collect();
    lines.join("\n")
}

/// Judges a document. Each value of a built-in type has to have its field's type, and a pod's spec has to keep the
/// rules.
///
/// # Errors
/// [`DocumentError`] with file, line and column for each cause.
pub fn document(document: &Document) -> Result<(), DocumentError> {
    decodable(document.object())
        .map_err(|error| DocumentError::Undecodable { location: document.location(&error.at), error })?;
    if let Some(schema::Misread { field, message }) = schema::misread(document.object()) {
        return Err(DocumentError::Misread { location: document.location(&field), field, message });
    }
    let Some(path) = pod_spec_path(document.kind()) else { return Ok(()) };
    let pointer = format!("/{}", path.replace('.', "/"));
    let spec = document.object().pointer(&pointer).unwrap_or(&Value::Null);
    let causes: Vec<_> = pod_spec(spec, path).into_iter().map(|cause| (document.location(&cause.at), cause)).collect();
    if causes.is_empty() { Ok(()) } else { Err(DocumentError::Invalid(causes)) }
}

#[cfg(test)]
mod tests;
