//! Requests to the API server, read as the API server reads them.
//!
//! Threat: a request that the gate judges as one thing and the server acts on as another. The reading follows the
//! server's own (`apiserver/pkg/endpoints/request/requestinfo.go`), and anything with two readings is refused
//! ([`InvalidRequest`]). The sent request is written anew from the parsed parts: the guest's own bytes never reach the
//! server.

mod shape;

use std::borrow::Cow;

use http::{HeaderValue, Method};

use self::shape::{MethodVerb, Shape, selected};
use super::{
    InvalidRequest, PathBuilder, creation,
    query::{self, Query},
    segments::{self, Segments},
};

/// The longest target, path and query together, in bytes; a grant's `targetBytes` may be less.
///
/// The API server takes 1 MiB of a request's head, but a URI of the crate `http` has at most 65,534 bytes. The rest is
/// left to the path of the API server's own URL.
pub const MAX_TARGET: usize = 63 * 1024;

/// The beginning of the content types of a server-side apply: `application/apply-patch+yaml` and `…+cbor` so far.
const APPLY: &[u8] = b"application/apply-patch";

/// The subresources of a pod that are answered by upgrade only.
const SESSIONS: [&str; 3] = ["exec", "attach", "portforward"];

/// Parameters that are lists on the server: `dryRun` of the write options, `command` of the exec options.
const LIST_PARAMETERS: [&str; 2] = ["dryRun", "command"];

/// The object or the collection of a request, as the server's authoriser sees it.
///
/// ```
/// use attache_policy::ApiRequest;
///
/// let log = ApiRequest::parse(&http::Method::GET, "/api/v1/namespaces/demo/pods/web/log")?;
/// let path = log.resource().expect("a resource");
/// assert_eq!((path.resource.as_str(), path.subresource.as_deref()), ("pods", Some("log")));
/// # Ok::<(), attache_policy::InvalidRequest>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ResourcePath {
    /// The API group; empty for the core group.
    pub group: String,
    /// The version, such as `v1`.
    pub version: String,
    /// The lower-case plural, such as `pods`.
    pub resource: String,
    /// The subresource, such as `status` or `log`.
    pub subresource: Option<String>,
    /// The namespace; `None` for a cluster-scoped object and for a list over all namespaces. The object
    /// `namespaces/NAME` lies in the namespace NAME.
    pub namespace: Option<String>,
    /// The name in the path, or in the field selector of a list, a watch or a deletion.
    pub name: Option<String>,
}

/// The name and the namespace that the field selector of a collection requires.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Selected {
    name: Option<String>,
    namespace: Option<String>,
}

/// A parsed request to the API server.
///
/// Bodies and headers are no part of it, because they do not change the object or the verb. There are two exceptions:
/// the headers of impersonation, which no guest may set, and the content type of a patch
/// ([`ApiRequest::with_content_type`]).
///
/// ```
/// use attache_policy::ApiRequest;
///
/// let list = ApiRequest::parse(&http::Method::GET, "/api/v1/namespaces/demo/pods?watch=1")?;
/// assert_eq!((list.verb(), list.is_watch()), ("watch", true));
/// assert!(ApiRequest::parse(&http::Method::GET, "/api/v1/pods/..%2fsecrets").is_err());
/// # Ok::<(), attache_policy::InvalidRequest>(())
/// ```
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
    /// [`InvalidRequest`] if the server does not understand it, or if another reader could understand it differently.
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

    /// Reads the parts that [`PathBuilder`] or [`ApiRequest::parse`] has put together.
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

    /// Returns the same request with a query that a backend reads, as it was sent.
    fn with_raw_query(mut self, query: &str) -> Result<Self, InvalidRequest> {
        query::check_raw(query, self.path_length)?;
        self.target.push('?');
        self.target.push_str(query);
        Ok(self)
    }

    /// Returns the same request with a body of this type.
    ///
    /// Callers that send a body have to call this: a server-side apply is a patch that creates where there is nothing
    /// to patch, and it is judged for `create` too.
    #[must_use]
    pub fn with_content_type(mut self, content_type: Option<&HeaderValue>) -> Self {
        if self.verb == "patch" {
            let may_create = self.resource.as_ref().is_some_and(creation::by_apply);
            self.creates = may_create && content_type.is_some_and(is_apply);
        }
        self
    }

    /// Returns the same request with an upgrade to another protocol on its connection; `None` where the API server
    /// upgrades no such request.
    ///
    /// It upgrades `exec`, `attach` and `portforward` of pods, the subresource `proxy`, watches, and logs that are
    /// followed.
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

    /// Returns whether the request changes to another protocol.
    pub fn upgrades(&self) -> bool {
        self.upgrades
    }

    /// Returns a builder of a request from typed parts.
    pub fn builder() -> PathBuilder {
        PathBuilder::default()
    }

    /// Returns the HTTP method that is sent.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Returns the path and the query that are sent: canonical, ASCII, never the guest's own bytes.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns the path that is sent, without the query. Names that need it are percent-encoded, in one way. A
    /// non-resource path has no escapes, so the server judges by the same text.
    pub fn path(&self) -> &str {
        self.target.get(..self.path_length).unwrap_or_default()
    }

    /// Returns the path of the request's object or collection, in one spelling for all forms of the request.
    ///
    /// The old `watch` and `proxy` before it are left out, and so is the part that a backend reads. The name and the
    /// namespace that a field selector of a collection requires are in it. [`PathPrefix`](super::PathPrefix) compares
    /// with this path.
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

    /// Returns the verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection` or `proxy`;
    /// for a non-resource path the method in lower case.
    pub fn verb(&self) -> &'static str {
        self.verb
    }

    /// Returns all verbs that the request needs.
    ///
    /// The server authorises an apply as `patch` and a PUT as `update`, and once more as `create` where there is
    /// nothing yet and the type is made so (`handlers/patch.go` and `handlers/update.go` in apiserver's
    /// `pkg/endpoints`). Before the request is sent it is not known which of the two it will be.
    ///
    /// A WebSocket begins with a GET. For `exec`, `attach` and `portforward` of pods the server asks for `create`
    /// beside `get` (since 1.35, `AuthorizePodWebsocketUpgradeCreatePermission`). It does not for `nodes/proxy`, behind
    /// which a kubelet runs commands in any pod of the node by WebSocket. Here that needs `create`, too.
    pub fn verbs(&self) -> impl Iterator<Item = &'static str> {
        self.creates.then_some("create").into_iter().chain([self.verb])
    }

    /// Returns whether an upgrade of the request runs commands or opens connections in pods.
    fn runs_something(&self) -> bool {
        let Some(at) = &self.resource else { return false };
        match at.subresource.as_deref() {
            Some("proxy") => at.resource == "nodes",
            subresource => subresource.is_some_and(|name| SESSIONS.contains(&name)),
        }
    }

    /// Returns whether the request is a server-side apply that may create.
    pub fn applies(&self) -> bool {
        self.creates && self.verb == "patch"
    }

    /// Returns whether the request needs `create` beside its verb.
    ///
    /// A server-side apply does, and a PUT of a type that is made so: they create where there is nothing to change. So
    /// does the upgrade of a GET that runs something.
    pub fn creates(&self) -> bool {
        self.creates
    }

    /// Returns the object or the collection; `None` for a non-resource path such as `/version`, which is judged by its
    /// path.
    pub fn resource(&self) -> Option<&ResourcePath> {
        self.resource.as_ref()
    }

    /// Returns whether the request may change something.
    pub fn is_mutating(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD)
    }

    /// Returns whether the answer is a stream of events without an end of its own.
    pub fn is_watch(&self) -> bool {
        self.verb == "watch" && self.resource.is_some()
    }

    /// Returns whether the answer is a stream without an end of its own: a watch, or a log that is followed.
    pub fn is_stream(&self) -> bool {
        self.endless
    }

    /// Returns whether a backend of the API server answers, in its own time: a container's log, and the subresource
    /// `proxy`. The server itself sets such requests no deadline (`longRunningFunc` in its `cmd/kube-apiserver/app`).
    pub fn is_relayed(&self) -> bool {
        let subresource = self.resource.as_ref().and_then(|at| at.subresource.as_deref());
        self.verb == "proxy" || matches!(subresource, Some("log" | "proxy"))
    }
}

/// Returns whether a body of this type is a server-side apply. The server compares the whole type, so this is no
/// narrower.
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

#[cfg(test)]
mod tests;
