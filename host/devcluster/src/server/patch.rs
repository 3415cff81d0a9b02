//! PATCH: JSON patch, merge patch, strategic merge and server-side apply.

use std::sync::Arc;

use serde_json::Value;

use crate::model::status::ApiError;
use crate::rules::schema::FieldValidation;
use crate::server::api::{Api, Call};
use crate::server::body::media_type;
use crate::server::operations;
use crate::server::origin::Origin;
use crate::server::write::{check_namespace, write_answer};
use crate::wire::answer::Answer;

const JSON_PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// A patch as a function of the stored object.
type Change<'a> = Box<dyn FnOnce(&Value) -> Result<Value, ApiError> + 'a>;

impl Api {
    pub(crate) fn patch(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let origin = Origin::of(call);
        let validation = FieldValidation::of(call.query.get("fieldValidation"));
        let of = &call.of;
        let media = media_type(call.headers);
        if media == APPLY {
            return self.apply(call);
        }
        if self.store.collection(of).get(&call.key()).is_none() {
            return Err(ApiError::not_found(of, &call.at.name));
        }
        let change: Change<'_> = match media.as_str() {
            JSON_PATCH => {
                let patch = operations::read(&call.body)?;
                Box::new(move |old| operations::apply(old, &patch))
            }
            MERGE => {
                let patch = object(&call.body)?;
                Box::new(move |old| {
                    let mut new = old.clone();
                    json_patch::merge(&mut new, &patch);
                    Ok(new)
                })
            }
            STRATEGIC if of.custom.is_none() => {
                let patch = object(&call.body)?;
                Box::new(move |old| crate::rules::strategic::merge(of, old, &patch))
            }
            _ => return Err(unsupported(of.custom.is_some())),
        };
        let mut warnings = Vec::new();
        let patched = |old: &Value| {
            let mut new = change(old)?;
            check_namespace(call.namespace(), &new)?;
            check_name(&call.at.name, &new)?;
            warnings = crate::rules::schema::check(of, &mut new, validation)?;
            Ok(new)
        };
        let object = self.change_object(&origin, of, &call.key(), patched)?;
        Ok(write_answer(200, call, &object, warnings))
    }
}

/// Returns the 415 with the accepted types; custom types have no strategic merge.
fn unsupported(custom: bool) -> ApiError {
    let mut accepted = vec![JSON_PATCH, MERGE];
    if !custom {
        accepted.push(STRATEGIC);
    }
    accepted.extend([APPLY, "application/apply-patch+cbor"]);
    ApiError::unsupported_media(&accepted.join(", "))
}

fn check_name(name: &str, new: &Value) -> Result<(), ApiError> {
    match new["metadata"]["name"].as_str() {
        Some(given) if given != name => {
            let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
            Err(ApiError::bad_request(message))
        }
        _ => Ok(()),
    }
}

fn object(body: &[u8]) -> Result<Value, ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    if value.is_object() { Ok(value) } else { Err(ApiError::bad_request("error decoding patch: not an object")) }
}
