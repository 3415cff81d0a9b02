//! Loading a cluster: from objects, from documents with locations, from a backup.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::{DevCluster, DevClusterError, refused};
use crate::manifest::{Document, Location};
use crate::model::object::{self, Object};
use crate::model::status::ApiError;
use crate::rules::validation;

/// A refused object and its error.
struct Refusal {
    kind: String,
    name: String,
    error: Box<ApiError>,
}

/// A document that the API server refuses, with a location in the file for each message.
///
/// It is printed with one message on each line: `pod.yaml:23:13: spec.containers[0].volumeMounts[0].name: Not found:
/// "v"`.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.faults))]
#[non_exhaustive]
pub struct RefusedDocument {
    /// The kind of the object.
    pub kind: String,
    /// The name of the object; empty if it has none.
    pub name: String,
    /// The HTTP status: 400 for an unreadable document, 422 for one that breaks rules, and others.
    pub code: u16,
    /// The machine-readable reason, such as `Invalid`.
    pub reason: String,
    /// The messages with their locations: at least one.
    pub faults: Vec<(Location, String)>,
}

fn lines(faults: &[(Location, String)]) -> String {
    let lines: Vec<String> = faults.iter().map(|(location, what)| format!("{location}: {what}")).collect();
    lines.join("\n")
}

impl RefusedDocument {
    fn new(document: &Document, code: u16, reason: &str, faults: Vec<(Location, String)>) -> Self {
        let (kind, name) = (document.kind().to_owned(), document.name().to_owned());
        Self { kind, name, code, reason: reason.to_owned(), faults }
    }

    /// Makes the error for a document that was judged before it was sent. Only there the true path of each field is
    /// known, since the server's messages leave out some indices.
    fn from_validation(document: &Document, refused: validation::DocumentError) -> Self {
        match refused {
            validation::DocumentError::Undecodable { location, error } => {
                Self::new(document, 400, "BadRequest", vec![(location, error.to_string())])
            }
            validation::DocumentError::Misread { location, field, message } => {
                Self::new(document, 400, "BadRequest", vec![(location, format!("{field}: {message}"))])
            }
            validation::DocumentError::Invalid(causes) => {
                let told = causes.into_iter().map(|(location, cause)| (location, cause.to_string()));
                Self::new(document, 422, "Invalid", told.collect())
            }
        }
    }

    /// Makes the error for a document that the server refused.
    fn from_server(document: &Document, error: &ApiError) -> Self {
        let causes = error.details.as_ref().and_then(|details| details["causes"].as_array());
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let mut faults: Vec<(Location, String)> = causes
            .into_iter()
            .flatten()
            .map(|cause| (text(cause, "field"), text(cause, "message")))
            .filter(|(field, _)| !field.is_empty())
            .map(|(field, message)| (document.location(&field), format!("{field}: {message}")))
            .collect();
        if faults.is_empty() {
            let message = error.message.clone();
            faults.push(match error.field.as_deref() {
                Some(field) => (document.location(field), format!("{field}: {message}")),
                None => (document.location(""), message),
            });
        }
        Self::new(document, error.code, error.reason, faults)
    }
}

impl DevCluster {
    /// Creates objects as the admin, in their order. An object without a namespace goes into `default`. A missing
    /// namespace is created, and an existing object is replaced. A status is kept, since no controller would make one.
    /// Lists (`kind: List`) are taken apart.
    ///
    /// # Errors
    /// [`DevClusterError::Refused`] at the first object that the server refuses. The objects before it stay.
    pub fn load(&self, objects: impl IntoIterator<Item = Value>) -> Result<(), DevClusterError> {
        let load =
            |value| self.load_value(value).map_err(|refusal| refused(&refusal.kind, &refusal.name, *refusal.error));
        objects.into_iter().try_for_each(load)
    }

    /// Loads one object as [`load`](Self::load) does, and returns it as stored, with its name, defaults and identity.
    ///
    /// # Errors
    /// [`DevClusterError::Refused`] when the server refuses the object, or it is a list.
    pub fn load_one(&self, object: Value) -> Result<Value, DevClusterError> {
        let stored = self.load_object(object);
        let stored = stored.map_err(|refusal| refused(&refusal.kind, &refusal.name, *refusal.error))?;
        Ok(stored.value())
    }

    /// Loads documents of manifests as [`load`](Self::load) does. An error has the locations of the fields at fault.
    ///
    /// # Errors
    /// [`RefusedDocument`] for the first document that the server refuses. The documents before it stay.
    pub fn load_documents<'d>(
        &self,
        documents: impl IntoIterator<Item = &'d Document>,
    ) -> Result<(), Box<RefusedDocument>> {
        documents.into_iter().try_for_each(|document| self.load_document(document).map(drop))
    }

    /// Loads one document as [`load_documents`](Self::load_documents) does, and returns the object as stored.
    ///
    /// # Errors
    /// [`RefusedDocument`] when the server refuses it.
    pub fn load_document(&self, document: &Document) -> Result<Value, Box<RefusedDocument>> {
        validation::document(document)
            .map_err(|refused| Box::new(RefusedDocument::from_validation(document, refused)))?;
        let loaded = self.load_object(document.object().clone());
        let stored =
            loaded.map_err(|Refusal { error, .. }| Box::new(RefusedDocument::from_server(document, &error)))?;
        Ok(stored.value())
    }

    fn load_value(&self, value: Value) -> Result<(), Refusal> {
        if value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && value["items"].is_array() {
            let items = value["items"].as_array().cloned().unwrap_or_default();
            return items.into_iter().try_for_each(|item| self.load_value(item));
        }
        self.load_object(value).map(drop)
    }

    fn load_object(&self, value: Value) -> Result<Arc<Object>, Refusal> {
        let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
        let (kind, metadata) = (text(&value["kind"]), &value["metadata"]);
        let name = match text(&metadata["name"]) {
            name if name.is_empty() => text(&metadata["generateName"]),
            name => name,
        };
        let namespace = match text(&metadata["namespace"]) {
            given if given.is_empty() => "default".to_owned(),
            given => given,
        };
        let ensured = self.ensure_namespace(&namespace);
        ensured.map_err(|error| Refusal {
            kind: "Namespace".to_owned(),
            name: namespace.clone(),
            error: error.into(),
        })?;
        match self.api.install(&namespace, value.clone()) {
            Err(error) if error.reason == "AlreadyExists" => self.api.reinstall(&namespace, value),
            other => other,
        }
        .map_err(|error| Refusal { kind, name, error: error.into() })
    }

    fn ensure_namespace(&self, namespace: &str) -> Result<(), ApiError> {
        let value = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        let of = self.api.catalogue.find("", "v1", "namespaces").ok_or_else(ApiError::no_such_resource)?;
        match self.api.store.collection(&of).get(namespace) {
            Some(_) => Ok(()),
            None => self.api.install("", value).map(|_| ()),
        }
    }

    /// Restores objects of a backup with their identities, times, managers and resource versions. Objects are neither
    /// checked nor completed, and watches get no events.
    ///
    /// # Errors
    /// [`DevClusterError::Refused`] when a type is not served.
    pub fn restore(&self, objects: impl IntoIterator<Item = Value>) -> Result<(), DevClusterError> {
        for value in objects {
            let text = |field: &Value| field.as_str().unwrap_or_default().to_owned();
            let (kind, name) = (text(&value["kind"]), text(&value["metadata"]["name"]));
            let of = self.api.catalogue.of_kind(&text(&value["apiVersion"]), &kind);
            let of = of.ok_or_else(|| refused(&kind, &name, ApiError::no_such_resource()))?;
            let revision = text(&value["metadata"]["resourceVersion"]).parse().unwrap_or(1);
            let namespace = if of.namespaced { text(&value["metadata"]["namespace"]) } else { String::new() };
            self.api.store.restore(&of, &object::key(&namespace, &name), &value, revision);
        }
        Ok(())
    }
}
