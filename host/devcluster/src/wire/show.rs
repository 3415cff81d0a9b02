//! Objects and lists in the representation that a client asks for.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::collection::Listing;
use crate::model::object::{Object, partial, put};
use crate::model::resources::Type;
use crate::model::versions;
use crate::wire::answer::{Accept, Answer, Notation, Representation, line};
use crate::wire::table;

/// Returns the JSON of an object in the version of `of`, regardless of the stored version.
pub(crate) fn in_version(of: &Type, object: &Object) -> bytes::Bytes {
    if versions::is_other(of) {
        return crate::model::object::ordered(&tree(of, object), false).into();
    }
    let head = of.head();
    if object.json().starts_with(head.as_bytes()) {
        return object.json().clone();
    }
    [head.as_bytes(), object.rest()].concat().into()
}

/// Returns the answer with an object in the representation that the client wants.
pub(crate) fn show(status: u16, accept: Accept, of: &Type, object: &Object) -> Answer {
    match accept.representation {
        Representation::Object if accept.notation == Notation::Json && !accept.pretty => {
            Answer::json(status, line(in_version(of, object).to_vec()))
        }
        Representation::Object => Answer::tree(status, accept, &tree(of, object)),
        Representation::Partial => Answer::tree(status, accept, &partial(object)),
        Representation::Table => Answer::tree(status, accept, &table::of_one(of, object)),
    }
}

/// Returns the object as a tree, in the version of `of`.
pub(crate) fn tree(of: &Type, object: &Object) -> Value {
    versions::from_kept(of, object.value())
}

/// Returns the object as an item of a list, which has the kind and version for all of its items.
fn bare(of: &Type, object: &Object) -> Value {
    let mut value = tree(of, object);
    if let Some(map) = value.as_object_mut().filter(|_| of.custom.is_none()) {
        map.remove("kind");
        map.remove("apiVersion");
    }
    value
}

pub(crate) fn show_list(accept: Accept, of: &Arc<Type>, listing: Listing, metadata: &Value) -> Answer {
    if accept.notation == Notation::Yaml || accept.pretty {
        return Answer::tree(200, accept, &list_tree(accept, of, &listing, metadata));
    }
    match accept.representation {
        Representation::Object => {
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
        Representation::Partial => {
            let head = head("PartialObjectMetadataList", "meta.k8s.io/v1", metadata, "items");
            Answer::list(head, listing.items, |object, out| put(out, &partial(object)), b"]}\n")
        }
        Representation::Table => {
            let mut head = head("Table", "meta.k8s.io/v1", metadata, "columnDefinitions");
            head.pop();
            put(&mut head, &table::columns(of));
            head.extend_from_slice(br#","rows":["#);
            let of = Arc::clone(of);
            Answer::list(head, listing.items, move |object, out| put(out, &table::row(&of, object)), b"]}\n")
        }
    }
}

/// Returns the beginning of a list, with the opening bracket of its array `field`.
fn head(kind: &str, api_version: &str, metadata: &Value, field: &str) -> Vec<u8> {
    let kind = Value::from(kind);
    format!(r#"{{"kind":{kind},"apiVersion":"{api_version}","metadata":{metadata},"{field}":["#).into_bytes()
}

fn list_tree(accept: Accept, of: &Type, listing: &Listing, metadata: &Value) -> Value {
    let each =
        |show: &dyn Fn(&Object) -> Value| -> Vec<Value> { listing.items.iter().map(|item| show(item)).collect() };
    match accept.representation {
        Representation::Object => {
            let items = each(&|object| bare(of, object));
            json!({"kind": of.list_kind, "apiVersion": of.api_version(), "metadata": metadata, "items": items})
        }
        Representation::Partial => {
            let items = each(&partial);
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
        }
        Representation::Table => {
            let rows = each(&|object| table::row(of, object));
            table::of_rows(of, metadata, rows)
        }
    }
}

/// Adds the warning of a deprecated type.
pub(crate) fn warned(of: &Type, answer: Answer) -> Answer {
    if of.group.is_empty() && of.kind == "Endpoints" {
        let text = "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
        return answer.with(http::header::WARNING, http::HeaderValue::from_static(text));
    }
    answer
}
