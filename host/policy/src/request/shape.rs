//! The path of a request, split into the API server's parts, and the verb that follows from it.

use attache_base::names::{is_dns_name, is_label};
use http::Method;

use super::{ResourcePath, Selected};
use crate::{
    InvalidRequest,
    field_selector::{NAMESPACE_FIELD, named_object, required},
    query::Query,
    segments::{self, split_namespace},
};

/// The parts behind version and namespace that may be any path segment: resource, name and subresource. The metrics
/// APIs have the names of metrics in the first and the last.
const NAMED: usize = 3;

/// The verb of a method alone, for a resource and for a non-resource path.
#[derive(Clone, Copy)]
pub(super) struct MethodVerb {
    resource: &'static str,
    other: &'static str,
}

impl MethodVerb {
    pub(super) fn of(method: &Method) -> Result<Self, InvalidRequest> {
        let (resource, other) = match *method {
            Method::GET => ("get", "get"),
            Method::HEAD => ("get", "head"),
            Method::POST => ("create", "post"),
            Method::PUT => ("update", "put"),
            Method::PATCH => ("patch", "patch"),
            Method::DELETE => ("delete", "delete"),
            _ => return Err(InvalidRequest::Method(crate::shown(method.as_str()))),
        };
        Ok(Self { resource, other })
    }
}

/// A path as the server cuts it.
pub(super) enum Shape<'a> {
    Other,
    Resource(Located<'a>),
}

pub(super) struct Located<'a> {
    group: &'a str,
    version: &'a str,
    /// The prefix of the old form of a watch or a proxied request: `/api/v1/watch/…`.
    prefix: Option<&'static str>,
    namespace: Option<&'a str>,
    /// The resource, the name, the subresource and the rest, which is the subresource's own.
    parts: &'a [String],
}

impl<'a> Shape<'a> {
    pub(super) fn of(segments: &'a [String]) -> Result<Self, InvalidRequest> {
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
            Some(part) => Err(InvalidRequest::Part { what: "path", value: crate::shown(part) }),
            None => Ok(Self::Other),
        }
    }

    /// Returns whether a backend, and not the API server, reads the rest of the path and the query.
    pub(super) fn is_foreign(&self) -> bool {
        match self {
            Self::Other => true,
            Self::Resource(at) => at.subresource() == Some("proxy") || at.prefix == Some("proxy"),
        }
    }

    /// Returns whether the answer has no end of its own. As for `watch`, only `0` and `false` are false to the server
    /// for `follow`.
    pub(super) fn is_stream(&self, verb: &str, query: &Query) -> bool {
        let Self::Resource(at) = self else { return false };
        let follows = |value: &str| value != "0" && !value.eq_ignore_ascii_case("false");
        verb == "watch" || (at.subresource() == Some("log") && query.first("follow").is_some_and(follows))
    }

    /// Returns the verb of a request with this path.
    pub(super) fn verb(
        &self,
        method: &Method,
        by_method: MethodVerb,
        query: &Query,
    ) -> Result<&'static str, InvalidRequest> {
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

    /// Returns the object or the collection of the path; `None` for a non-resource path.
    pub(super) fn into_resource(self, verb: &str, query: &Query) -> Result<Option<ResourcePath>, InvalidRequest> {
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
    /// Refuses parts that no server has and that mean something else in a rule: `$(VARIABLE)` as a namespace, or a
    /// star, which only the metrics APIs use, as anything but a name.
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
            Some((what, part, _)) => Err(InvalidRequest::Part { what, value: crate::shown(part.unwrap_or_default()) }),
            None => Ok(()),
        }
    }

    fn name(&self) -> Option<&str> {
        self.parts.get(1).map(String::as_str)
    }

    fn subresource(&self) -> Option<&str> {
        // Behind the old proxy prefix, everything after the name is the proxied path.
        self.parts.get(2).filter(|_| self.prefix != Some("proxy")).map(String::as_str)
    }
}

/// Returns the verb under the old prefix `watch`. The server watches there whatever the parameter `watch` says, and for
/// GET only.
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

/// Returns the value of the parameter `watch`. To the server only `0` and `false` are false and an empty value is true
/// (`apimachinery/pkg/runtime/conversion.go`). Other readers take `f` or `no` for false, so those are refused.
fn wants_watch(query: &Query) -> Result<Option<bool>, InvalidRequest> {
    let Some(value) = query.first("watch") else {
        return Ok(None);
    };
    match value {
        "" | "1" => Ok(Some(true)),
        "0" => Ok(Some(false)),
        _ if value.eq_ignore_ascii_case("true") => Ok(Some(true)),
        _ if value.eq_ignore_ascii_case("false") => Ok(Some(false)),
        _ => Err(InvalidRequest::Watch(crate::shown(value))),
    }
}

fn selected_name(query: &Query, group: &str) -> Result<Option<String>, InvalidRequest> {
    query.first("fieldSelector").map_or(Ok(None), |selector| named_object(selector, segments::naming(group)))
}

/// Returns the name and the namespace that the field selector of a collection requires, for
/// [`ApiRequest::subject`](super::ApiRequest::subject).
///
/// For its authoriser the server reads no namespace from it, and behind the old `watch` no name. It selects by both
/// all the same.
pub(super) fn selected(query: &Query, at: &ResourcePath, verb: &str) -> Selected {
    let collection = at.name.is_none() && matches!(verb, "list" | "watch" | "deletecollection");
    let Some(selector) = query.first("fieldSelector").filter(|_| collection) else { return Selected::default() };
    let namespace = required(selector, NAMESPACE_FIELD).filter(|name| is_label(name) && at.namespace.is_none());
    Selected { name: named_object(selector, segments::naming(&at.group)).ok().flatten(), namespace }
}
