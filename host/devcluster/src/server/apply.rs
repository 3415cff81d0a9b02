//! Server-side apply: a manager sets its own fields, and leaves all others.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::access::rbac::Act;
use crate::model::resources::Type;
use crate::model::status::{ApiError, StatusCause};
use crate::model::types::TypeRef;
use crate::rules::entries::Writer;
use crate::rules::managed::{self, Conflict};
use crate::rules::schema::FieldValidation;
use crate::rules::schema::check_object;
use crate::rules::typed;
use crate::server::api::{Api, Call};
use crate::server::body::{self, check_type};
use crate::server::origin::Origin;
use crate::server::write::{check_namespace, complete, write_answer};
use crate::wire::answer::Answer;

impl Api {
    pub(crate) fn apply(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let config = configuration(call)?;
        let of = &call.of;
        let mut origin = Origin::of(call);
        origin.tracked = true;
        let writer = origin.writer.clone();
        let force = call.query.flag("force");
        let apply = |live: Option<&Value>| apply_config(of, &writer, live, &config, force);
        if self.store.collection(of).get(&call.key()).is_none() && call.at.subresource.is_empty() {
            self.may_create(call)?;
            let mut new = apply(None)?;
            new["metadata"]["name"] = call.at.name.as_str().into();
            match self.create_object(&origin, of, call.namespace(), new) {
                // The object was created meanwhile, so that there is something to apply to.
                Err(error) if error.reason == "AlreadyExists" => {}
                created => return Ok(write_answer(201, call, &*created?, Vec::new())),
            }
        }
        let object = self.change_object(&origin, of, &call.key(), |live| apply(Some(live)))?;
        Ok(write_answer(200, call, &object, Vec::new()))
    }

    /// Fails unless the client may create the object under this very name, as an apply to a missing object requires.
    fn may_create(&self, call: &Call<'_>) -> Result<(), ApiError> {
        let act = Act::Resource { verb: "create", at: call.at };
        match self.allows(call.client, &act) {
            Some(_) => Ok(()),
            None => Err(act.forbidden(call.client)),
        }
    }
}

/// Applies a configuration to a live object, or to none.
pub(crate) fn apply_config(
    of: &Type,
    writer: &Writer,
    live: Option<&Value>,
    config: &Value,
    force: bool,
) -> Result<Value, ApiError> {
    let applied = managed::apply(writer, of, live, config, force).map_err(|conflicts| conflict(&conflicts))?;
    complete(of, applied)
}

/// Returns the configuration, checked as far as possible without the live object.
fn configuration(call: &Call<'_>) -> Result<Value, ApiError> {
    let manager = call.query.get("fieldManager");
    if manager.is_empty() {
        let cause = StatusCause::required("fieldManager", "is required for apply patch");
        return Err(ApiError::invalid_options("PatchOptions", &[cause]));
    }
    let mut config = body::yaml(&call.body, &call.of.kind)?;
    check_object(&call.of.kind, &config)?;
    let text = |name: &str| config[name].as_str().unwrap_or_default();
    if text("apiVersion").is_empty() || text("kind").is_empty() {
        let kind = with_group(text("apiVersion"), text("kind"));
        return Err(ApiError::bad_request(format!("invalid object type: {kind}")));
    }
    check_type(&call.of, &config)?;
    check_namespace(call.namespace(), &config)?;
    let named = config["metadata"]["name"].as_str().unwrap_or_default();
    if named.is_empty() {
        let at = &call.at.name;
        let message = format!("the name of the object ({at} based on URL) was undeterminable: name must be provided");
        return Err(ApiError::bad_request(message));
    }
    if named != call.at.name {
        let message = format!("the name of the object ({named}) does not match the name on the URL ({})", call.at.name);
        return Err(ApiError::bad_request(message));
    }
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    checked(&call.of, &mut config)?;
    Ok(config)
}

/// Returns a kind with its group and version, as in the server's own errors.
fn with_group(version: &str, kind: &str) -> String {
    let slash = if version.contains('/') { "" } else { "/" };
    format!("{slash}{version}, Kind={kind}")
}

/// Checks a configuration against its type: its fields have to exist, and the items of a list need different names.
fn checked(of: &Type, config: &mut Value) -> Result<(), ApiError> {
    let text = |name: &str| config["metadata"][name].as_str().unwrap_or_default().to_owned();
    let kind = with_group(&of.api_version(), &of.kind);
    let object = format!("({}/{}; {kind})", text("namespace"), text("name"));
    let refused = |why: String| Err(ApiError::new(500, "", why));
    if let Err(error) = crate::rules::schema::check(of, config, FieldValidation::Strict) {
        let why = error.message.split_once(&format!("as a {}: ", of.kind)).map_or("", |(_, why)| why);
        let field = error.field.as_deref().unwrap_or_default();
        return refused(if why.starts_with("strict decoding error") {
            format!("failed to create typed patch object {object}: .{field}: field not declared in schema")
        } else if why.starts_with("json: ") {
            format!("failed to create typed patch object {object}: .{field}: {why}")
        } else {
            format!(
                "failed to convert new object {object} to proper version: unable to convert unstructured object to \
                 {kind}: {why}"
            )
        });
    }
    match typed::duplicate(TypeRef::of(of), config) {
        Some(path) => refused(format!("failed to create typed patch object {object}: {path}")),
        None => Ok(()),
    }
}

/// Returns the 409 with each field and its owner.
fn conflict(conflicts: &[Conflict]) -> ApiError {
    let mut found: Vec<(&str, Vec<String>)> =
        conflicts.iter().map(|conflict| (conflict.with.as_str(), conflict.fields.paths())).collect();
    found.sort();
    let causes: Vec<Value> = found
        .iter()
        .flat_map(|(manager, paths)| {
            paths.iter().map(move |path| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": path})
            })
        })
        .collect();
    let message = match &found[..] {
        [(manager, paths)] if paths.len() == 1 => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths.concat())
        }
        all => {
            let lines: Vec<String> = all
                .iter()
                .map(|(manager, paths)| format!("conflicts with {manager}:\n- {}", paths.join("\n- ")))
                .collect();
            format!("Apply failed with {} conflicts: {}", causes.len(), lines.join("\n"))
        }
    };
    ApiError::new(409, "Conflict", message).with_details(json!({"causes": causes}))
}
