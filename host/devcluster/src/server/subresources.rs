//! Subresources: parts of objects and acts on them.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::model::fresh::now;
use crate::model::nesting;
use crate::model::object::{self, Object};
use crate::model::resources::Type;
use crate::model::status::{ApiError, StatusCause};
use crate::server::api::{Api, Call};
use crate::server::apply::apply_config;
use crate::server::body::DeleteOptions;
use crate::server::body::{self, media_type};
use crate::server::operations;
use crate::server::origin::Origin;
use crate::server::patch::APPLY;
use crate::wire::answer::Answer;
use crate::wire::show::tree;

/// The answer to an act that made no object.
const DONE: &str = "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Success\",\"code\":201}\n";

impl Api {
    pub(crate) fn subresource(self: &Arc<Self>, call: &Call<'_>, name: &str) -> Result<Answer, ApiError> {
        match (call.of.kind.as_str(), name, call.verb) {
            ("ServiceAccount", "token", "create") => self.issue_token(call),
            ("Pod", "log", "get") => self.log(call),
            ("Pod", "eviction", "create") => self.evict(call),
            ("Pod", "binding", "create") => {
                let value = body::tree(call, "Binding")?;
                self.bind(call, &value)
            }
            (_, "scale", "get") => {
                let object = self.existing(&call.of, &call.key(), &call.at.name)?;
                let value = tree(&call.of, &object);
                let path = pointer(&call.of, "specReplicasPath", "/spec/replicas");
                if call.of.custom.is_some() && value.pointer(&path).is_none() {
                    let field = path.replace('/', ".");
                    return Err(ApiError::internal(format!("the spec replicas field {field:?} does not exist")));
                }
                Ok(Answer::tree(200, call.accept, &scale(&call.of, &value)))
            }
            (_, "scale", "update" | "patch") => self.rescale(call),
            ("Service" | "Pod" | "Node", "proxy", _) => self.proxy(call),
            ("ComponentStatus", _, "list") => {
                let list = json!({"kind": "ComponentStatusList", "apiVersion": "v1", "metadata": {}, "items": []});
                Ok(Answer::tree(200, call.accept, &list))
            }
            ("Pod", "exec" | "attach" | "portforward", _) => Err(ApiError::bad_request("Upgrade request required")),
            (_, "", "get") => Err(ApiError::not_found(&call.of, &call.at.name)),
            _ => Err(ApiError::method_not_allowed()),
        }
    }

    fn existing(&self, of: &Type, key: &str, name: &str) -> Result<Arc<Object>, ApiError> {
        self.store.collection(of).get(key).ok_or_else(|| ApiError::not_found(of, name))
    }

    fn evict(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let value = body::tree(call, "Eviction")?;
        let options = DeleteOptions {
            grace_seconds: value["deleteOptions"]["gracePeriodSeconds"].as_i64(),
            dry_run: call.dry_run(),
            ..DeleteOptions::default()
        };
        self.delete_object(&call.of, &call.key(), &options)?;
        Ok(Answer::json(201, DONE))
    }

    /// Binds a pod to a node, as a scheduler does.
    pub(crate) fn bind(self: &Arc<Self>, call: &Call<'_>, binding: &Value) -> Result<Answer, ApiError> {
        let named = if call.at.name.is_empty() {
            binding["metadata"]["name"].as_str().unwrap_or_default()
        } else {
            &call.at.name
        };
        let pods = self.catalogue.find("", "v1", "pods").ok_or_else(ApiError::no_such_resource)?;
        let node = binding["target"]["name"].as_str().unwrap_or_default().to_owned();
        if node.is_empty() {
            return Err(ApiError::new(500, "", "target.name: Required value"));
        }
        let key = object::key(&call.at.namespace, named);
        // A binding is not recorded as a change of the pod's fields, and it changes the pod's status too.
        let mut origin = Origin::of(call);
        origin.tracked = true;
        "binding".clone_into(&mut origin.writer.subresource);
        self.change_object(&origin, &pods, &key, |old| {
            let bound = old["spec"]["nodeName"].as_str().unwrap_or_default();
            if !bound.is_empty() {
                return Err(already_bound(named, bound));
            }
            let mut new = old.clone();
            new["spec"]["nodeName"] = node.into();
            schedule(&mut new["status"]);
            Ok(new)
        })?;
        Ok(Answer::json(201, DONE))
    }

    fn rescale(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let of = &call.of;
        let path = pointer(of, "specReplicasPath", "/spec/replicas");
        nesting::check_below(path.split('/').count(), &Value::Null)?;
        let mut origin = Origin::of(call);
        origin.tracked = call.verb == "patch" && media_type(call.headers) == APPLY;
        let (applied, writer) = (origin.tracked, origin.writer.clone());
        let change = |old: &Value| {
            let current = scale(of, old);
            let wanted = match call.verb {
                "update" => body::tree(call, "Scale")?,
                _ if applied => body::yaml(&call.body, "Scale")?,
                _ => patched(&current, &call.body)?,
            };
            check_scale(of, &call.at.name, &current, &wanted)?;
            let replicas = Value::from(wanted["spec"]["replicas"].as_i64().unwrap_or(0));
            if applied {
                let mut config =
                    json!({"apiVersion": of.api_version(), "kind": of.kind, "metadata": {"name": call.at.name}});
                set_pointer(&mut config, &path, replicas);
                return apply_config(of, &writer, Some(old), &config, call.query.flag("force"));
            }
            let mut new = old.clone();
            set_pointer(&mut new, &path, replicas);
            Ok(new)
        };
        let object: Arc<Object> = self.change_object(&origin, of, &call.key(), change)?;
        Ok(Answer::tree(200, call.accept, &scale(of, &tree(of, &object))))
    }

    /// Answers a request to a service's proxy as for a service without endpoints, since nothing runs here.
    fn proxy(&self, call: &Call<'_>) -> Result<Answer, ApiError> {
        let named = call.at.name.rsplit(':').next().filter(|_| !call.at.name.contains(':'));
        let name = named.unwrap_or_else(|| call.at.name.split(':').find(|part| !part.is_empty()).unwrap_or_default());
        let kind = call.of.singular.as_str();
        if kind == "service" {
            let message = format!("no endpoints available for service {name:?}");
            return Err(ApiError::new(503, "ServiceUnavailable", message));
        }
        self.existing(&call.of, &call.key(), name)?;
        Err(ApiError::new(503, "ServiceUnavailable", format!("address not allowed for {kind} {name:?}")))
    }
}

/// Returns the fault of a scale that replaces the current one.
fn check_scale(of: &Type, name: &str, current: &Value, wanted: &Value) -> Result<(), ApiError> {
    if wanted["metadata"]["name"].as_str().is_none_or(str::is_empty) {
        let message = format!("the name of the object ({name} based on URL) was undeterminable: name must be provided");
        return Err(ApiError::bad_request(message));
    }
    let version = wanted["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    if !version.is_empty() && version != current["metadata"]["resourceVersion"] {
        return Err(ApiError::modified(of, name));
    }
    let replicas = &wanted["spec"]["replicas"];
    if replicas.as_i64().is_none_or(|number| number >= 0) {
        return Ok(());
    }
    let cause = StatusCause::invalid("spec.replicas", replicas, "must be greater than or equal to 0");
    Err(ApiError::invalid_kind("autoscaling", "Scale", name, &[cause]))
}

fn already_bound(pod: &str, node: &str) -> ApiError {
    let message = format!(
        "Operation cannot be fulfilled on pods/binding {pod:?}: pod {pod} is already assigned to node {node:?}"
    );
    ApiError::new(409, "Conflict", message).with_details(json!({"name": pod, "kind": "pods/binding"}))
}

/// Records in a pod's status that it has a node.
fn schedule(status: &mut Value) {
    const KIND: &str = "PodScheduled";
    let told = json!({"type": KIND, "status": "True", "lastProbeTime": null, "lastTransitionTime": now()});
    match status["conditions"].as_array_mut() {
        Some(conditions) => {
            conditions.retain(|condition| condition["type"] != KIND);
            conditions.push(told);
        }
        None => status["conditions"] = json!([told]),
    }
}

fn patched(current: &Value, body: &[u8]) -> Result<Value, ApiError> {
    let patch: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    if patch.is_array() {
        return operations::apply(current, &operations::read(body)?);
    }
    let mut wanted = current.clone();
    json_patch::merge(&mut wanted, &patch);
    Ok(wanted)
}

/// Returns the path of a type's number of replicas, as a JSON pointer.
fn pointer(of: &Type, name: &str, usual: &str) -> String {
    let given = of.custom.as_ref().and_then(|custom| custom.scale.get(name));
    given.map_or_else(|| usual.to_owned(), |path| path.replace('.', "/"))
}

fn set_pointer(value: &mut Value, pointer: &str, told: Value) {
    let mut at = value;
    for name in pointer.trim_start_matches('/').split('/') {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[name];
    }
    *at = told;
}

/// Returns the scale of an object.
fn scale(of: &Type, value: &Value) -> Value {
    let number = |pointer: &str| value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let metadata = &value["metadata"];
    let selector = match of.custom.as_ref().and_then(|custom| custom.scale.get("labelSelectorPath")) {
        Some(path) => value.pointer(&path.replace('.', "/")).and_then(Value::as_str).unwrap_or_default().to_owned(),
        None => written_selector(&value["spec"]["selector"]),
    };
    let mut status = json!({"replicas": number(&pointer(of, "statusReplicasPath", "/status/replicas"))});
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let replicas = number(&pointer(of, "specReplicasPath", "/spec/replicas"));
    // A real server leaves a zero out of the spec, and not out of the status.
    let spec = if replicas == 0 { json!({}) } else { json!({"replicas": replicas}) };
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": spec,
        "status": status,
    })
}

fn written_selector(selector: &Value) -> String {
    let labels = selector.get("matchLabels").unwrap_or(selector).as_object();
    let pair = |(key, value): (&String, &Value)| format!("{key}={}", value.as_str().unwrap_or_default());
    labels.into_iter().flatten().map(pair).collect::<Vec<_>>().join(",")
}
