//! Errors of an API server: the `Status` object.
//!
//! The wording, reasons and details are those of kube-apiserver 1.36, so that error handling that works here works
//! there.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::model::resources::Type;

/// The members of a `Status`'s details, and of a cause among them, in a real server's order: there are clients that
/// compare the text.
const MEMBERS: &[&str] = &["name", "group", "kind", "uid", "causes", "retryAfterSeconds", "reason", "message", "field"];

/// Encodes details in a real server's order.
pub(crate) fn written_details(details: &Value) -> String {
    match details {
        Value::Array(list) => format!("[{}]", list.iter().map(written_details).collect::<Vec<_>>().join(",")),
        Value::Object(map) => {
            let member = |name: &&str| map.get(*name).map(|value| format!("{:?}:{}", name, written_details(value)));
            format!("{{{}}}", MEMBERS.iter().filter_map(member).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// An error of a request, with the client's answer.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    /// The HTTP status.
    pub(crate) code: u16,
    /// The machine-readable reason; empty where a real server leaves it out.
    pub(crate) reason: &'static str,
    /// The message for people.
    pub(crate) message: String,
    /// The subject of the error, where a real server names it.
    pub(crate) details: Option<Value>,
    /// The `continue` token in the answer to an expired one.
    pub(crate) resume: Option<Box<str>>,
    /// Seconds for the `Retry-After` header.
    pub(crate) retry_after: Option<u32>,
    /// True if the connection cannot be used again, as after a body that was not read to its end.
    pub(crate) close: bool,
    /// True if the message alone is sent, as text.
    pub(crate) plain: bool,
    /// The path of the unreadable field. Clients do not get it, since a real server does not send it.
    pub(crate) field: Option<Box<str>>,
}

/// One fault of a refused object.
#[derive(Debug, Clone)]
pub(crate) struct StatusCause {
    /// The machine-readable reason, such as `FieldValueInvalid`.
    pub(crate) reason: &'static str,
    /// The message, without the field's path.
    pub(crate) message: String,
    /// The path, such as `spec.containers[0].name`.
    pub(crate) field: String,
}

impl StatusCause {
    /// Makes a cause for a value that breaks a rule.
    pub(crate) fn invalid(field: impl Into<String>, value: &Value, rule: &str) -> Self {
        Self { reason: "FieldValueInvalid", message: format!("Invalid value: {value}: {rule}"), field: field.into() }
    }

    /// Makes a cause for a missing field.
    pub(crate) fn required(field: impl Into<String>, rule: &str) -> Self {
        let message = if rule.is_empty() { "Required value".to_owned() } else { format!("Required value: {rule}") };
        Self { reason: "FieldValueRequired", message, field: field.into() }
    }

    /// Makes a cause for a forbidden field.
    pub(crate) fn forbidden(field: impl Into<String>, rule: &str) -> Self {
        Self { reason: "FieldValueForbidden", message: format!("Forbidden: {rule}"), field: field.into() }
    }

    fn json(&self) -> Value {
        json!({"reason": self.reason, "message": self.message, "field": self.field})
    }
}

impl ApiError {
    /// Makes an error without details.
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            resume: None,
            retry_after: None,
            close: false,
            plain: false,
            field: None,
        }
    }

    /// Sets the details.
    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// 400: the request makes no sense.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: the client is unknown.
    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 404: there is no object of that name.
    pub(crate) fn not_found(of: &Type, name: &str) -> Self {
        let message = format!("{} {name:?} not found", of.qualified());
        Self::new(404, "NotFound", message).with_details(of.details(name))
    }

    /// 404: no API serves the path of a resource.
    pub(crate) fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with_details(json!({}))
    }

    /// 404: nothing is served at the path. The answer is plain text.
    pub(crate) fn no_page() -> Self {
        let mut error = Self::new(404, "", "404 page not found\n");
        error.plain = true;
        error
    }

    /// 405: the resource has no such verb.
    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message).with_details(json!({}))
    }

    /// 409: the name is taken.
    pub(crate) fn already_exists(of: &Type, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", of.qualified());
        Self::new(409, "AlreadyExists", message).with_details(of.details(name))
    }

    /// 409: the object was changed meanwhile, or a precondition does not hold.
    pub(crate) fn conflict(of: &Type, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {why}", of.qualified());
        Self::new(409, "Conflict", message).with_details(of.details(name))
    }

    /// 409: the object was read before it was last written.
    pub(crate) fn modified(of: &Type, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(of, name, why)
    }

    /// 410: the requested revision has been compacted.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 415: the format of a body is not supported.
    pub(crate) fn unsupported_media(accepted: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422: an object that breaks the rules of its type.
    pub(crate) fn invalid(of: &Type, name: &str, causes: &[StatusCause]) -> Self {
        // Events of both groups are judged as one type.
        let group = if crate::model::versions::is_other(of) { "" } else { &of.group };
        Self::invalid_kind(group, &of.kind, name, causes)
    }

    /// 422: an object that breaks the rules of its kind, which need not be a stored type's.
    pub(crate) fn invalid_kind(group: &str, kind: &str, name: &str, causes: &[StatusCause]) -> Self {
        let told: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let list = match told.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let mut details = Map::new();
        if !name.is_empty() {
            details.insert("name".into(), name.into());
        }
        if !group.is_empty() {
            details.insert("group".into(), group.into());
        }
        details.insert("kind".into(), kind.into());
        details.insert("causes".into(), causes.iter().map(StatusCause::json).collect());
        let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        Self::new(422, "Invalid", format!("{kind} {name:?} is invalid: {list}")).with_details(Value::Object(details))
    }

    /// 422: options that break the rules.
    pub(crate) fn invalid_options(kind: &str, causes: &[StatusCause]) -> Self {
        let told: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
        let list = if let [one] = told.as_slice() { one.clone() } else { format!("[{}]", told.join(", ")) };
        let causes: Vec<Value> = causes.iter().map(StatusCause::json).collect();
        let details = json!({"group": "meta.k8s.io", "kind": kind, "causes": causes});
        let message = format!("{kind}.meta.k8s.io \"\" is invalid: {list}");
        Self::new(422, "Invalid", message).with_details(details)
    }

    /// 500: an error of the server itself.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = message.into();
        let details = json!({"causes": [{"message": message}]});
        Self::new(500, "InternalError", format!("Internal error occurred: {message}")).with_details(details)
    }

    /// Returns the `Status` object.
    pub(crate) fn body(&self) -> String {
        let mut text = String::from(r#"{"kind":"Status","apiVersion":"v1","metadata":"#);
        match &self.resume {
            Some(token) => _ = write!(text, "{}", json!({"continue": token})),
            None => text.push_str("{}"),
        }
        _ = write!(text, r#","status":"Failure","message":{}"#, Value::from(self.message.as_str()));
        if !self.reason.is_empty() {
            _ = write!(text, r#","reason":"{}""#, self.reason);
        }
        if let Some(details) = &self.details {
            _ = write!(text, r#","details":{}"#, written_details(details));
        }
        _ = write!(text, r#","code":{}}}"#, self.code);
        text
    }
}
