//! What a request asks for, read as the API server reads it.
//!
//! Threat: a request that the gate judges as one thing and the server acts on as another. The reading follows the
//! server's own (`apiserver/pkg/endpoints/request/requestinfo.go`), anything with two readings is refused
//! ([`InvalidRequest`]), and what is sent is written anew from what was read: the guest's own bytes never reach the
//! server.

use std::borrow::Cow;

use http::{HeaderValue, Method};

use super::{
    InvalidRequest, PathBuilder,
    build::{is_dns_name, is_label},
    creation,
    field_selector::{NAMESPACE_FIELD, named_object, required},
    query::{self, Query},
    segments::{self, Segments, split_namespace},
};

/// The longest target, path and query together, in bytes; a grant's `targetBytes` may be less. The API server takes 1
/// MiB of a request's head, but a URI of the crate `http` has at most 65,534 bytes. The rest is left to the path of the
/// API server's own URL.
pub const MAX_TARGET: usize = 63 * 1024;

/// How the types of all bodies begin that are a server-side apply: `application/apply-patch+yaml` and `…+cbor` so far.
const APPLY: &[u8] = b"application/apply-patch";

/// Of the parts behind version and namespace those that may be any path segment: resource, name and subresource. The
/// metrics APIs have the names of metrics in the first and the last.
const NAMED: usize = 3;
/// Subresources of a pod that are answered by upgrade only.
const SESSIONS: [&str; 3] = ["exec", "attach", "portforward"];

/// Parameters that are lists on the server: `dryRun` of the write options, `command` of the exec options.
const LIST_PARAMETERS: [&str; 2] = ["dryRun", "command"];

/// Which object or collection a request is about, as the server's authoriser sees it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResourcePath {
    /// Empty for the core group.
    pub group: String,
    /// Such as `v1`.
    pub version: String,
    /// Lower-case plural, such as `pods`.
    pub resource: String,
    /// Such as `status` or `log`.
    pub subresource: Option<String>,
    /// None for a cluster-scoped object, and for a list over all namespaces. The object `namespaces/NAME` lies in the
    /// namespace NAME.
    pub namespace: Option<String>,
    /// The name in the path, or the one that the field selector of a list, watch or deletion names.
    pub name: Option<String>,
}

/// What a field selector of a collection requires.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Selected {
    name: Option<String>,
    namespace: Option<String>,
}

/// A request to the API server, understood.
///
/// Bodies and headers are no part of it: they do not change what is asked for, save those headers that change who asks,
/// which no guest may set, and the one that says what a patch is ([`ApiRequest::with_content_type`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiRequest {
    method: Method,
    verb: &'static str,
    resource: Option<ResourcePath>,
    target: String,
    path_length: usize,
    endless: bool,
    creates: bool,
    selected: Selected,
    upgrades: bool,
}

impl ApiRequest {
    /// Reads a method and a target, which is a path with an optional query (origin form, RFC 9112 section 3.2.1).
    ///
    /// # Errors
    /// [`InvalidRequest`] when the server would not understand it, or another reader could understand it differently.
    pub fn parse(method: &Method, target: &str) -> Result<Self, InvalidRequest> {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        check_bytes(target, path)?;
        let segments = Segments::parse(path)?;
        if segments::is_relayed(&segments.list) {
            // A backend reads this query. The API server takes nothing from it.
            let read = Self::assemble(method, &segments, &Query::default())?;
            return query.map_or(Ok(read.clone()), |query| read.with_raw_query(query));
        }
        let query = query.unwrap_or_default();
        query::check_bytes(query, path.len())?;
        Self::assemble(method, &segments, &Query::parse(query)?)
    }

    /// Reads what [`PathBuilder`] put together.
    pub(super) fn assemble(method: &Method, segments: &Segments, query: &Query) -> Result<Self, InvalidRequest> {
        let method_verb = MethodVerb::of(method)?;
        let shape = Shape::of(&segments.list)?;
        let verb = shape.verb(method, method_verb, query)?;
        let (foreign, endless) = (shape.is_foreign(), shape.is_stream(verb, query));
        if !foreign {
            query.refuse_doubled(&LIST_PARAMETERS)?;
        }
        let resource = shape.into_resource(verb, query)?;
        let creates = verb == "update" && resource.as_ref().is_some_and(creation::by_update);
        let selected = resource.as_ref().map(|at| selected(query, at, verb)).unwrap_or_default();
        let mut target = segments.write(foreign);
        let path_length = target.len();
        query.write(&mut target);
        if target.len() > MAX_TARGET {
            return Err(InvalidRequest::TooLong { limit: MAX_TARGET });
        }
        let (method, upgrades) = (method.clone(), false);
        Ok(Self { method, verb, resource, target, path_length, endless, creates, selected, upgrades })
    }

    /// The same request with a query that a backend reads, as it was sent.
    fn with_raw_query(mut self, query: &str) -> Result<Self, InvalidRequest> {
        query::check_raw(query, self.path_length)?;
        self.target.push('?');
        self.target.push_str(query);
        Ok(self)
    }

    /// Returns the same request with a body of this type. Callers that send a body have to say so here: a patch that is
    /// a server-side apply creates where there is nothing to patch, and is judged for that too.
    #[must_use]
    pub fn with_content_type(mut self, content_type: Option<&HeaderValue>) -> Self {
        if self.verb == "patch" {
            let may_create = self.resource.as_ref().is_some_and(creation::by_apply);
            self.creates = may_create && content_type.is_some_and(is_apply);
        }
        self
    }

    /// The same request, made to change to another protocol on its connection; `None` where the API server does not
    /// upgrade such a request.
    ///
    /// Upgraded are `exec`, `attach` and `portforward` of pods, what is reached by the subresource `proxy`, watches,
    /// and logs that are followed.
    #[must_use]
    pub fn upgraded(mut self) -> Option<Self> {
        let at = self.resource.as_ref()?;
        let may = match at.subresource.as_deref() {
            Some(subresource) if SESSIONS.contains(&subresource) => at.group.is_empty() && at.resource == "pods",
            Some("proxy") => at.group.is_empty(),
            _ => self.endless,
        };
        if !may || !matches!(self.method, Method::GET | Method::POST) {
            return None;
        }
        self.upgrades = true;
        self.creates = self.verb != "create" && self.runs_something();
        Some(self)
    }

    /// Returns whether it changes to another protocol.
    pub fn upgrades(&self) -> bool {
        self.upgrades
    }

    /// Starts to build a request from typed parts.
    pub fn builder() -> PathBuilder {
        PathBuilder::default()
    }

    /// The HTTP method that will be sent.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path and query that will be sent: canonical, ASCII, never the guest's own bytes.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path that will be sent, without the query. Names that need it are percent-encoded, in one way; the path of
    /// what is no resource holds no escapes, so it is also what the server judges by.
    pub fn path(&self) -> &str {
        self.target.get(..self.path_length).unwrap_or_default()
    }

    /// The path of what the request is about, however it was asked for: without the old `watch` and `proxy` before it,
    /// with the name and the namespace that a field selector of a collection requires, and without what a backend
    /// reads. Rules that go by the beginning of a path go by this one.
    pub fn subject(&self) -> Cow<'_, str> {
        let Some(at) = &self.resource else { return self.path().into() };
        let mut list: Vec<&str> = match at.group.as_str() {
            "" => vec!["api", &at.version],
            group => vec!["apis", group, &at.version],
        };
        let itself = at.resource == "namespaces" && at.name.is_some() && at.name == at.namespace;
        let namespace = at.namespace.as_deref().filter(|_| !itself).or(self.selected.namespace.as_deref());
        list.extend(namespace.into_iter().flat_map(|namespace| ["namespaces", namespace]));
        list.push(&at.resource);
        list.extend(at.name.as_deref().or(self.selected.name.as_deref()));
        list.extend(at.subresource.as_deref());
        segments::written(list).into()
    }

    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, `proxy`; for a non-resource
    /// path the method in lower case.
    pub fn verb(&self) -> &'static str {
        self.verb
    }

    /// All verbs that it takes. The server authorises an apply as `patch` and a PUT as `update`, and once more as
    /// `create` where there is nothing yet and the type is made so (`handlers/patch.go` and `handlers/update.go` in
    /// apiserver's `pkg/endpoints`). Which of the two it will be is not known before it is sent.
    ///
    /// A WebSocket begins with a GET. For `exec`, `attach` and `portforward` of pods the server asks for `create`
    /// beside `get` (since 1.35, `AuthorizePodWebsocketUpgradeCreatePermission`). It does not for `nodes/proxy`, behind
    /// which a kubelet runs commands in any pod of the node by WebSocket; here that takes `create`, too.
    pub fn verbs(&self) -> impl Iterator<Item = &'static str> {
        self.creates.then_some("create").into_iter().chain([self.verb])
    }

    /// Returns whether an upgrade of it runs commands or opens connections in pods.
    fn runs_something(&self) -> bool {
        let Some(at) = &self.resource else { return false };
        match at.subresource.as_deref() {
            Some("proxy") => at.resource == "nodes",
            subresource => subresource.is_some_and(|name| SESSIONS.contains(&name)),
        }
    }

    /// Returns whether it is a server-side apply, which also creates.
    pub fn applies(&self) -> bool {
        self.creates && self.verb == "patch"
    }

    /// Returns whether it takes `create` beside its verb: a server-side apply and the PUT of a type that is made so,
    /// which create where there is nothing to change, and the upgrade of a GET that runs something.
    pub fn creates(&self) -> bool {
        self.creates
    }

    /// What the request is about; `None` for a non-resource path such as `/version`, which is judged by its path.
    pub fn resource(&self) -> Option<&ResourcePath> {
        self.resource.as_ref()
    }

    /// Returns whether the server may change something.
    pub fn is_mutating(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Returns whether the answer is a stream of events without an end of its own.
    pub fn is_watch(&self) -> bool {
        self.verb == "watch" && self.resource.is_some()
    }

    /// Returns whether the answer is a stream that goes on for as long as something happens: a watch, or a log that is
    /// followed.
    pub fn is_stream(&self) -> bool {
        self.endless
    }

    /// Returns whether somebody behind the API server answers, in their own time: a container's log, and what is
    /// reached by
    /// `proxy`. The server itself sets such requests no time (`longRunningFunc` in its `cmd/kube-apiserver/app`).
    pub fn is_relayed(&self) -> bool {
        let subresource = self.resource.as_ref().and_then(|at| at.subresource.as_deref());
        self.verb == "proxy" || matches!(subresource, Some("log" | "proxy"))
    }
}

/// Returns whether a body of this type is a server-side apply. The server takes the type as it stands there, so this is
/// no narrower.
fn is_apply(content_type: &HeaderValue) -> bool {
    let start = content_type.as_bytes().trim_ascii_start().get(..APPLY.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(APPLY))
}

/// Refuses bytes that have no place in a path, and targets that are too long to look at.
fn check_bytes(target: &str, path: &str) -> Result<(), InvalidRequest> {
    if target.len() > MAX_TARGET {
        return Err(InvalidRequest::TooLong { limit: MAX_TARGET });
    }
    if !target.starts_with('/') {
        return Err(InvalidRequest::NotAPath);
    }
    if target.contains('#') {
        return Err(InvalidRequest::Fragment);
    }
    query::check_raw(path, 0)
}

/// The verb that a method alone gives, for a resource and for a non-resource path.
#[derive(Clone, Copy)]
struct MethodVerb {
    resource: &'static str,
    other: &'static str,
}

impl MethodVerb {
    fn of(method: &Method) -> Result<Self, InvalidRequest> {
        let (resource, other) = match *method {
            Method::GET => ("get", "get"),
            Method::HEAD => ("get", "head"),
            Method::POST => ("create", "post"),
            Method::PUT => ("update", "put"),
            Method::PATCH => ("patch", "patch"),
            Method::DELETE => ("delete", "delete"),
            _ => return Err(InvalidRequest::Method(super::shown(method.as_str()))),
        };
        Ok(Self { resource, other })
    }
}

/// A path, cut into what the server makes of it.
enum Shape<'a> {
    Other,
    Resource(Located<'a>),
}

struct Located<'a> {
    group: &'a str,
    version: &'a str,
    /// The old way to ask for a watch or a proxied request: `/api/v1/watch/…`.
    prefix: Option<&'static str>,
    namespace: Option<&'a str>,
    /// The resource, then name, subresource and what that subresource makes of the rest.
    parts: &'a [String],
}

impl<'a> Shape<'a> {
    fn of(segments: &'a [String]) -> Result<Self, InvalidRequest> {
        let (group, version, rest) = match segments {
            [api, version, rest @ ..] if api == "api" && !rest.is_empty() => ("", version, rest),
            [apis, group, version, rest @ ..] if apis == "apis" && !rest.is_empty() => (group.as_str(), version, rest),
            _ => return Self::other(segments),
        };
        let (prefix, rest) = strip_prefix(rest)?;
        let (namespace, parts) = split_namespace(rest);
        let located = Located { group, version, prefix, namespace, parts };
        located.check()?;
        Ok(Self::Resource(located))
    }

    fn other(segments: &[String]) -> Result<Self, InvalidRequest> {
        match segments.iter().find(|part| part.contains('*') || segments::check(part).is_err()) {
            Some(part) => Err(InvalidRequest::Part { what: "path", value: super::shown(part) }),
            None => Ok(Self::Other),
        }
    }

    /// Returns whether somebody other than the API server reads the rest of the path and the query.
    fn is_foreign(&self) -> bool {
        match self {
            Self::Other => true,
            Self::Resource(at) => at.subresource() == Some("proxy") || at.prefix == Some("proxy"),
        }
    }

    /// Returns whether the answer has no end of its own. Of `follow` only `0` and `false` are false to the server, as
    /// of `watch`.
    fn is_stream(&self, verb: &str, query: &Query) -> bool {
        let Self::Resource(at) = self else { return false };
        let follows = |value: &str| value != "0" && !value.eq_ignore_ascii_case("false");
        verb == "watch" || (at.subresource() == Some("log") && query.first("follow").is_some_and(follows))
    }

    fn verb(&self, method: &Method, by_method: MethodVerb, query: &Query) -> Result<&'static str, InvalidRequest> {
        let Self::Resource(at) = self else {
            return Ok(by_method.other);
        };
        match (at.prefix, by_method.resource, at.name()) {
            (Some("watch"), ..) => prefixed_watch(method, query),
            (Some(prefix), ..) => Ok(prefix),
            (None, "get", None) if wants_watch(query)? == Some(true) => Ok("watch"),
            (None, "get", None) => Ok("list"),
            (None, "delete", None) => Ok("deletecollection"),
            (None, verb, _) => Ok(verb),
        }
    }

    fn into_resource(self, verb: &str, query: &Query) -> Result<Option<ResourcePath>, InvalidRequest> {
        let Self::Resource(at) = self else {
            return Ok(None);
        };
        let name = match (at.name(), verb, at.prefix) {
            (Some(name), ..) => Some(name.to_owned()),
            (None, "list" | "watch" | "deletecollection", None) => selected_name(query, at.group)?,
            _ => None,
        };
        Ok(Some(ResourcePath {
            group: at.group.to_owned(),
            version: at.version.to_owned(),
            resource: at.parts.first().cloned().unwrap_or_default(),
            subresource: at.subresource().map(str::to_owned),
            namespace: at.namespace.map(str::to_owned),
            name,
        }))
    }
}

impl Located<'_> {
    /// Refuses parts that no server has and that would say something else in a rule: `$(VARIABLE)` as a namespace, or a
    /// star, which only the metrics APIs use, in the place of a name.
    fn check(&self) -> Result<(), InvalidRequest> {
        for (index, part) in self.parts.iter().enumerate() {
            let check = if index < NAMED { segments::naming(self.group) } else { segments::check };
            check(part)?;
        }
        let plain = |part: Option<&str>| part.is_none_or(|part| !part.contains('*'));
        let resource = self.parts.first().map(String::as_str);
        let checked = [
            ("group", Some(self.group), self.group.is_empty() || is_dns_name(self.group)),
            ("version", Some(self.version), is_label(self.version)),
            ("namespace", self.namespace, self.namespace.is_none_or(is_label)),
            ("resource", resource, plain(resource)),
            ("subresource", self.subresource(), plain(self.subresource())),
        ];
        match checked.into_iter().find(|(.., valid)| !valid) {
            Some((what, part, _)) => Err(InvalidRequest::Part { what, value: super::shown(part.unwrap_or_default()) }),
            None => Ok(()),
        }
    }

    fn name(&self) -> Option<&str> {
        self.parts.get(1).map(String::as_str)
    }

    fn subresource(&self) -> Option<&str> {
        // Behind the old proxy prefix all that follows the name is the proxied path.
        self.parts.get(2).filter(|_| self.prefix != Some("proxy")).map(String::as_str)
    }
}

/// The server watches under the old prefix whatever `watch` says, and serves it for GET only.
fn prefixed_watch(method: &Method, query: &Query) -> Result<&'static str, InvalidRequest> {
    if method != Method::GET {
        return Err(InvalidRequest::WatchMethod(method.to_string()));
    }
    match wants_watch(query)? {
        Some(false) => Err(InvalidRequest::Watch("false".into())),
        _ => Ok("watch"),
    }
}

fn strip_prefix(rest: &[String]) -> Result<(Option<&'static str>, &[String]), InvalidRequest> {
    let prefix = match rest.first().map(String::as_str) {
        Some("watch") => "watch",
        Some("proxy") => "proxy",
        _ => return Ok((None, rest)),
    };
    match rest.get(1..) {
        Some(after) if !after.is_empty() => Ok((Some(prefix), after)),
        _ => Err(InvalidRequest::BarePrefix(prefix)),
    }
}

/// What the `watch` parameter says. To the server only `0` and `false` are false and an empty value is true
/// (`apimachinery/pkg/runtime/conversion.go`); other readers take `f` or `no` for false, so those are refused.
fn wants_watch(query: &Query) -> Result<Option<bool>, InvalidRequest> {
    let Some(value) = query.first("watch") else {
        return Ok(None);
    };
    match value {
        "" | "1" => Ok(Some(true)),
        "0" => Ok(Some(false)),
        _ if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
        _ if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
        _ => Err(InvalidRequest::Watch(super::shown(value))),
    }
}

fn selected_name(query: &Query, group: &str) -> Result<Option<String>, InvalidRequest> {
    query.first("fieldSelector").map_or(Ok(None), |selector| named_object(selector, segments::naming(group)))
}

/// The name and the namespace that the field selector of a collection requires, for [`ApiRequest::subject`]. The server
/// reads no name for its authoriser from it behind the old `watch`, and never a namespace, and selects by both all the
/// same.
fn selected(query: &Query, at: &ResourcePath, verb: &str) -> Selected {
    let collection = at.name.is_none() && matches!(verb, "list" | "watch" | "deletecollection");
    let Some(selector) = query.first("fieldSelector").filter(|_| collection) else { return Selected::default() };
    let namespace = required(selector, NAMESPACE_FIELD).filter(|name| is_label(name) && at.namespace.is_none());
    Selected { name: named_object(selector, segments::naming(&at.group)).ok().flatten(), namespace }
}
