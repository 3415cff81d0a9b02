//! A validating admission webhook: a pod is admitted if it names its owner in the label `owner`.
//!
//! `attache serve` calls it with the trigger `http`, over TLS, and a ValidatingWebhookConfiguration names its address.

use attache_guest::http::{Body, Request, Response, StatusCode, header};
use attache_guest::serde_json::{Value, from_slice, json};
use attache_guest::serve::Content;

/// The label that a pod needs.
const OWNER: &str = "owner";

fn review(request: Request<Body>) -> Response<Content> {
    let review = request.into_body().bytes().ok().and_then(|bytes| from_slice::<Value>(&bytes).ok());
    let Some(review) = review.filter(|review| review["kind"] == "AdmissionReview") else {
        let mut refused = Response::new("an AdmissionReview is expected\n".into());
        *refused.status_mut() = StatusCode::BAD_REQUEST;
        return refused;
    };
    let uid = &review["request"]["uid"];
    let owner = review["request"]["object"]["metadata"]["labels"][OWNER].as_str().unwrap_or_default();
    let verdict = if owner.is_empty() {
        json!({"uid": uid, "allowed": false, "status": {"code": 403, "message": format!("the pod has no label {OWNER}")}})
    } else {
        json!({"uid": uid, "allowed": true})
    };
    let answer = json!({"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": verdict});
    let mut response = Response::new(answer.to_string().into());
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

attache_guest::serve!(review);
