//! What the host asks on its own account: through gates of its own, and recorded as its own.

use http::{HeaderValue, Method};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::client::Payload;
use super::connect::ApiClient;
use super::error::ClusterError;
use super::unavailable::Unavailable;
use crate::gate::{Channel, Gate, GateError, Permit};
use crate::policy::{ApiRequest, ResourcePath};

/// What we read of a `SelfSubjectAccessReview`.
#[derive(Deserialize)]
struct Review {
    status: ReviewStatus,
}

#[derive(Deserialize)]
struct ReviewStatus {
    #[serde(default)]
    allowed: bool,
}

impl ApiClient {
    /// Returns whether the API server would let this host do `verb` on a resource; where `what` has no name, on every
    /// object.
    ///
    /// # Errors
    /// When the server does not answer the question.
    pub async fn may(&self, verb: &str, what: &ResourcePath) -> Result<bool, ClusterError> {
        let path = ApiRequest::builder().resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews");
        let request = path.build(&Method::POST).map_err(ClusterError::Request)?;
        let permit = self.admitted(self.reviews(), request).await?;
        let payload = Payload::of(HeaderValue::from_static("application/json"), question(verb, what));
        let answer = self.fetch(permit, payload).await?;
        let review: Review = serde_json::from_slice(&answer.bytes).map_err(ClusterError::Review)?;
        Ok(review.status.allowed)
    }

    /// A permit of one of the host's own gates. Where its rate is spent, or the whole host's, it waits: plain discovery
    /// takes a request per group, and many guests may ask at once.
    pub(super) async fn admitted(&self, gate: &Gate, request: ApiRequest) -> Result<Permit, ClusterError> {
        let give_up = Instant::now().checked_add(self.deadline());
        let in_time = || give_up.is_none_or(|at| Instant::now() < at);
        loop {
            match gate.admit(Channel::Host, request.clone()) {
                Ok(permit) => return Ok(permit),
                Err(GateError::Throttled(wait) | GateError::HostThrottled(wait)) if in_time() => sleep(wait).await,
                Err(refusal @ (GateError::Throttled(_) | GateError::HostThrottled(_))) => {
                    return Err(Unavailable::Busy(refusal.to_string()).into());
                }
                Err(refusal) => return Err(ClusterError::Gate(refusal)),
            }
        }
    }
}

/// The body of the review; what is left out means all.
fn question(verb: &str, what: &ResourcePath) -> Vec<u8> {
    let attributes = json!({
        "verb": verb,
        "group": what.group,
        "version": what.version,
        "resource": what.resource,
        "subresource": what.subresource.as_deref().unwrap_or_default(),
        "namespace": what.namespace.as_deref().unwrap_or_default(),
        "name": what.name.as_deref().unwrap_or_default(),
    });
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": { "resourceAttributes": attributes },
    });
    review.to_string().into_bytes()
}
