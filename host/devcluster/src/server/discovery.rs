//! The served types and the server's state: discovery, version and health.

use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::model::catalogue::Catalogue;
use crate::model::resources::{Subresource, Type, join_version};
use crate::model::status::ApiError;
use crate::server::api::Api;
use crate::wire::answer::{Accept, Answer};
use crate::wire::request::Query;

/// The version that the server claims.
const VERSION: &str = r#"{
  "major": "1",
  "minor": "36",
  "emulationMajor": "1",
  "emulationMinor": "36",
  "minCompatibilityMajor": "1",
  "minCompatibilityMinor": "35",
  "gitVersion": "v1.36.2",
  "gitCommit": "98b35193b2ac7a23a673325f5e9b830ecd5ba406",
  "gitTreeState": "clean",
  "buildDate": "2026-11-23T21:34:40Z",
  "goVersion": "go1.26.10",
  "compiler": "gc",
  "platform": "linux/amd64"
}"#;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// All discovery documents, encoded once for each set of types.
pub(crate) struct Discovery {
    pub(crate) generation: u64,
    pub(crate) groups: Vec<Group>,
    api_aggregated: (Bytes, HeaderValue),
    apis_aggregated: (Bytes, HeaderValue),
}

/// A group with its versions, the preferred one first.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) versions: Vec<(String, Vec<Arc<Type>>)>,
}

impl Discovery {
    fn new(catalogue: &Catalogue) -> Self {
        let generation = catalogue.generation();
        let mut groups: Vec<Group> = Vec::new();
        for of in catalogue.all() {
            let at = groups.iter().position(|group| group.name == of.group).unwrap_or_else(|| {
                groups.push(Group { name: of.group.clone(), versions: Vec::new() });
                groups.len() - 1
            });
            let Some(group) = groups.get_mut(at) else { continue };
            match group.versions.iter_mut().find(|(version, _)| *version == of.version) {
                Some((_, types)) => types.push(of),
                None => group.versions.push((of.version.clone(), vec![of])),
            }
        }
        let (core, named): (Vec<&Group>, Vec<&Group>) = groups.iter().partition(|group| group.name.is_empty());
        let (api_aggregated, apis_aggregated) = (aggregated(&core), aggregated(&named));
        Self { generation, groups, api_aggregated, apis_aggregated }
    }

    pub(crate) fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }
}

impl Group {
    fn json(&self) -> Value {
        let version = |version: &str| json!({"groupVersion": join_version(&self.name, version), "version": version});
        let versions: Vec<Value> = self.versions.iter().map(|(name, _)| version(name)).collect();
        json!({"name": self.name, "preferredVersion": versions.first(), "versions": versions})
    }
}

fn aggregated(groups: &[&Group]) -> (Bytes, HeaderValue) {
    let items: Vec<Value> = groups.iter().map(|group| aggregated_group(group)).collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
    });
    let body = crate::model::object::ordered(&list, false);
    let hash = hex::encode_upper(Sha256::digest(&body));
    let tag = HeaderValue::from_str(&format!("\"{hash}\"")).unwrap_or(HeaderValue::from_static("\"\""));
    (body.into(), tag)
}

fn aggregated_group(group: &Group) -> Value {
    let versions: Vec<Value> = group
        .versions
        .iter()
        .map(|(version, types)| {
            let resources: Vec<Value> = types.iter().map(|of| aggregated_type(of)).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    let metadata = if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
    json!({"metadata": metadata, "versions": versions})
}

fn aggregated_type(of: &Type) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    // A real server leaves group and version out of built-in types, and names them for custom ones.
    let (group, version) = if of.custom.is_some() { (of.group.as_str(), of.version.as_str()) } else { ("", "") };
    let part = |sub: &Subresource| {
        let (group, version) = match (sub.group.as_str(), sub.version.as_str()) {
            ("", "") => (group, version),
            given => given,
        };
        json!({"subresource": sub.name, "responseKind": kind(group, version, &sub.kind), "verbs": sub.verbs})
    };
    let mut entry = json!({
        "resource": of.plural,
        "responseKind": kind(group, version, &of.kind),
        "scope": if of.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": of.singular,
        "verbs": of.verbs,
    });
    insert_names(&mut entry, of);
    if !of.subresources.is_empty() {
        entry["subresources"] = of.subresources.iter().map(part).collect();
    }
    entry
}

fn insert_names(entry: &mut Value, of: &Type) {
    if !of.short_names.is_empty() {
        entry["shortNames"] = of.short_names.clone().into();
    }
    if !of.categories.is_empty() {
        entry["categories"] = of.categories.clone().into();
    }
}

/// Returns the entries of one type in a plain resource list: itself and its subresources.
fn plain_type(of: &Type) -> Vec<Value> {
    let mut entry = json!({
        "name": of.plural, "singularName": of.singular, "namespaced": of.namespaced, "kind": of.kind, "verbs": of.verbs,
    });
    insert_names(&mut entry, of);
    if of.stored() {
        entry["storageVersionHash"] = of.storage_version_hash().into();
    }
    let part = |sub: &Subresource| {
        let mut entry = json!({
            "name": format!("{}/{}", of.plural, sub.name), "singularName": "", "namespaced": of.namespaced,
            "kind": sub.kind, "verbs": sub.verbs,
        });
        if !sub.group.is_empty() {
            entry["group"] = sub.group.as_str().into();
            entry["version"] = sub.version.as_str().into();
        }
        entry
    };
    std::iter::once(entry).chain(of.subresources.iter().map(part)).collect()
}

impl Api {
    pub(crate) fn discovered(&self) -> Arc<Discovery> {
        let mut kept = self.discovery.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.as_ref().filter(|found| found.generation == self.catalogue.generation()) {
            return Arc::clone(found);
        }
        let fresh = Arc::new(Discovery::new(&self.catalogue));
        *kept = Some(Arc::clone(&fresh));
        fresh
    }

    /// Answers a path that names no resource.
    pub(crate) fn plain(
        &self,
        method: &Method,
        path: &str,
        query: &Query,
        headers: &HeaderMap,
    ) -> Result<Answer, ApiError> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        // A real server's pages that list resources have no HEAD.
        let listed = matches!(segments[..], ["version"] | ["api", ..] | ["apis", _, ..]);
        if *method != Method::GET && (*method != Method::HEAD || listed) {
            return Err(if self.page(&segments, query, headers).is_ok() {
                ApiError::method_not_allowed()
            } else {
                ApiError::no_page()
            });
        }
        self.page(&segments, query, headers)
    }

    fn page(&self, segments: &[&str], query: &Query, headers: &HeaderMap) -> Result<Answer, ApiError> {
        match segments {
            [] => Ok(self.paths()),
            ["version"] => Ok(Answer::json(200, VERSION)),
            ["healthz" | "livez" | "readyz", rest @ ..] => health(segments, rest, query),
            ["api"] if wants_aggregated(headers) => Ok(tagged(&self.discovered().api_aggregated, headers)),
            ["apis"] if wants_aggregated(headers) => Ok(tagged(&self.discovered().apis_aggregated, headers)),
            ["api"] => self.document(headers, &self.versions()),
            ["apis"] => self.document(headers, &self.group_list()),
            ["api", version] => self.resource_list("", version, headers),
            ["apis", group] => self.one_group(group, headers),
            ["apis", group, version] => self.resource_list(group, version, headers),
            ["openapi", rest @ ..] => self.openapi(rest, query).ok_or_else(ApiError::no_page),
            [".well-known", "openid-configuration"] => Ok(self.openid()),
            ["openid", "v1", "jwks"] => self.key_set(headers),
            _ => Err(ApiError::no_page()),
        }
    }

    fn document(&self, headers: &HeaderMap, value: &Value) -> Result<Answer, ApiError> {
        Ok(Answer::tree(200, Accept::parse(headers, None)?, value))
    }

    fn versions(&self) -> Value {
        json!({"kind": "APIVersions", "versions": ["v1"],
               "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": self.address}]})
    }

    fn group_list(&self) -> Value {
        let discovery = self.discovered();
        let named = discovery.groups.iter().filter(|group| !group.name.is_empty());
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": named.map(Group::json).collect::<Vec<_>>()})
    }

    fn one_group(&self, name: &str, headers: &HeaderMap) -> Result<Answer, ApiError> {
        let discovery = self.discovered();
        let group = discovery.group(name).filter(|_| !name.is_empty()).ok_or_else(ApiError::no_page)?;
        let mut value = group.json();
        value["kind"] = "APIGroup".into();
        value["apiVersion"] = "v1".into();
        self.document(headers, &value)
    }

    fn resource_list(&self, group: &str, version: &str, headers: &HeaderMap) -> Result<Answer, ApiError> {
        let discovery = self.discovered();
        let found = discovery.group(group).and_then(|group| group.versions.iter().find(|(name, _)| name == version));
        let (_, types) = found.ok_or_else(ApiError::no_page)?;
        let mut value = json!({
            "kind": "APIResourceList",
            "groupVersion": join_version(group, version),
            "resources": types.iter().flat_map(|of| plain_type(of)).collect::<Vec<_>>(),
        });
        if !group.is_empty() {
            value["apiVersion"] = "v1".into();
        }
        self.document(headers, &value)
    }

    /// Answers `/` with all paths.
    fn paths(&self) -> Answer {
        let discovery = self.discovered();
        let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned(), "/apis/".to_owned()];
        for group in discovery.groups.iter().filter(|group| !group.name.is_empty()) {
            paths.push(format!("/apis/{}", group.name));
            paths.extend(group.versions.iter().map(|(version, _)| format!("/apis/{}/{version}", group.name)));
        }
        let rest = ["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"];
        paths.extend(rest.map(str::to_owned));
        Answer::json(200, json!({"paths": paths}).to_string())
    }

    fn openid(&self) -> Answer {
        let body = json!({
            "issuer": crate::access::token::AUDIENCE,
            "jwks_uri": format!("https://{}/openid/v1/jwks", self.address),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        });
        Answer::json(200, body.to_string())
            .with(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"))
    }

    fn key_set(&self, headers: &HeaderMap) -> Result<Answer, ApiError> {
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
        if !["application/jwk-set+json", "*/*"].iter().any(|known| accept.contains(known)) {
            let message = "406: Not Acceptable\n\nAvailable representations: application/jwk-set+json";
            return Err(ApiError::new(406, "NotAcceptable", message).with_details(json!({})));
        }
        let body = self.authentication.signer().key_set().to_string();
        Ok(Answer::json(200, body)
            .with(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"))
            .with(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")))
    }
}

fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let first = accept.split(',').find(|entry| {
        let has = |word: &str| entry.split(';').any(|part| part.trim() == word);
        has("application/json") && (!entry.contains("as=") || (has("v=v2") && has("as=APIGroupDiscoveryList")))
    });
    first.is_some_and(|entry| entry.contains("as=APIGroupDiscoveryList"))
}

fn tagged((body, tag): &(Bytes, HeaderValue), headers: &HeaderMap) -> Answer {
    let known = headers.get(header::IF_NONE_MATCH) == Some(tag);
    let answer = if known { Answer::empty(304) } else { Answer::json(200, body.clone()) };
    let answer = if known { answer } else { answer.with(header::CONTENT_TYPE, HeaderValue::from_static(AGGREGATED)) };
    answer
        .with(header::ETAG, tag.clone())
        .with(header::VARY, HeaderValue::from_static("Accept"))
        .with(header::CACHE_CONTROL, HeaderValue::from_static("public"))
}

/// The health checks. The store is the only part that could fail.
const CHECKS: &[&str] = &["ping", "log", "etcd"];

fn health(segments: &[&str], rest: &[&str], query: &Query) -> Result<Answer, ApiError> {
    match rest {
        [] if query.has("verbose") => {
            let lines: String = CHECKS.iter().map(|check| format!("[+]{check} ok\n")).collect();
            Ok(Answer::text(200, format!("{lines}{} check passed\n", segments.first().unwrap_or(&""))))
        }
        [] => Ok(Answer::text(200, "ok")),
        [check] if CHECKS.contains(check) => Ok(Answer::text(200, "ok")),
        _ => Err(ApiError::no_page()),
    }
}
