//! Request bodies in their formats, and options.

use http::HeaderValue;
use http::header::{self, HeaderMap};
use serde_json::Value;

use crate::model::resources::Type;
use crate::model::status::{ApiError, StatusCause};
use crate::rules::schema::{FieldValidation, check_object};
use crate::server::api::Call;
use crate::wire::answer::Answer;

/// The media types in a 415.
const NOTATIONS: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// The longest body that an error shows whole.
const SHOWN: usize = 30;

/// Returns the media type of a body, without its parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Parses a JSON or YAML body by its media type: always an object.
pub(crate) fn tree(call: &Call<'_>, kind: &str) -> Result<Value, ApiError> {
    let value = match media_type(call.headers).as_str() {
        "" | "application/json" => json(&call.body, kind),
        "application/yaml" => yaml(&call.body, kind),
        "application/vnd.kubernetes.protobuf" => {
            crate::wire::protobuf::decode(&call.body).ok_or_else(|| ApiError::unsupported_media(NOTATIONS))
        }
        _ => Err(ApiError::unsupported_media(NOTATIONS)),
    }?;
    check_object(kind, &value)?;
    Ok(value)
}

fn json(body: &[u8], kind: &str) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| unreadable(kind, &go_words(&error, body), body))
}

/// Parses YAML, of which JSON is a part.
pub(crate) fn yaml(body: &[u8], kind: &str) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(body).map_err(|error| unreadable(kind, &error.to_string(), body))?;
    check_yaml(text).map_err(|why| unreadable(kind, why, body))?;
    serde_saphyr::from_str(text).map_err(|error| unreadable(kind, &error.to_string(), body))
}

/// Refuses YAML that a real server's parser, which is one of YAML 1.1, does not take and ours does.
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

/// Returns a parser's error in the words of Go's, as far as they can be derived.
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

/// Parses the object of a body and checks its type against the path. Returns it with warnings about unknown fields.
pub(crate) fn object(call: &Call<'_>, validation: FieldValidation) -> Result<(Value, Vec<String>), ApiError> {
    let mut value = tree(call, &call.of.kind)?;
    check_type(&call.of, &value)?;
    let warnings = crate::rules::schema::check(&call.of, &mut value, validation)?;
    Ok((value, warnings))
}

/// Checks `kind` and `apiVersion`, each of which may be missing if the path implies it.
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

/// Returns the options of a deletion, from its body or else from its query.
pub(crate) fn delete_options(call: &Call<'_>) -> Result<DeleteOptions, ApiError> {
    let body = if call.body.is_empty() { Value::Null } else { tree(call, "DeleteOptions")? };
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let query = |name: &str| Some(call.query.get(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    let grace = match (&body["gracePeriodSeconds"], query("gracePeriodSeconds")) {
        (Value::Null, Some(text)) => Some(
            text.parse()
                .map_err(|_| ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")))?,
        ),
        (Value::Null, None) => None,
        (given, _) => Some(given.as_i64().ok_or_else(no_number)?),
    };
    let mut causes = Vec::new();
    let propagation = text(&body["propagationPolicy"]).or_else(|| query("propagationPolicy")).unwrap_or_default();
    let orphan = body["orphanDependents"].as_bool().or_else(|| Some(query("orphanDependents")? == "true"));
    if orphan.is_some() && !propagation.is_empty() {
        let rule = "orphanDependents and deletionPropagation cannot be both set";
        causes.push(StatusCause::invalid("propagationPolicy", &propagation.as_str().into(), rule));
    } else if !matches!(propagation.as_str(), "" | "Foreground" | "Background" | "Orphan") {
        causes.push(not_offered(
            "propagationPolicy",
            &propagation.as_str().into(),
            r#""Foreground", "Background", "Orphan", "nil""#,
        ));
    }
    let dry: Vec<Value> = match query("dryRun") {
        Some(text) => vec![text.into()],
        None => body["dryRun"].as_array().cloned().unwrap_or_default(),
    };
    if dry.iter().any(|one| one != "All") {
        causes.push(not_offered("dryRun", &dry.clone().into(), r#""All""#));
    }
    if !causes.is_empty() {
        return Err(ApiError::invalid_options("DeleteOptions", &causes));
    }
    let orphans = orphan.map(|orphan| if orphan { "Orphan" } else { "Background" });
    Ok(DeleteOptions {
        grace_seconds: grace,
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
        propagation: if propagation.is_empty() { orphans.unwrap_or_default().to_owned() } else { propagation },
        dry_run: !dry.is_empty(),
    })
}

/// The longest name of a manager.
const MANAGER_LONGEST: usize = 128;

/// Checks the options of a write in its query.
pub(crate) fn check_options(call: &Call<'_>) -> Result<(), ApiError> {
    let kind = match call.verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        _ => return Ok(()),
    };
    let mut causes = Vec::new();
    if call.query.get("fieldManager").len() > MANAGER_LONGEST {
        let message = format!("Too long: may not be more than {MANAGER_LONGEST} bytes");
        causes.push(StatusCause { reason: "FieldValueTooLong", message, field: "fieldManager".to_owned() });
    }
    let dry = call.query.get("dryRun");
    if !matches!(dry, "" | "All") {
        causes.push(not_offered("dryRun", &Value::from(vec![dry]), r#""All""#));
    }
    let validation = call.query.get("fieldValidation");
    if !matches!(validation, "" | "Ignore" | "Strict" | "Warn") {
        causes.push(not_offered("fieldValidation", &validation.into(), r#""Ignore", "Strict", "Warn""#));
    }
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid_options(kind, &causes)) }
}

fn no_number() -> ApiError {
    let why = "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64";
    ApiError::bad_request(why)
}

fn not_offered(field: &str, value: &Value, offered: &str) -> StatusCause {
    let message = format!("Unsupported value: {value}: supported values: {offered}");
    StatusCause { reason: "FieldValueNotSupported", message, field: field.to_owned() }
}

/// Adds one `Warning` header for each of `warnings`.
pub(crate) fn with_warnings(mut answer: Answer, warnings: &[String]) -> Answer {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            answer = answer.with(header::WARNING, value);
        }
    }
    answer
}

/// The options of a deletion.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_seconds: Option<i64>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    /// `Orphan`, `Background`, `Foreground`, or nothing.
    pub(crate) propagation: String,
    pub(crate) dry_run: bool,
}
