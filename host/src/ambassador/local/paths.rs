//! Paths of requests: the removal of a prefix, and redirects to tidy paths.

use http::uri::{Parts, PathAndQuery};
use http::{Method, Request, Uri};

use crate::policy::PathPrefix;
use crate::serving::HadFragment;

/// Returns the request without the prefix in its path. A request that names another server stays as it is, to be
/// refused.
pub(super) fn without<B>(prefix: &PathPrefix, mut request: Request<B>) -> Request<B> {
    let uri = request.uri();
    if prefix.is_root() || prefix.is_of_api() || uri.authority().is_some() {
        return request;
    }
    let path = prefix.rest(uri.path()).filter(|rest| !rest.is_empty()).unwrap_or("/");
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = Parts::default();
    parts.path_and_query = PathAndQuery::try_from(format!("{path}{query}")).ok();
    if let Ok(left) = Uri::from_parts(parts) {
        *request.uri_mut() = left;
    }
    request
}

/// Returns the path of a redirect for readers whose path has empty or dot segments, as clients make it of a base URL
/// with a slash at its end. The path is never rewritten before it is judged; the client asks again.
pub(super) fn tidied<B>(request: &Request<B>) -> Option<String> {
    let uri = request.uri();
    let path = uri.path();
    let cut = uri.authority().is_some() || request.extensions().get::<HadFragment>().is_some();
    if cut || !(request.method() == Method::GET || request.method() == Method::HEAD) {
        return None;
    }
    let inner = path.strip_suffix('/').unwrap_or(path).strip_prefix('/')?;
    // A browser reads a backslash as a slash, and two at the beginning would name another host.
    if path.contains('\\') || inner.split('/').all(|part| !matches!(part, "" | "." | "..")) {
        return None;
    }
    let mut kept = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("/{}{end}{query}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_prefix_is_taken_off_unless_the_api_has_it_itself() {
        for (prefix, uri, left) in [
            ("/", "/api/v1/pods?limit=1", None),
            ("/custom/", "/custom/api/v1/pods?limit=1", Some("/api/v1/pods?limit=1")),
            ("/custom/", "/custom", Some("/")),
            ("/custom/", "/custom?x=1", Some("/?x=1")),
            ("/api/", "/api/v1", None),
            ("/apis/apps/", "/apis/apps/v1", None),
            ("/k8s-api/", "/k8s-api/version", Some("/version")),
            ("/a/", "/a//api", Some("//api")),
            ("/a/", "http://evil.example/a/api", None),
        ] {
            let request = Request::get(uri).body(()).unwrap();
            let found = without(&PathPrefix::parse(prefix).unwrap(), request).uri().to_string();
            assert_eq!(found, left.unwrap_or(uri), "{prefix} {uri}");
        }
    }

    #[test]
    fn readers_are_sent_to_the_tidy_path() {
        for (target, to) in [
            ("/", None),
            ("/api/v1/pods/?limit=1", None),
            ("/api/v1/namespaces/a/services/https:s:/proxy/", None),
            ("//", Some("/")),
            ("//api/v1/pods?limit=1", Some("/api/v1/pods?limit=1")),
            ("//evil.example/", Some("/evil.example/")),
            ("/api//v1/./pods/", Some("/api/v1/pods/")),
            ("/static/../../api", Some("/api")),
            ("/..", Some("/")),
            ("//\\evil.example/", None),
        ] {
            assert_eq!(tidied(&Request::get(target).body(()).unwrap()).as_deref(), to, "{target}");
            assert_eq!(tidied(&Request::post(target).body(()).unwrap()), None, "{target}");
        }
    }
}
