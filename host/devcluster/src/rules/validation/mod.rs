//! What an API server says against a Pod, as far as a kubelet without containers needs it: volumes, the Downward API,
//! env, mounts and resources.
//!
//! The rules, the order and the words are those of `pkg/apis/core/validation/validation.go` of Kubernetes 1.36, so
//! that a manifest refused here is refused for the same reason there. Values of the wrong JSON type count as not
//! given: whether an object fits its schema is judged elsewhere.

mod cause;
mod containers;
mod downward;
mod names;
mod quantities;
mod volumes;

use serde_json::Value;

pub use self::cause::{Cause, Reason};
use self::cause::{Causes, Field};
pub use self::quantities::{Undecodable, decodable};
use crate::manifest::{Document, Location};
use crate::rules::schema;

pub(crate) use self::downward::subscript;
/// The Downward API fields that an env variable may take, and a file.
pub use self::downward::{ENV_FIELDS, VOLUME_FIELDS};

/// What is wrong with a Pod's spec, in the order of a real server; nothing if it would be taken.
pub fn pod(object: &Value) -> Vec<Cause> {
    pod_spec(object.get("spec").unwrap_or(&Value::Null), "spec")
}

/// The same for the spec of a pod template, whose path is given: `spec.template.spec`.
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

/// The place where a type of object holds a pod's spec that is judged: itself for a Pod, its template for what makes
/// pods.
pub fn pod_spec_path(kind: &str) -> Option<&'static str> {
    match kind {
        "Pod" => Some("spec"),
        "Deployment" | "ReplicaSet" | "DaemonSet" | "Job" | "ReplicationController" => Some("spec.template.spec"),
        // A server leaves the pods of a StatefulSet unjudged: volumes may come from its claims
        // [`pkg/apis/apps/validation`, `ValidatePodTemplateSpecForStatefulSet`].
        "CronJob" => Some("spec.jobTemplate.spec.template.spec"),
        "PodTemplate" => Some("template.spec"),
        _ => None,
    }
}

/// Why a manifest is refused: the server's words, each with the place in the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The object cannot be read at all: a 400 from the server.
    #[error("{place}: {error}")]
    Undecodable {
        /// Where the offending value is.
        place: Location,
        /// The server's message.
        error: Undecodable,
    },
    /// A value is of another sort than its field, such as a number for a name: a 400 from the server.
    #[error("{place}: {field}: {message}")]
    Misread {
        /// Where the value is.
        place: Location,
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
    let lines: Vec<_> = causes.iter().map(|(place, cause)| format!("{place}: {cause}")).collect();
    lines.join("\n")
}

/// Judges a document: each value of a built-in type has to be of its field's sort, and a pod's spec to keep the rules.
///
/// # Errors
/// [`Refused`], with file, line and column for each cause.
pub fn document(document: &Document) -> Result<(), Refused> {
    decodable(document.object()).map_err(|error| Refused::Undecodable { place: document.place(&error.at), error })?;
    if let Some(schema::Misread { field, message }) = schema::misread(document.object()) {
        return Err(Refused::Misread { place: document.place(&field), field, message });
    }
    let Some(path) = pod_spec_path(document.kind()) else { return Ok(()) };
    let pointer = format!("/{}", path.replace('.', "/"));
    let spec = document.object().pointer(&pointer).unwrap_or(&Value::Null);
    let causes: Vec<_> = pod_spec(spec, path).into_iter().map(|cause| (document.place(&cause.at), cause)).collect();
    if causes.is_empty() { Ok(()) } else { Err(Refused::Invalid(causes)) }
}

#[cfg(test)]
mod tests;
