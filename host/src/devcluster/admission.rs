//! What a server adds to objects and refuses in them before they are stored.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::api::Api;
use super::body::FieldValidation;
use super::crd;
use super::managed::Writer;
use super::names;
use super::object;
use super::prepare;
use super::resources::Type;
use super::schema;
use super::status::{ApiError, Cause};
use super::store::Part;
use super::validation;
use super::write::Origin;

/// The letters of generated names: no vowels, so that no words come out.
const SUFFIX_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// How many of them a generated name ends in.
const SUFFIX_LENGTH: usize = 5;

/// The bytes that a `ConfigMap` or a Secret may hold.
const CONTENT_LONGEST: usize = 1 << 20;

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if getrandom::fill(&mut bytes).is_err() {
        // Without the system's randomness the clock has to do: these are names, not secrets.
        let clock = Timestamp::now().as_nanosecond().to_le_bytes();
        bytes.iter_mut().zip(clock.iter().cycle()).for_each(|(byte, tick)| *byte = *tick);
    }
    bytes
}

/// A new random identity (UUID, version 4).
pub(crate) fn new_uid() -> String {
    let mut bytes = random::<16>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = hex::encode(bytes);
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

/// A random secret, as hexadecimal digits.
pub(crate) fn new_secret() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// The end of a generated name.
pub(crate) fn suffix() -> String {
    let letter = |byte: &u8| SUFFIX_LETTERS.get(usize::from(*byte) % SUFFIX_LETTERS.len()).copied().unwrap_or(b'x');
    random::<SUFFIX_LENGTH>().iter().map(|byte| char::from(letter(byte))).collect()
}

/// The time in whole seconds, as objects tell it.
pub(crate) fn now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

/// Completes and judges a new object.
pub(crate) fn admit_new(api: &Api, of: &Type, value: &mut Value) -> Result<(), ApiError> {
    prepare::new(of, value);
    if of.group.is_empty() && of.kind == "Pod" {
        super::service_accounts::admit(api, value)?;
    }
    if of.group == "apiextensions.k8s.io" {
        value["status"] = crd::accepted_status(value, &now());
    }
    verdict(of, value, &problems(of, value))
}

/// Completes and judges a changed object.
pub(crate) fn admit_change(
    _api: &Api,
    of: &Type,
    subresource: &str,
    old: &Value,
    new: &mut Value,
) -> Result<(), ApiError> {
    if subresource.is_empty() {
        prepare::changed(of, old, new);
    }
    if of.group == "apiextensions.k8s.io" && subresource.is_empty() {
        new["status"] = old["status"].clone();
    }
    let mut causes: Vec<Cause> = late_finalizers(old, new).into_iter().collect();
    causes.extend(problems(of, new));
    causes.extend(immutable(of, old, new));
    verdict(of, new, &causes)
}

fn verdict(of: &Type, value: &Value, causes: &[Cause]) -> Result<(), ApiError> {
    if causes.is_empty() { Ok(()) } else { Err(ApiError::invalid(of, name_of(value), causes)) }
}

fn name_of(value: &Value) -> &str {
    value["metadata"]["name"].as_str().unwrap_or_default()
}

/// All that is wrong with an object by itself.
fn problems(of: &Type, value: &Value) -> Vec<Cause> {
    let metadata = &value["metadata"];
    let mut causes = match name_of(value) {
        "" => vec![Cause::required("metadata.name", "name or generateName is required")],
        name => names::name(of, name),
    };
    causes.extend(names::metadata("metadata", metadata));
    match (of.group.as_str(), of.kind.as_str()) {
        ("", "ConfigMap" | "Secret") => causes.extend(keys(value)),
        ("apiextensions.k8s.io", _) => causes.extend(crd::problems(value)),
        ("coordination.k8s.io", "Lease") => causes.extend(lease(value)),
        ("", "Service") => causes.extend(super::services::problems(value)),
        _ => {}
    }
    causes.extend(super::workloads::selector_problems(of, value));
    causes.extend(pods(of, value));
    causes.extend(super::workloads::restart_problem(of, value));
    if let Some(custom) = &of.custom {
        causes.extend(super::custom_schema::problems(&custom.schema, value));
    }
    causes
}

/// What a client is warned of, though the object is stored.
pub(crate) fn remarks(of: &Type, value: &Value) -> Vec<String> {
    match (of.group.as_str(), of.kind.as_str()) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") => crd::remarks(value),
        ("", "Service") => {
            let spec = &value["spec"];
            let ignored = spec["externalName"].is_string() && spec["type"] != "ExternalName";
            ignored
                .then(|| r#"spec.externalName is ignored when spec.type is not "ExternalName""#.to_owned())
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    }
}

/// What is wrong with a pod's spec, or with that of a template.
fn pods(of: &Type, value: &Value) -> Vec<Cause> {
    let built_in = matches!(of.group.as_str(), "" | "apps" | "batch");
    let Some(path) = validation::pod_spec_path(&of.kind).filter(|_| built_in) else { return Vec::new() };
    let spec = value.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null);
    let told =
        |cause: validation::Cause| Cause { reason: cause.reason.as_str(), message: cause.message, field: cause.field };
    validation::pod_spec(spec, path).into_iter().map(told).collect()
}

fn lease(value: &Value) -> Vec<Cause> {
    let bound = |field: &str, least: i64, rule: &str| {
        let given = &value["spec"][field];
        given.as_i64().filter(|number| *number < least).map(|_| Cause::invalid(format!("spec.{field}"), given, rule))
    };
    let seconds = bound("leaseDurationSeconds", 1, "must be greater than 0");
    seconds.into_iter().chain(bound("leaseTransitions", 0, "must be greater than or equal to 0")).collect()
}

fn keys(value: &Value) -> Vec<Cause> {
    let of = |field: &'static str| {
        let map = value.get(field).and_then(Value::as_object);
        map.into_iter().flat_map(|map| map.keys()).filter_map(move |key| names::config_key(field, key))
    };
    let size: usize = ["data", "binaryData"].iter().map(|field| content(value, field)).sum();
    let too_long = (size > CONTENT_LONGEST).then(|| {
        let field = if value["kind"] == "Secret" { "data" } else { "[]" };
        let message = format!("Too long: may not be more than {CONTENT_LONGEST} bytes");
        Cause { reason: "FieldValueTooLong", message, field: field.to_owned() }
    });
    of("data").chain(of("binaryData")).chain(too_long).collect()
}

/// The bytes of the values of a map. Those of base64 count as what they stand for.
fn content(value: &Value, field: &str) -> usize {
    let encoded = field == "binaryData" || value["kind"] == "Secret";
    let values = value.get(field).and_then(Value::as_object).into_iter().flat_map(|map| map.values());
    let length = |text: &str| if encoded { text.trim_end_matches('=').len() * 3 / 4 } else { text.len() };
    values.filter_map(Value::as_str).map(length).sum()
}

/// Changes of what cannot be changed.
fn immutable(of: &Type, old: &Value, new: &Value) -> Vec<Cause> {
    let rule = "field is immutable";
    let fixed: &[&str] = match (of.group.as_str(), of.kind.as_str()) {
        ("", "Secret") => &["/type"],
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet") => &["/spec/selector"],
        ("batch", "Job") => &["/spec/completions", "/spec/selector", "/spec/template"],
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &["/roleRef"],
        _ => &[],
    };
    let changed = fixed.iter().filter(|path| old.pointer(path) != new.pointer(path));
    let told = |path: &&str| {
        let found = new.pointer(path).cloned().unwrap_or(Value::Null);
        Cause::invalid(path.trim_start_matches('/').replace('/', "."), &found, rule)
    };
    let mut causes: Vec<Cause> = changed.map(told).collect();
    if of.group.is_empty() && of.kind == "Service" {
        causes.extend(super::services::fixed(old, new));
    }
    let sealed = matches!(of.kind.as_str(), "ConfigMap" | "Secret") && old["immutable"] == true;
    if sealed && (old.get("data") != new.get("data") || old.get("binaryData") != new.get("binaryData")) {
        causes.push(Cause::forbidden("data", "field is immutable when `immutable` is set"));
    }
    causes
}

/// Nobody may hold up a deletion that has begun [`pkg/api/validation/objectmeta.go`].
fn late_finalizers(old: &Value, new: &Value) -> Option<Cause> {
    fn list(value: &Value) -> &[Value] {
        value["metadata"]["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default()
    }
    let late: Vec<String> = list(new).iter().filter(|one| !list(old).contains(one)).map(Value::to_string).collect();
    if late.is_empty() || !old["metadata"]["deletionTimestamp"].is_string() {
        return None;
    }
    let found = late.join(", ");
    let rule = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{found}}}"
    );
    Some(Cause::forbidden("metadata.finalizers", &rule))
}

impl Api {
    /// Gives a new namespace its default service account and the CA's certificate.
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

    /// Makes an object on the server's own behalf.
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

    /// Replaces an object on the server's own behalf.
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
        self.store.table(&of).get(&key).ok_or_else(|| ApiError::not_found(&of, &name))
    }

    /// Shows the CA's certificate to every namespace.
    pub(crate) fn publish_ca(self: &Arc<Self>, pem: &str) {
        let Some(namespaces) = self.catalogue.find("", "v1", "namespaces") else { return };
        let Ok(listing) = self.store.list(&self.store.table(&namespaces), &Part::default(), |_| true) else { return };
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
