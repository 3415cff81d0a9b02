//! `attache:pod/api`: the calls that change objects, and `can-i`.
//!
//! Threat: a body about another object than the judged request. Path and body are compared before anything is sent. The
//! host checks only that and the size; the API server judges the rest.

use std::sync::LazyLock;

use http::{HeaderValue, Method};
use serde::Serialize;

use super::bindings::api as wit;
use super::body::{self, BodyError, Place};
use super::collection::Collection;
use super::ctx::PodCtx;
use super::error::ApiError;
use crate::cluster::{ClusterError, ObjectKind, Payload};
use crate::gate::{Channel, Permit};
use crate::policy::{ApiRequest, PathBuilder, ResourcePath};
use crate::telemetry::{Sampled, chain};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const JSON_PATCH: HeaderValue = HeaderValue::from_static("application/json-patch+json");
const MERGE_PATCH: HeaderValue = HeaderValue::from_static("application/merge-patch+json");
const STRATEGIC_PATCH: HeaderValue = HeaderValue::from_static("application/strategic-merge-patch+json");
/// The content type of an apply. JSON is almost YAML ([`super::yaml`]), and every release since the first with
/// server-side apply accepts this type.
const APPLY_PATCH: HeaderValue = HeaderValue::from_static("application/apply-patch+yaml");

/// The longest name of a field manager, in bytes (`ValidateFieldManager` in apimachinery's
/// `pkg/apis/meta/v1/validation`).
const MAX_MANAGER: usize = 128;

/// The longest verb in a question, in bytes: several times `deletecollection`.
const MAX_VERB: usize = 63;

/// The log lines about bodies whose type was not checked, of all guests together, throttled.
static UNCHECKED: LazyLock<Sampled> = LazyLock::new(Sampled::lines);

impl PodCtx {
    pub(super) async fn create(
        &self,
        to: &Collection,
        object: Vec<u8>,
        options: wit::WriteOptions,
    ) -> Result<Vec<u8>, ApiError> {
        let kind = self.kind_of(to).await?;
        let path = match to.subresource() {
            Some(_) => to.named(&body::name(&object)?),
            None => to.path(),
        };
        let body = body::object(object, to.place(kind.as_ref(), None))?;
        self.write(&Method::POST, self.managed(path, options), Payload::of(JSON, body)).await
    }

    pub(super) async fn replace(
        &self,
        to: &Collection,
        name: &str,
        object: Vec<u8>,
        options: wit::WriteOptions,
    ) -> Result<Vec<u8>, ApiError> {
        let kind = self.kind_of(to).await?;
        let body = body::object(object, to.place(kind.as_ref(), Some(name)))?;
        self.write(&Method::PUT, self.managed(to.named(name), options), Payload::of(JSON, body)).await
    }

    pub(super) async fn patch(
        &self,
        to: &Collection,
        name: &str,
        patch: wit::Patch,
        options: wit::WriteOptions,
    ) -> Result<Vec<u8>, ApiError> {
        let kind = self.kind_of(to).await?;
        let place = to.place(kind.as_ref(), Some(name));
        let managed = || self.managed(to.named(name), options);
        let (path, content_type, body) = match patch {
            wit::Patch::JsonPatch(patch) => (managed(), JSON_PATCH, body::operations(patch)?),
            wit::Patch::Merge(patch) => (managed(), MERGE_PATCH, body::part(patch, place)?),
            wit::Patch::StrategicMerge(patch) => (managed(), STRATEGIC_PATCH, body::part(patch, place)?),
            wit::Patch::Apply(apply) => {
                let path = written(to.named(name), options).query("fieldManager", manager(&apply.field_manager)?);
                (path.query("force", &apply.force.to_string()), APPLY_PATCH, body::applied(apply.body, place)?)
            }
        };
        self.write(&Method::PATCH, path, Payload::of(content_type, body)).await
    }

    pub(super) async fn delete(
        &self,
        from: &Collection,
        name: &str,
        how: wit::DeleteOptions,
        options: wit::WriteOptions,
    ) -> Result<(), ApiError> {
        self.remove(from, from.named(name), &DeleteOptions::of(how, options)).await
    }

    pub(super) async fn delete_all(
        &self,
        from: &Collection,
        select: &wit::Selector,
        propagation: wit::Propagation,
        options: wit::WriteOptions,
    ) -> Result<(), ApiError> {
        let how = DeleteOptions { propagation_policy: policy(propagation), ..DeleteOptions::every(options) };
        self.remove(from, from.selected(select)?, &how).await
    }

    pub(super) async fn can_i(
        &self,
        verb: &str,
        of: &wit::ResourceType,
        namespace: Option<String>,
        name: Option<String>,
    ) -> Result<bool, ApiError> {
        let what = asked(verb, of, namespace, name)?;
        if !self.gate().grant().allows(verb, &what) {
            return Ok(false);
        }
        // The host asks for itself. The guest that causes the question pays with its rate.
        self.gate().spend()?;
        Ok(self.cluster()?.may(verb, &what).await?)
    }

    async fn write(&self, method: &Method, path: PathBuilder, payload: Payload) -> Result<Vec<u8>, ApiError> {
        let cluster = self.cluster()?;
        let permit = self.admitted(method, path, &payload)?;
        Ok(cluster.fetch(permit, payload).await?.bytes.into())
    }

    async fn remove(&self, from: &Collection, path: PathBuilder, how: &DeleteOptions) -> Result<(), ApiError> {
        self.kind_of(from).await?;
        let (cluster, payload) = (self.cluster()?, Payload::of(JSON, how.json()));
        let permit = self.admitted(&Method::DELETE, path, &payload)?;
        match cluster.fetch(permit, payload).await {
            // Only the answer's size is measured. It repeats all deleted objects, and no one reads it.
            Err(ClusterError::TooLarge(_)) => Ok(()),
            answered => Ok(answered.map(drop)?),
        }
    }

    fn admitted(&self, method: &Method, path: PathBuilder, payload: &Payload) -> Result<Permit, ApiError> {
        let request = path.build(method)?.with_content_type(payload.content_type.as_ref());
        Ok(self.gate().admit(Channel::Api, request)?)
    }

    /// Returns the kind of the objects in a collection. Fails for a collection without anything to change. `None` is a
    /// kind that the server does not name, and then the server alone judges bodies.
    async fn kind_of(&self, of: &Collection) -> Result<Option<ObjectKind>, ApiError> {
        let wit::ResourceType { group, version, plural } = of.of();
        let info = match self.cluster()?.find(group, version, plural).await {
            Ok(Some(info)) => info,
            Ok(None) => return Ok(None),
            Err(error) => {
                if let Some(untold) = UNCHECKED.note() {
                    tracing::debug!(error = %chain(&error), untold, "a body is sent without its type checked");
                }
                return Ok(None);
            }
        };
        match (info.namespaced, of.namespace()) {
            (true, None) => {
                Err(ApiError::invalid(format!("{plural} live in namespaces: open those of one to change them")))
            }
            (false, Some(_)) => Err(ApiError::invalid(format!("{plural} live in no namespace: open them without one"))),
            _ => Ok(info.object_kind(of.subresource())),
        }
    }

    /// The default owner of a written field is the extension: its name stands in the object's `managedFields`.
    fn managed(&self, path: PathBuilder, options: wit::WriteOptions) -> PathBuilder {
        let name = self.gate().extension();
        let name = name.get(..name.floor_char_boundary(MAX_MANAGER)).unwrap_or_default();
        let path = written(path, options);
        if manager(name).is_ok() { path.query("fieldManager", name) } else { path }
    }
}

impl Collection {
    fn place<'a>(&'a self, kind: Option<&'a ObjectKind>, name: Option<&'a str>) -> Place<'a> {
        Place { kind, is_subresource: self.subresource().is_some(), name, namespace: self.namespace() }
    }
}

fn written(path: PathBuilder, options: wit::WriteOptions) -> PathBuilder {
    if options.contains(wit::WriteOptions::DRY_RUN) { path.query("dryRun", "All") } else { path }
}

/// The options of a deletion in the API's own form. With this body the server ignores all parameters, so all of them
/// are in the body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteOptions {
    api_version: &'static str,
    kind: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dry_run: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    propagation_policy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_period_seconds: Option<u32>,
    preconditions: Preconditions,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Preconditions {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_version: Option<String>,
}

impl DeleteOptions {
    /// Returns the options that are independent of the deleted object.
    fn every(options: wit::WriteOptions) -> Self {
        let dry_run: &[_] = if options.contains(wit::WriteOptions::DRY_RUN) { &["All"] } else { &[] };
        Self {
            api_version: "v1",
            kind: "DeleteOptions",
            dry_run,
            propagation_policy: None,
            grace_period_seconds: None,
            preconditions: Preconditions::default(),
        }
    }

    fn of(how: wit::DeleteOptions, options: wit::WriteOptions) -> Self {
        let wit::DeleteOptions { propagation, grace_period_seconds, uid, resource_version } = how;
        Self {
            propagation_policy: policy(propagation),
            grace_period_seconds,
            preconditions: Preconditions { uid, resource_version },
            ..Self::every(options)
        }
    }

    fn json(&self) -> Vec<u8> {
        // Serialising texts and numbers cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

fn policy(propagation: wit::Propagation) -> Option<&'static str> {
    match propagation {
        wit::Propagation::ServerDefault => None,
        wit::Propagation::Orphan => Some("Orphan"),
        wit::Propagation::Background => Some("Background"),
        wit::Propagation::Foreground => Some("Foreground"),
    }
}

fn manager(name: &str) -> Result<&str, ApiError> {
    if !name.is_empty() && name.len() <= MAX_MANAGER && name.chars().all(is_print) {
        return Ok(name);
    }
    Err(ApiError::invalid(format!("a field manager has a printable name of at most {MAX_MANAGER} bytes")))
}

/// Returns whether Go's `unicode.IsPrint` holds: for letters, marks, numbers, punctuation, symbols, and of the spaces
/// only U+0020. The standard library has that table for `escape_debug`, which uses it for every character but the
/// first.
fn is_print(letter: char) -> bool {
    match letter {
        ' '..='~' => true,
        _ => String::from_iter(['x', letter]).escape_debug().nth(1) == Some(letter),
    }
}

/// Returns the question of `can-i`, with each part checked as a part of a path.
fn asked(
    verb: &str,
    of: &wit::ResourceType,
    namespace: Option<String>,
    name: Option<String>,
) -> Result<ResourcePath, ApiError> {
    if !(1..=MAX_VERB).contains(&verb.len()) || !verb.bytes().all(|byte| byte.is_ascii_lowercase()) {
        return Err(ApiError::invalid("a verb is a short word in lower case, such as `get`"));
    }
    let (plural, subresource) = match of.plural.split_once('/') {
        Some((plural, subresource)) => (plural, Some(subresource)),
        None => (of.plural.as_str(), None),
    };
    // A name completes the path of a subresource where every object is meant.
    let named = name.as_deref().or(subresource.map(|_| "x"));
    let path = ApiRequest::builder().resource(&of.group, &of.version, plural).namespace(namespace.as_deref());
    let path = named.into_iter().fold(path, PathBuilder::name);
    let path = subresource.into_iter().fold(path, PathBuilder::subresource);
    let request = path.build(&Method::GET)?;
    let mut what = request.resource().cloned().ok_or_else(|| ApiError::invalid("this is no resource"))?;
    if name.is_none() {
        (what.name, what.namespace) = (None, namespace);
    }
    Ok(what)
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        Self::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn question(plural: &str, namespace: Option<&str>, name: Option<&str>) -> Result<ResourcePath, ApiError> {
        let of = wit::ResourceType { group: String::new(), version: "v1".into(), plural: plural.into() };
        asked("get", &of, namespace.map(Into::into), name.map(Into::into))
    }

    #[test]
    fn a_question_without_a_name_is_about_every_object() {
        let what = question("pods/eviction", Some("demo"), None).unwrap();
        let parts = (what.resource.as_str(), what.subresource.as_deref(), what.namespace.as_deref(), what.name);
        assert_eq!(parts, ("pods", Some("eviction"), Some("demo"), None));
        let what = question("namespaces", None, None).unwrap();
        assert_eq!((what.namespace, what.name), (None, None));
    }

    #[test]
    fn the_object_of_a_namespace_lies_in_it() {
        let what = question("namespaces", None, Some("demo")).unwrap();
        assert_eq!((what.namespace.as_deref(), what.name.as_deref()), (Some("demo"), Some("demo")));
    }

    #[test]
    fn a_question_that_no_path_could_ask_is_invalid() {
        for (plural, name) in [("pods/a/b", None), ("pods", Some("a/b")), ("", None), ("pods/", None), ("..", None)] {
            assert!(question(plural, Some("demo"), name).is_err(), "{plural}");
        }
    }

    #[test]
    fn all_that_is_said_of_a_deletion_is_in_its_body() {
        let how = |propagation, seconds, uid: Option<&str>, version: Option<&str>| wit::DeleteOptions {
            propagation,
            grace_period_seconds: seconds,
            uid: uid.map(Into::into),
            resource_version: version.map(Into::into),
        };
        let body = |how, options| String::from_utf8(DeleteOptions::of(how, options).json()).unwrap();
        assert_eq!(
            body(how(wit::Propagation::ServerDefault, None, None, None), wit::WriteOptions::empty()),
            r#"{"apiVersion":"v1","kind":"DeleteOptions","preconditions":{}}"#
        );
        assert_eq!(
            body(how(wit::Propagation::Orphan, Some(0), Some("u"), Some("7")), wit::WriteOptions::DRY_RUN),
            r#"{"apiVersion":"v1","kind":"DeleteOptions","dryRun":["All"],"propagationPolicy":"Orphan","gracePeriodSeconds":0,"preconditions":{"uid":"u","resourceVersion":"7"}}"#
        );
    }

    #[test]
    fn a_field_manager_has_a_name() {
        let longest = "ü".repeat(MAX_MANAGER / 2);
        for name in ["config-sync", "a \"b\" \\ c", "日本語 e\u{301}", &longest] {
            assert!(manager(name).is_ok(), "{name}");
        }
        for name in [
            "",
            "a\nb",
            "a\u{a0}b",
            "\u{200b}",
            "\u{e000}",
            "\u{2028}",
            &format!("{longest}x"),
            &"x".repeat(MAX_MANAGER + 1),
        ] {
            assert!(manager(name).is_err(), "{name:?}");
        }
    }
}
