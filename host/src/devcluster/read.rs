//! get and list.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::{Accept, Answer, Notation, Shape, line};
use super::api::{Api, Call};
use super::object::{Object, put};
use super::paging;
use super::resources::Type;
use super::selectors::Selection;
use super::status::ApiError;
use super::store::{Listing, Part};
use super::table;
use super::versions;

/// What a request's `resourceVersion` allows the answer to be.
pub(crate) fn revision(text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let unfit = || {
        let message =
            format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax");
        ApiError::new(500, "", message)
    };
    text.parse().map(Some).map_err(|_| unfit())
}

/// The same for a list, which tells its client that the number is wrong.
fn list_revision(text: &str) -> Result<Option<u64>, ApiError> {
    revision(text).map_err(|error| ApiError::bad_request(format!("invalid resource version: {}", error.message)))
}

/// 504: the future was asked for.
pub(crate) fn too_large(wanted: u64, current: u64) -> ApiError {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
    let mut error =
        ApiError::new(504, "Timeout", message).with_details(json!({"causes": [cause], "retryAfterSeconds": 1}));
    error.retry_after = Some(1);
    error
}

/// The JSON of an object in the version of `of`, whichever version it was stored in.
pub(crate) fn in_version(of: &Type, object: &Object) -> bytes::Bytes {
    if versions::is_other(of) {
        return super::answer::ordered(&tree(of, object), false).into();
    }
    let head = of.head();
    if object.json().starts_with(head.as_bytes()) {
        return object.json().clone();
    }
    [head.as_bytes(), object.rest()].concat().into()
}

impl Api {
    pub(crate) fn get(&self, call: &Call<'_>) -> Result<Answer, ApiError> {
        if let Some(wanted) = revision(call.query.get("resourceVersion"))?
            && wanted > self.store.revision()
        {
            return Err(too_large(wanted, self.store.revision()));
        }
        let found = self.store.table(&call.of).get(&call.key());
        let object = found.ok_or_else(|| ApiError::not_found(&call.of, &call.at.name))?;
        Ok(show(200, call.accept, &call.of, &object))
    }

    pub(crate) fn list(&self, call: &Call<'_>) -> Result<Answer, ApiError> {
        let prefix = if call.namespace().is_empty() { String::new() } else { format!("{}/", call.namespace()) };
        let query = call.query;
        let selection = Selection::parse(&call.of, query.get("labelSelector"), query.get("fieldSelector"))?;
        let limit = usize::try_from(query.number("limit").unwrap_or(0)).unwrap_or(usize::MAX);
        let resume = match query.get("continue") {
            "" => None,
            token => Some(paging::resume(&prefix, token)?),
        };
        let at = match &resume {
            Some(resume) => resume.revision,
            None => self.wanted_revision(call, limit)?,
        };
        let part = Part { prefix: &prefix, after: resume.as_ref().map(|resume| resume.after.as_str()), at, limit };
        let table = self.store.table(&call.of);
        let listing =
            self.store.list(&table, &part, |object| selection.matches(object)).map_err(|_| match &resume {
                Some(resume) => paging::expired(&prefix, &resume.after),
                None => ApiError::expired("The resourceVersion for the provided list is too old."),
            })?;
        let mut metadata = json!({"resourceVersion": listing.revision.to_string()});
        if let Some(last) = &listing.more_after {
            metadata["continue"] = paging::token(&prefix, last, listing.revision).into();
            if selection.is_everything() {
                metadata["remainingItemCount"] = listing.remaining.into();
            }
        }
        let answer = show_list(call.accept, &call.of, listing, &metadata);
        Ok(answer)
    }

    /// The one revision that a list without a token has to show; `None` if the newest is fine.
    fn wanted_revision(&self, call: &Call<'_>, limit: usize) -> Result<Option<u64>, ApiError> {
        let (text, rule) = (call.query.get("resourceVersion"), call.query.get("resourceVersionMatch"));
        let forbidden = |why: &str| {
            let message = format!("ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: {why}");
            Err(ApiError::new(422, "Invalid", message))
        };
        match (rule, text) {
            ("" | "Exact" | "NotOlderThan", _) if rule.is_empty() || !text.is_empty() => {}
            ("Exact" | "NotOlderThan", _) => {
                return forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            _ => return forbidden("resourceVersionMatch must be one of Exact, NotOlderThan"),
        }
        let Some(wanted) = list_revision(text)?.filter(|wanted| *wanted != 0) else {
            return if rule == "Exact" && text == "0" {
                forbidden("resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"")
            } else {
                Ok(None)
            };
        };
        if wanted > self.store.revision() {
            return Err(too_large(wanted, self.store.revision()));
        }
        let exact = rule == "Exact" || (rule.is_empty() && limit != 0);
        Ok(exact.then_some(wanted))
    }
}

/// An object in the form that the client wants.
pub(crate) fn show(status: u16, accept: Accept, of: &Type, object: &Object) -> Answer {
    match accept.shape {
        Shape::Object if accept.notation == Notation::Json && !accept.pretty => {
            Answer::json(status, line(in_version(of, object).to_vec()))
        }
        Shape::Object => Answer::tree(status, accept, &tree(of, object)),
        Shape::Partial => Answer::tree(status, accept, &partial(object)),
        Shape::Table => Answer::tree(status, accept, &table::of_one(of, object)),
    }
}

/// The object as a tree, in the version of `of`.
pub(crate) fn tree(of: &Type, object: &Object) -> Value {
    versions::from_kept(of, object.value())
}

/// The object as an item of a list, which says for all of its items what they are.
fn bare(of: &Type, object: &Object) -> Value {
    let mut value = tree(of, object);
    if let Some(map) = value.as_object_mut().filter(|_| of.custom.is_none()) {
        map.remove("kind");
        map.remove("apiVersion");
    }
    value
}

/// The metadata of an object alone.
pub(crate) fn partial(object: &Object) -> Value {
    let metadata = object.value().get_mut("metadata").map(Value::take);
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

fn show_list(accept: Accept, of: &Arc<Type>, listing: Listing, metadata: &Value) -> Answer {
    if accept.notation == Notation::Yaml || accept.pretty {
        return Answer::tree(200, accept, &list_tree(accept, of, &listing, metadata));
    }
    match accept.shape {
        Shape::Object => {
            let head = head(&of.list_kind, &of.api_version(), metadata, "items");
            let of = Arc::clone(of);
            let item = move |object: &Object, out: &mut Vec<u8>| {
                if of.custom.is_some() {
                    out.extend_from_slice(&in_version(&of, object));
                } else if versions::is_other(&of) {
                    put(out, &bare(&of, object));
                } else {
                    out.push(b'{');
                    out.extend_from_slice(object.rest());
                }
            };
            Answer::list(head, listing.items, item, b"]}\n")
        }
        Shape::Partial => {
            let head = head("PartialObjectMetadataList", "meta.k8s.io/v1", metadata, "items");
            Answer::list(head, listing.items, |object, out| put(out, &partial(object)), b"]}\n")
        }
        Shape::Table => {
            let mut head = head("Table", "meta.k8s.io/v1", metadata, "columnDefinitions");
            head.pop();
            put(&mut head, &table::columns(of));
            head.extend_from_slice(br#","rows":["#);
            let of = Arc::clone(of);
            Answer::list(head, listing.items, move |object, out| put(out, &table::row(&of, object)), b"]}\n")
        }
    }
}

/// A list up to and with the opening bracket of its array `field`.
fn head(kind: &str, api_version: &str, metadata: &Value, field: &str) -> Vec<u8> {
    let kind = Value::from(kind);
    format!(r#"{{"kind":{kind},"apiVersion":"{api_version}","metadata":{metadata},"{field}":["#).into_bytes()
}

fn list_tree(accept: Accept, of: &Type, listing: &Listing, metadata: &Value) -> Value {
    let each =
        |show: &dyn Fn(&Object) -> Value| -> Vec<Value> { listing.items.iter().map(|item| show(item)).collect() };
    match accept.shape {
        Shape::Object => {
            let items = each(&|object| bare(of, object));
            json!({"kind": of.list_kind, "apiVersion": of.api_version(), "metadata": metadata, "items": items})
        }
        Shape::Partial => {
            let items = each(&partial);
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
        }
        Shape::Table => {
            let rows = each(&|object| table::row(of, object));
            table::of_rows(of, metadata, rows)
        }
    }
}

/// The answer with the warning that a deprecated type carries.
pub(crate) fn warned(of: &Type, answer: Answer) -> Answer {
    if of.group.is_empty() && of.kind == "Endpoints" {
        let text = "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
        return answer.with(http::header::WARNING, http::HeaderValue::from_static(text));
    }
    answer
}
