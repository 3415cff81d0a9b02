//! Prefixes of paths, by which a proxy chooses the grant that judges a request.
//!
//! Threat: a spelling of a path that selects another grant than the path which is judged and sent. A prefix is compared
//! with whole decoded segments. A prefix inside the API's own paths is compared with
//! [`ApiRequest::subject`](super::ApiRequest::subject), which consists of the judged parts.

use std::fmt;

use super::{InvalidRequest, segments};

/// A prefix of paths: whole segments. It prints with a slash at its end.
///
/// ```
/// use attache_policy::PathPrefix;
/// # fn main() -> Result<(), attache_policy::InvalidRequest> {
/// let prefix = PathPrefix::parse("/team-a")?;
/// assert_eq!(prefix.rest("/team%2Da/api/v1"), Some("/api/v1"));
/// assert_eq!(prefix.rest("/team-ab/api"), None);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathPrefix(Vec<String>);

impl PathPrefix {
    /// Reads a prefix, with or without a slash at its end; `/` begins every path.
    ///
    /// # Errors
    /// [`InvalidRequest`] if the text is no path, has several spellings, or is a path that a backend reads. Inside the
    /// API's own paths the old `watch` and `proxy` before a resource are refused too: such requests are compared
    /// without them.
    pub fn parse(text: &str) -> Result<Self, InvalidRequest> {
        let inner = text.strip_prefix('/').ok_or(InvalidRequest::NotAPath)?;
        let list = match inner {
            "" => Vec::new(),
            inner => inner
                .strip_suffix('/')
                .unwrap_or(inner)
                .split('/')
                .map(segments::segment)
                .collect::<Result<Vec<_>, _>>()?,
        };
        let prefix = Self(list);
        match prefix.relayed() {
            Some(part) => Err(InvalidRequest::Part { what: "prefix", value: super::shown(part) }),
            None => Ok(prefix),
        }
    }

    /// Returns the part of the API's paths that does not stand in [`ApiRequest::subject`](super::ApiRequest::subject),
    /// if this prefix has one.
    fn relayed(&self) -> Option<&str> {
        let before_resource = match self.0.as_slice() {
            [api, _, first, ..] if api == "api" => Some(first),
            [apis, _, _, first, ..] if apis == "apis" => Some(first),
            _ => None,
        };
        let old = before_resource.filter(|first| matches!(first.as_str(), "watch" | "proxy"));
        let behind = (1..self.0.len()).find(|at| segments::is_relayed(self.0.get(..*at).unwrap_or_default()));
        old.or_else(|| behind.and_then(|at| self.0.get(at))).map(String::as_str)
    }

    /// Returns whether the prefix begins every path.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether the prefix lies inside the API's own paths (`/api/`, `/apis/apps/`).
    pub fn is_of_api(&self) -> bool {
        self.0.first().is_some_and(|first| matches!(first.as_str(), "api" | "apis"))
    }

    /// Returns the number of segments: of two prefixes of one path the longer is nearer.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// As [`PathPrefix::is_root`].
    pub fn is_empty(&self) -> bool {
        self.is_root()
    }

    /// Returns the rest of a path, as it was sent, after this prefix: empty, or with a slash at its beginning. Returns
    /// `None` if the path does not begin with the prefix.
    pub fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        let mut rest = path;
        for part in &self.0 {
            let inner = rest.strip_prefix('/')?;
            let (raw, after) = inner.split_at(inner.find('/').unwrap_or(inner.len()));
            if segments::segment(raw).ok()? != *part {
                return None;
            }
            rest = after;
        }
        Some(rest)
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", segments::written(self.0.iter().map(String::as_str)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::Method;

    use super::*;
    use crate::ApiRequest;

    /// Returns whether a request is for a path below a prefix of the API's own paths.
    fn lies_below(prefix: &str, line: &str) -> bool {
        let (method, target) = line.split_once(' ').unwrap();
        let request = ApiRequest::parse(&Method::from_bytes(method.as_bytes()).unwrap(), target).unwrap();
        PathPrefix::parse(prefix).unwrap().rest(&request.subject()).is_some()
    }

    #[test]
    fn each_spelling_of_a_request_lies_below_the_same_prefix() {
        let prefix = "/api/v1/namespaces/a-b/";
        for line in [
            "GET /api/v1/namespaces/a-b/configmaps",
            "GET /api/v1/namespaces/a-b/configmaps/",
            "GET /api/v1/namespaces/a%2Db/configmaps",
            "GET /%61pi/v1/n%61mespaces/a-b/configmaps/x",
            "GET /api/v1/watch/namespaces/a-b/configmaps",
            "GET /api/v1/watch/namespaces/a%2Db/configmaps/x",
            "GET /api/v1/proxy/namespaces/a-b/services/s/x",
            "GET /api/v1/namespaces/a-b/services/s/proxy/x%2Fy",
            "GET /api/v1/namespaces/a-b/configmaps?watch=1",
            "GET /api/v1/namespaces/a-b",
            "PUT /api/v1/namespaces/a-b/finalize",
            "GET /api/v1/watch/namespaces/a-b",
            "GET /api/v1/namespaces?fieldSelector=metadata.name%3Da-b",
            "GET /api/v1/configmaps?fieldSelector=metadata.namespace%3Da-b",
            "GET /api/v1/configmaps?fieldSelector=x!=y,metadata.namespace==a-b&watch=1",
            "DELETE /api/v1/configmaps?fieldSelector=metadata.namespace=a-b",
            "GET /api/v1/watch/configmaps?fieldSelector=metadata.namespace=a-b",
        ] {
            assert!(lies_below(prefix, line), "{line}");
        }
        for line in [
            "GET /api/v1/namespaces/a-bc/configmaps",
            "GET /api/v1/configmaps",
            "GET /api/v1/configmaps?fieldSelector=metadata.namespace!=a-b",
            "GET /api/v1/namespaces/c/configmaps?fieldSelector=metadata.namespace=a-b",
            "GET /api/v1/namespaces/c/configmaps/a-b",
            "GET /apis/apps/v1/namespaces/a-b/deployments",
            "GET /api/v1/namespaces",
        ] {
            assert!(!lies_below(prefix, line), "{line}");
        }
        let one = "/api/v1/namespaces/a/secrets/s";
        assert!(lies_below(one, "GET /api/v1/namespaces/a/secrets?fieldSelector=metadata.name=s"));
        assert!(lies_below(one, "GET /api/v1/watch/namespaces/a/secrets?fieldSelector=metadata.name=s"));
        assert!(lies_below("/apis/rbac.authorization.k8s.io/v1/roles/a%20b/", {
            "GET /apis/rbac.authorization.k8s.io/v1/roles/a%20b"
        }));
    }

    #[test]
    fn a_prefix_has_one_reading() {
        for (text, printed) in
            [("/", "/"), ("/a", "/a/"), ("/a/b/", "/a/b/"), ("/a%2Db", "/a-b/"), ("/api/v1/", "/api/v1/")]
        {
            assert_eq!(PathPrefix::parse(text).unwrap().to_string(), printed);
        }
        for text in [
            "",
            "a",
            "//",
            "/a//b",
            "/a/..",
            "/a%2fb",
            "/api/v1/watch/",
            "/api/v1/proxy/namespaces/a",
            "/apis/apps/v1/watch",
            "/api/v1/namespaces/a/services/s/proxy/admin",
        ] {
            assert!(PathPrefix::parse(text).is_err(), "{text}");
        }
        assert!(PathPrefix::parse("/api/v1/namespaces/a/services/s/proxy").is_ok());
    }

    #[test]
    fn whole_segments_are_taken_off() {
        for (prefix, path, rest) in [
            ("/", "/api/v1", Some("/api/v1")),
            ("/custom/", "/custom/api/v1/pods", Some("/api/v1/pods")),
            ("/custom/", "/custom", Some("")),
            ("/custom/", "/custom/", Some("/")),
            ("/custom", "/customs/x", None),
            ("/custom", "/%63ustom/x", Some("/x")),
            ("/a/", "/a//api", Some("//api")),
            ("/a/b", "/a%2Fb/x", None),
        ] {
            assert_eq!(PathPrefix::parse(prefix).unwrap().rest(path), rest, "{prefix} {path}");
        }
    }
}
