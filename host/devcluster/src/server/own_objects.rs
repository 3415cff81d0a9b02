//! Objects that the server itself writes.

use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};

use crate::model::collection::Part;
use crate::model::object;
use crate::model::status::ApiError;
use crate::rules::entries::Writer;
use crate::rules::schema::{self, FieldValidation};
use crate::server::admission::remarks;
use crate::server::api::Api;
use crate::server::origin::Origin;

impl Api {
    /// Creates the default service account and the CA's config map of a new namespace.
    pub(crate) fn furnish(self: &Arc<Self>, namespace: &str) {
        let ca = self.pki.read().unwrap_or_else(PoisonError::into_inner).published();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        let root = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "data": {"ca.crt": ca},
            "metadata": {
                "name": "kube-root-ca.crt",
                "annotations": {"kubernetes.io/description": "Contains a CA bundle that can be used to verify the \
                    kube-apiserver when using internal endpoints such as the internal service IP or \
                    kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."},
            },
        });
        for value in [account, root] {
            if let Err(error) = self.install(namespace, value) {
                tracing::debug!(namespace, message = error.message, "a namespace was furnished already");
            }
        }
    }

    /// Creates an object as the server itself.
    pub(crate) fn install(
        self: &Arc<Self>,
        namespace: &str,
        mut value: Value,
    ) -> Result<Arc<object::Object>, ApiError> {
        let text = |name: &str| value[name].as_str().unwrap_or_default();
        let of = self.catalogue.of_kind(text("apiVersion"), text("kind")).filter(|of| of.stored());
        let Some(of) = of else {
            let message = format!("no matches for kind {:?} in version {:?}", text("kind"), text("apiVersion"));
            return Err(ApiError::bad_request(message));
        };
        schema::check(&of, &mut value, FieldValidation::Strict)?;
        let writer =
            Writer { manager: "devcluster".to_owned(), subresource: String::new(), api_version: of.api_version() };
        let origin = Origin { writer, dry_run: false, keep_status: true, tracked: false };
        let namespace = match value["metadata"]["namespace"].as_str() {
            _ if !of.namespaced => "",
            Some(given) if !given.is_empty() => given,
            _ => namespace,
        }
        .to_owned();
        let object = self.create_object(&origin, &of, &namespace, value)?;
        for remark in remarks(&of, &object.value()) {
            tracing::warn!(kind = of.kind, name = &*object.name, "{remark}");
        }
        Ok(object)
    }

    /// Replaces an object as the server itself.
    pub(crate) fn reinstall(
        self: &Arc<Self>,
        namespace: &str,
        mut value: Value,
    ) -> Result<Arc<object::Object>, ApiError> {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let of = self.catalogue.of_kind(&text(&value, "apiVersion"), &text(&value, "kind"));
        let of = of.ok_or_else(ApiError::no_such_resource)?;
        schema::check(&of, &mut value, FieldValidation::Strict)?;
        let namespace = if of.namespaced { namespace } else { "" };
        let name = text(&value["metadata"], "name");
        let key = object::key(namespace, &name);
        for subresource in ["", "status"] {
            if subresource == "status" && (!of.has_status() || value.get("status").is_none()) {
                continue;
            }
            let writer = Writer {
                manager: "devcluster".to_owned(),
                subresource: subresource.to_owned(),
                api_version: of.api_version(),
            };
            let origin = Origin { writer, dry_run: false, keep_status: true, tracked: false };
            if let Some(metadata) = value["metadata"].as_object_mut() {
                metadata.remove("uid");
                metadata.remove("resourceVersion");
            }
            let next = value.clone();
            self.change_object(&origin, &of, &key, |_| Ok(next))?;
        }
        self.store.collection(&of).get(&key).ok_or_else(|| ApiError::not_found(&of, &name))
    }

    /// Publishes the CA's certificate in every namespace.
    pub(crate) fn publish_ca(self: &Arc<Self>, pem: &str) {
        let Some(namespaces) = self.catalogue.find("", "v1", "namespaces") else { return };
        let Ok(listing) = self.store.list(&self.store.collection(&namespaces), &Part::default(), |_| true) else {
            return;
        };
        for namespace in listing.items {
            let value = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": pem},
            });
            if let Err(error) = self.reinstall(&namespace.name, value) {
                tracing::debug!(namespace = &*namespace.name, message = error.message, "no CA bundle to renew");
            }
        }
    }
}
