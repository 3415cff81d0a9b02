//! create: new objects, with generated names.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::form;
use crate::model::nesting;
use crate::model::object::{self, Object};
use crate::model::resources::Type;
use crate::model::status::ApiError;
use crate::model::store::Change;
use crate::rules::managed;
use crate::rules::schema::FieldValidation;
use crate::server::admission;
use crate::server::api::{Api, Call};
use crate::server::body;
use crate::server::metadata::{self, name_is_generated};
use crate::server::origin::Origin;
use crate::server::write::{check_namespace, complete, write_answer};
use crate::wire::answer::Answer;

/// The number of attempts at a generated name, as in a real server.
const NAME_TRIES: usize = 8;

impl Api {
    pub(crate) fn create(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let (value, warnings) = body::object(call, FieldValidation::of(call.query.get("fieldValidation")))?;
        let object = self.create_object(&Origin::of(call), &call.of, call.namespace(), value)?;
        Ok(write_answer(201, call, &object, warnings))
    }

    /// Creates an object.
    pub(crate) fn create_object(
        self: &Arc<Self>,
        origin: &Origin,
        of: &Arc<Type>,
        namespace: &str,
        mut value: Value,
    ) -> Result<Arc<Object>, ApiError> {
        check_namespace(namespace, &value)?;
        self.check_room(of, namespace, &value)?;
        let version: u64 =
            value["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
        if version != 0 && !origin.keep_status {
            return Err(ApiError::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        if !value["metadata"].is_object() {
            value["metadata"] = json!({});
        }
        let generated = name_is_generated(&value);
        let mut tries = if generated { NAME_TRIES } else { 1 };
        loop {
            let mut fresh = value.clone();
            metadata::clear(&mut fresh, origin.tracked);
            if !origin.tracked {
                fresh = complete(of, fresh)?;
                managed::track(&origin.writer, of, None, &mut fresh);
            }
            metadata::set_new(of, namespace, &mut fresh, origin.keep_status);
            admission::admit_new(self, of, &mut fresh)?;
            form::keep(of, &mut fresh);
            nesting::check(&fresh)?;
            let name = fresh["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            let written = self.store.write(of, &object::key(namespace, &name), |before| match before {
                Some(_) => Err(ApiError::already_exists(of, &name)),
                None if origin.dry_run => Ok(Change::Keep(Arc::new(Object::build_dry(of, &fresh)))),
                None => Ok(Change::Put(fresh)),
            });
            tries -= 1;
            match written {
                Err(error) if error.reason == "AlreadyExists" && tries > 0 => {}
                Err(error) => return Err(error),
                Ok(written) => {
                    self.follow_up(of, &written);
                    if !origin.keep_status {
                        self.collect_if_orphaned(of, &written);
                    }
                    return Ok(written.object());
                }
            }
        }
    }

    /// Fails unless the namespace of a new object exists and is not being deleted.
    fn check_room(&self, of: &Type, namespace: &str, value: &Value) -> Result<(), ApiError> {
        if !of.namespaced {
            return Ok(());
        }
        let Some(namespaces) = self.catalogue.find("", "v1", "namespaces") else { return Ok(()) };
        let found = self.store.collection(&namespaces).get(namespace);
        let found = found.ok_or_else(|| ApiError::not_found(&namespaces, namespace))?;
        if !found.deleting {
            return Ok(());
        }
        let name = value["metadata"]["name"].as_str().unwrap_or_default();
        let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let message = format!("{} {name:?} is forbidden: {why}", of.qualified());
        let mut details = of.details(name);
        details["causes"] = json!([{
            "reason": "NamespaceTerminating", "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
        Err(ApiError::new(403, "Forbidden", message).with_details(details))
    }
}
