//! Reviews of rights and identities, which are answered and not stored.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::access::rbac::{Act, Rule};
use crate::access::token::{AUDIENCE, Reference};
use crate::model::fresh::now;
use crate::model::identity::Identity;
use crate::model::object::{self, Object};
use crate::model::status::{ApiError, StatusCause};
use crate::rules::entries::Writer;
use crate::rules::managed;
use crate::rules::schema::{FieldValidation, check_object};
use crate::server::api::{Api, Call};
use crate::server::authentication::Order;
use crate::server::body::{self, check_type};
use crate::wire::answer::Answer;
use crate::wire::request::ResourcePath;

/// The shortest life of a requested token, in seconds.
const SHORTEST: u64 = 600;
/// The longest life of a requested token, in seconds.
const LONGEST: u64 = 1 << 32;
/// The life of a token if the request sets none, in seconds.
const USUAL: u64 = 3600;

impl Api {
    /// Answers the create of a type that is not stored.
    pub(crate) fn review(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        if call.verb != "create" {
            return self.subresource(call, "");
        }
        let mut value = body::tree(call, &call.of.kind)?;
        check_type(&call.of, &value)?;
        crate::rules::schema::check(&call.of, &mut value, FieldValidation::Ignore)?;
        value["kind"] = call.of.kind.as_str().into();
        value["apiVersion"] = call.of.api_version().into();
        if !value["metadata"].is_object() {
            value["metadata"] = json!({});
        }
        match call.of.kind.as_str() {
            "SelfSubjectReview" => {
                value["metadata"] = json!({"creationTimestamp": now()});
                value["status"] = json!({"userInfo": call.client.info()});
            }
            "SelfSubjectAccessReview" => {
                value["status"] = self.access(call.client, &value["spec"]);
                track(call, &mut value);
            }
            "SubjectAccessReview" | "LocalSubjectAccessReview" => {
                check_place(call, &value)?;
                let client = subject(&value["spec"]);
                value["status"] = self.access(&client, &value["spec"]);
                track(call, &mut value);
            }
            "SelfSubjectRulesReview" => {
                let namespace = value["spec"]["namespace"].as_str().unwrap_or_default().to_owned();
                if namespace.is_empty() {
                    return Err(ApiError::bad_request("no namespace on request"));
                }
                value["status"] = self.rules_status(call.client, &namespace);
                value["spec"] = json!({});
            }
            "TokenReview" => {
                value["status"] = self.token_status(&value["spec"]);
                track(call, &mut value);
            }
            "Binding" => return self.bind(call, &value),
            _ => return Err(ApiError::method_not_allowed()),
        }
        Ok(Answer::tree(201, call.accept, &value))
    }

    /// Returns the status of an access review.
    fn access(&self, client: &Identity, spec: &Value) -> Value {
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let attributes = &spec["resourceAttributes"];
        let reason = if attributes.is_object() {
            let at = ResourcePath {
                group: text(attributes, "group"),
                version: text(attributes, "version"),
                plural: text(attributes, "resource"),
                namespace: text(attributes, "namespace"),
                name: text(attributes, "name"),
                subresource: text(attributes, "subresource"),
                tail: String::new(),
            };
            self.allows(client, &Act::Resource { verb: &text(attributes, "verb"), at: &at })
        } else {
            let plain = &spec["nonResourceAttributes"];
            self.allows(client, &Act::Path { verb: &text(plain, "verb"), path: &text(plain, "path") })
        };
        match reason {
            Some(reason) if reason.is_empty() => json!({"allowed": true}),
            Some(reason) => json!({"allowed": true, "reason": reason}),
            None => json!({"allowed": false}),
        }
    }

    fn rules_status(&self, client: &Identity, namespace: &str) -> Value {
        let mut rules = self.authorizer.rules(&self.store, &self.catalogue, client, namespace);
        if client.is_master() {
            let all = || vec!["*".to_owned()];
            rules.insert(0, Rule { verbs: all(), api_groups: all(), resources: all(), ..Rule::default() });
            rules.insert(1, Rule { verbs: all(), non_resource_urls: all(), ..Rule::default() });
        }
        let resource = |rule: &Rule| {
            let mut told = json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources});
            if !rule.resource_names.is_empty() {
                told["resourceNames"] = rule.resource_names.clone().into();
            }
            told
        };
        let path = |rule: &Rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls});
        let (paths, resources): (Vec<&Rule>, Vec<&Rule>) =
            rules.iter().partition(|rule| !rule.non_resource_urls.is_empty());
        json!({
            "resourceRules": resources.into_iter().map(resource).collect::<Vec<_>>(),
            "nonResourceRules": paths.into_iter().map(path).collect::<Vec<_>>(),
            "incomplete": false,
        })
    }

    fn token_status(&self, spec: &Value) -> Value {
        let token = spec["token"].as_str().unwrap_or_default();
        let audiences: Vec<&str> = match spec["audiences"].as_array() {
            Some(list) if !list.is_empty() => list.iter().filter_map(Value::as_str).collect(),
            _ => vec![AUDIENCE],
        };
        let found = audiences.iter().find_map(|audience| Some((self.bearer(token, audience)?, *audience)));
        match found {
            Some((client, audience)) => json!({"authenticated": true, "user": client.info(), "audiences": [audience]}),
            None => json!({"user": {}, "error": "invalid bearer token"}),
        }
    }

    /// Answers a `TokenRequest` with a new token of a service account.
    pub(crate) fn issue_token(self: &Arc<Self>, call: &Call<'_>) -> Result<Answer, ApiError> {
        let mut value = body::tree(call, "TokenRequest")?;
        if value["spec"].is_null() {
            value["spec"] = json!({});
        }
        check_object("TokenRequest", &value["spec"])?;
        let account = self.store.collection(&call.of).get(&call.key());
        let account = account.ok_or_else(|| ApiError::not_found(&call.of, &call.at.name))?;
        let asked = value["spec"]["expirationSeconds"].as_u64().unwrap_or(USUAL);
        check_life(asked)?;
        let audiences: Vec<String> = value["spec"]["audiences"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let audiences = if audiences.is_empty() { vec![AUDIENCE.to_owned()] } else { audiences };
        let bound = self.bound_object(call, &value["spec"]["boundObjectRef"])?;
        let node =
            bound.iter().find(|(kind, _)| kind == "Pod").and_then(|(_, pod)| self.node_of(call.namespace(), pod));
        let order = Order { audiences: audiences.clone(), lifetime: Duration::from_secs(asked), bound, node };
        let (token, until) = self.authentication.issue(&account, order)?;
        value["kind"] = "TokenRequest".into();
        value["apiVersion"] = "authentication.k8s.io/v1".into();
        value["metadata"] = json!({});
        track(call, &mut value);
        let managed = value["metadata"]["managedFields"].take();
        value["metadata"] = json!({
            "name": &*account.name, "namespace": &*account.namespace, "uid": &*account.uid, "creationTimestamp": now(),
        });
        if !managed.is_null() {
            value["metadata"]["managedFields"] = managed;
        }
        let reference = value["spec"]["boundObjectRef"].take();
        value["spec"] = json!({"audiences": audiences, "expirationSeconds": asked, "boundObjectRef": reference});
        value["status"] = json!({"token": token, "expirationTimestamp": until.to_string()});
        Ok(Answer::tree(201, call.accept, &value))
    }

    /// Returns the object that a token is bound to; it has to exist.
    fn bound_object(&self, call: &Call<'_>, reference: &Value) -> Result<Option<(String, Reference)>, ApiError> {
        if !reference.is_object() {
            return Ok(None);
        }
        let text = |name: &str| reference[name].as_str().unwrap_or_default();
        let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
        let plural = match kind {
            "Pod" => "pods",
            "Secret" => "secrets",
            "Node" => "nodes",
            _ => {
                let message = format!("cannot bind token for serviceaccount to a {kind}");
                return Err(ApiError::bad_request(message));
            }
        };
        let of = self.catalogue.find("", "v1", plural).ok_or_else(ApiError::no_such_resource)?;
        let namespace = if of.namespaced { call.namespace() } else { "" };
        let found = self.store.collection(&of).get(&object::key(namespace, name));
        let found: Arc<Object> = found.ok_or_else(|| ApiError::not_found(&of, name))?;
        if !uid.is_empty() && *found.uid != *uid {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(ApiError::conflict(&of, name, &why));
        }
        Ok(Some((kind.to_owned(), Reference { name: name.to_owned(), uid: found.uid.to_string() })))
    }

    /// Returns the node of a pod, if both exist.
    pub(crate) fn node_of(&self, namespace: &str, pod: &Reference) -> Option<Reference> {
        let pods = self.catalogue.find("", "v1", "pods")?;
        let found = self.store.collection(&pods).get(&object::key(namespace, &pod.name))?;
        let name = found.field("spec.nodeName").filter(|name| !name.is_empty())?;
        let nodes = self.catalogue.find("", "v1", "nodes")?;
        let uid = self.store.collection(&nodes).get(name).map(|node| node.uid.to_string()).unwrap_or_default();
        Some(Reference { name: name.to_owned(), uid })
    }
}

/// Fails if a local review is about another namespace than its own.
fn check_place(call: &Call<'_>, value: &Value) -> Result<(), ApiError> {
    if call.of.kind != "LocalSubjectAccessReview" {
        return Ok(());
    }
    let (spec, mut causes) = (&value["spec"], Vec::new());
    if !spec["nonResourceAttributes"].is_null() {
        let rule = "disallowed on this kind of request";
        causes.push(StatusCause::invalid("spec.nonResourceAttributes", &spec["nonResourceAttributes"], rule));
    }
    let asked = &spec["resourceAttributes"]["namespace"];
    if asked.as_str().unwrap_or_default() != call.namespace() {
        causes.push(StatusCause::invalid("spec.resourceAttributes.namespace", asked, "must match metadata.namespace"));
    }
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid(&call.of, "", &causes)) }
}

fn check_life(seconds: u64) -> Result<(), ApiError> {
    let rule = match seconds {
        ..SHORTEST => "may not specify a duration less than 10 minutes",
        SHORTEST..=LONGEST => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let cause = StatusCause::invalid("spec.expirationSeconds", &seconds.into(), rule);
    let message = format!("TokenRequest.authentication.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message);
    let details = json!({"group": "authentication.k8s.io", "kind": "TokenRequest", "causes": [
        {"reason": cause.reason, "message": cause.message, "field": cause.field},
    ]});
    Err(ApiError::new(422, "Invalid", message).with_details(details))
}

/// Records the managed fields of an object that is answered and not stored.
fn track(call: &Call<'_>, value: &mut Value) {
    let writer = Writer {
        manager: call.manager(),
        subresource: call.at.subresource.clone(),
        api_version: value["apiVersion"].as_str().unwrap_or_default().to_owned(),
    };
    let status = value["status"].take();
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
    }
    managed::track_answer(&writer, value);
    if !status.is_null() {
        value["status"] = status;
    }
}

/// Returns the identity that an access review is about.
fn subject(spec: &Value) -> Identity {
    let groups = spec["groups"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Identity::user(spec["user"].as_str().unwrap_or_default(), groups)
}
