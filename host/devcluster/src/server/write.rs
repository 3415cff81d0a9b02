//! create, update and delete: the steps of every change of an object.

use std::sync::Arc;

use serde_json::Value;

use crate::model::form;
use crate::model::nesting;
use crate::model::object::Object;
use crate::model::resources::Type;
use crate::model::status::ApiError;
use crate::model::store::{Change, Written};
use crate::rules::defaults;
use crate::rules::managed;
use crate::rules::schema::FieldValidation;
use crate::server::admission;
use crate::server::api::{Api, Call};
use crate::server::body;
use crate::server::metadata;
use crate::server::origin::Origin;
use crate::wire::answer::Answer;
use crate::wire::show::show;

/// Returns a client's object in its stored form, with the defaults of its type and nothing of the server's.
pub(crate) fn complete(of: &Type, mut value: Value) -> Result<Value, ApiError> {
    form::keep(of, &mut value);
    defaults::complete(of, &mut value);
    form::keep(of, &mut value);
    nesting::check(&value)?;
    Ok(value)
}

impl Api {
    pub(crate) fn update(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let (value, warnings) = body::object(call, FieldValidation::of(call.query.get("fieldValidation")))?;
        let named = value["metadata"]["name"].as_str().unwrap_or_default();
        if named != call.at.name {
            let message =
                format!("the name of the object ({named}) does not match the name on the URL ({})", call.at.name);
            return Err(ApiError::bad_request(message));
        }
        check_namespace(call.namespace(), &value)?;
        let object = self.change_object(&Origin::of(call), &call.of, &call.key(), |_| Ok(value))?;
        Ok(write_answer(200, call, &object, warnings))
    }

    /// Changes the object at `key` by `change`.
    pub(crate) fn change_object(
        self: &Arc<Self>,
        origin: &Origin,
        of: &Arc<Type>,
        key: &str,
        change: impl FnOnce(&Value) -> Result<Value, ApiError>,
    ) -> Result<Arc<Object>, ApiError> {
        let name = key.rsplit('/').next().unwrap_or(key);
        let written = self.store.write(of, key, |before| {
            let before = before.ok_or_else(|| ApiError::not_found(of, name))?;
            let old = crate::wire::show::tree(of, before);
            let mut new = change(&old)?;
            metadata::check_preconditions(of, name, &old, &new)?;
            if !origin.tracked {
                new = complete(of, new)?;
                managed::track(&origin.writer, of, Some(&old), &mut new);
            }
            metadata::keep_unwritable(of, &origin.writer.subresource, &old, &mut new);
            admission::admit_change(self, of, &origin.writer.subresource, &old, &mut new)?;
            form::keep(of, &mut new);
            nesting::check(&new)?;
            if metadata::is_unchanged(&old, &new) {
                return Ok(Change::Keep(Arc::clone(before)));
            }
            if origin.dry_run {
                return Ok(Change::Keep(Arc::new(Object::build(of, &new, before.revision))));
            }
            Ok(if metadata::is_finished(&new) { Change::Remove } else { Change::Put(new) })
        })?;
        self.follow_up(of, &written);
        self.collect_if_orphaned(of, &written);
        Ok(written.object())
    }

    /// Applies the effects of a changed object on the cluster.
    pub(crate) fn follow_up(self: &Arc<Self>, of: &Arc<Type>, written: &Written) {
        match (of.group.as_str(), of.kind.as_str(), written) {
            ("", "Namespace", Written::Created(object)) => self.furnish(&object.name),
            (
                "apiextensions.k8s.io",
                "CustomResourceDefinition",
                Written::Created(object) | Written::Updated(object),
            ) => {
                self.catalogue.define(&object.value());
            }
            ("apiextensions.k8s.io", "CustomResourceDefinition", Written::Removed(object)) => {
                self.forget_type(&object.name);
            }
            _ => {}
        }
        if let Written::Removed(object) = written {
            self.collect_garbage(object);
        }
    }
}

/// Returns the answer to a write, with its warnings.
pub(crate) fn write_answer(status: u16, call: &Call<'_>, object: &Object, mut warnings: Vec<String>) -> Answer {
    warnings.extend(admission::remarks(&call.of, &object.value()));
    body::with_warnings(show(status, call.accept, &call.of, object), &warnings)
}

/// Fails if a body contradicts the namespace of the path. A body may leave it out.
pub(crate) fn check_namespace(namespace: &str, value: &Value) -> Result<(), ApiError> {
    let given = value["metadata"]["namespace"].as_str().unwrap_or_default();
    if given.is_empty() || given == namespace {
        return Ok(());
    }
    let message = "the namespace of the provided object does not match the namespace sent on the request";
    Err(ApiError::bad_request(message))
}
