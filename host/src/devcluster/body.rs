//! What clients send: bodies in their formats, and options.

use http::HeaderValue;
use http::header::{self, HeaderMap};
use serde_json::Value;

use super::answer::Answer;
use super::api::Call;
use super::delete::Options;
use super::request::Query;
use super::resources::Type;
use super::status::ApiError;

/// What a 415 offers.
const NOTATIONS: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// The longest body of which an error shows the whole.
const SHOWN: usize = 30;

/// What becomes of fields that the type does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    pub(crate) fn of(query: &Query) -> Self {
        match query.get("fieldValidation") {
            "Strict" => Self::Strict,
            "Ignore" => Self::Ignore,
            _ => Self::Warn,
        }
    }
}

/// The media type of a body, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The tree that a JSON or YAML body is, and its type of media checked: always an object.
pub(crate) fn tree(call: &Call<'_>, kind: &str) -> Result<Value, ApiError> {
    let value = match media_type(call.headers).as_str() {
        "" | "application/json" => json(&call.body, kind),
        "application/yaml" => yaml(&call.body, kind),
        "application/vnd.kubernetes.protobuf" => {
            super::protobuf::decode(&call.body).ok_or_else(|| ApiError::unsupported_media(NOTATIONS))
        }
        _ => Err(ApiError::unsupported_media(NOTATIONS)),
    }?;
    check_object(kind, &value)?;
    Ok(value)
}

/// 400 for what is no object: everything behind this sets fields of it.
pub(crate) fn check_object(kind: &str, value: &Value) -> Result<(), ApiError> {
    if value.is_object() {
        return Ok(());
    }
    let message = format!(
        "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: \
         json: cannot unmarshal into Go value of type struct"
    );
    Err(ApiError::bad_request(message))
}

fn json(body: &[u8], kind: &str) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| unreadable(kind, &go_words(&error, body), body))
}

/// Reads YAML, of which JSON is a part.
pub(crate) fn yaml(body: &[u8], kind: &str) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| unreadable(kind, &error.to_string(), body))?;
    check_yaml(text).map_err(|why| unreadable(kind, why, body))?;
    serde_saphyr::from_str(text).map_err(|error| unreadable(kind, &error.to_string(), body))
}

/// What a real server's parser, which is one of YAML 1.1, does not take and ours does.
fn check_yaml(text: &str) -> Result<(), &'static str> {
    let printable = |letter: char| matches!(letter, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    if !text.chars().all(printable) {
        return Err("yaml: control characters are not allowed");
    }
    let mut rest = text;
    while let Some((_, escape)) = rest.split_once('\\') {
        let half = |digits: &str| digits.starts_with(['d', 'D']) && digits.get(1..2) >= Some("8");
        if escape.strip_prefix('u').is_some_and(half) {
            return Err("yaml: found invalid Unicode character escape code");
        }
        let mut after = escape.chars();
        after.next();
        rest = after.as_str();
    }
    Ok(())
}

fn unreadable(kind: &str, why: &str, body: &[u8]) -> ApiError {
    let text = String::from_utf8_lossy(body);
    let shown: String = text.chars().take(SHOWN).collect();
    let shown = if shown.len() < text.len() { format!("{shown} ...") } else { shown };
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: \
         {why} ({shown})"
    ))
}

/// A parser's complaint in the words of Go's, as far as they can be told.
fn go_words(error: &serde_json::Error, body: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let line = body.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    match line.get(error.column().saturating_sub(1)) {
        Some(byte) => format!("invalid character '{}' looking for beginning of value", char::from(*byte)),
        None => error.to_string(),
    }
}

/// The object that a body is, checked to be of the type that the path names, with warnings about unknown fields.
pub(crate) fn object(call: &Call<'_>, validation: FieldValidation) -> Result<(Value, Vec<String>), ApiError> {
    let mut value = tree(call, &call.of.kind)?;
    check_type(&call.of, &value)?;
    let warnings = super::schema::check(&call.of, &mut value, validation)?;
    Ok((value, warnings))
}

/// Checks `kind` and `apiVersion`, each of which may be left out where the path says enough.
pub(crate) fn check_type(of: &Type, value: &Value) -> Result<(), ApiError> {
    check_object(&of.kind, value)?;
    let (kind, version) =
        (value["kind"].as_str().unwrap_or_default(), value["apiVersion"].as_str().unwrap_or_default());
    let expected = of.api_version();
    if (kind.is_empty() || kind == of.kind) && (version.is_empty() || version == expected) {
        return Ok(());
    }
    if of.custom.is_some() || version != expected {
        let message =
            format!("the API version in the data ({version}) does not match the expected API version ({expected})");
        return Err(ApiError::bad_request(message));
    }
    let (package, internal) = (
        of.version.as_str(),
        if of.group.is_empty() { "core" } else { of.group.split('.').next().unwrap_or_default() },
    );
    let message = format!(
        "{kind} in version {package:?} cannot be handled as a {}: converting ({package}.{kind}) to ({internal}.{}): \
         unknown conversion",
        of.kind, of.kind
    );
    Err(ApiError::bad_request(message))
}

/// The options of a deletion, from its body or its query.
pub(crate) fn delete_options(call: &Call<'_>) -> Result<Options, ApiError> {
    let body = if call.body.is_empty() { Value::Null } else { tree(call, "DeleteOptions")? };
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let query = |name: &str| Some(call.query.get(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    let grace = body["gracePeriodSeconds"].as_i64();
    let orphans = body["orphanDependents"].as_bool().map(|orphan| if orphan { "Orphan" } else { "Background" });
    let propagation = text(&body["propagationPolicy"]).or_else(|| query("propagationPolicy"));
    Ok(Options {
        grace_seconds: grace.or_else(|| query("gracePeriodSeconds").and_then(|text| text.parse().ok())),
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        propagation: propagation.or_else(|| orphans.map(str::to_owned)).unwrap_or_default(),
        dry_run: call.dry_run() || body["dryRun"].as_array().is_some_and(|list| list.iter().any(|one| one == "All")),
    })
}

/// The answer with one `Warning` header for each of `warnings`.
pub(crate) fn with_warnings(mut answer: Answer, warnings: &[String]) -> Answer {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            answer = answer.with(header::WARNING, value);
        }
    }
    answer
}
