//! The filter of `kubectl proxy`: by host, path and method, before any grant is asked.
//!
//! Threat: a page in a browser on this machine whose owner resolves its name to 127.0.0.1 (DNS rebinding). The page
//! then sends requests to the proxy. Its name is in `Host`, and [`FilterSettings::accept_hosts`] does not know it. A
//! page under its own name can still send requests, such as a form's POST, without permission. It cannot read the
//! answers, but the requests may write. The browser names the page in `Origin` and `Sec-Fetch-Site`.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::HeaderMap;
use http::header::{HeaderName, ORIGIN};
use percent_encoding::percent_decode_str;
use regex::RegexSet;
use thiserror::Error;

/// The header in which a browser relates a request to the page that sent it (Fetch Metadata).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Hosts that are this machine.
pub const ACCEPT_HOSTS: &str = r"^localhost$,^127\.0\.0\.1$,^\[::1\]$";
/// Every path.
pub const ACCEPT_PATHS: &str = "^.*";
/// The paths that `kubectl proxy` rejects, and those that it misses: port-forward, and all paths on which the API
/// server is itself a proxy.
pub const REJECT_PATHS: &str = "^/api/.*/pods/.*/exec,^/api/.*/pods/.*/attach,^/api/.*/pods/.*/portforward,\
    ^/api/.*/(pods|services|nodes)/.*/proxy,^/api/[^/]*/proxy/";
/// No method.
pub const REJECT_METHODS: &str = "^$";

/// The text for a rejected path, such as that of `kubectl exec`. Some clients read it as YAML.
pub(super) const REJECTED_PATH: &str = "its path is rejected by the filter (--reject-paths)";

/// The settings of a filter: lists of regular expressions, separated by commas and unanchored unless written so.
///
/// An empty list accepts nothing, or rejects nothing. An empty entry, as after a trailing comma, counts as no
/// expression, because it would match everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterSettings {
    /// Expressions for the host in `Host`. One has to match, for an IPv6 address with or without its brackets.
    pub accept_hosts: String,
    /// Expressions for the path. One has to match.
    pub accept_paths: String,
    /// Expressions for rejected paths, which win over all others.
    pub reject_paths: String,
    /// Expressions for rejected methods, which win over all others.
    pub reject_methods: String,
}

impl Default for FilterSettings {
    fn default() -> Self {
        Self {
            accept_hosts: ACCEPT_HOSTS.into(),
            accept_paths: ACCEPT_PATHS.into(),
            reject_paths: REJECT_PATHS.into(),
            reject_methods: REJECT_METHODS.into(),
        }
    }
}

/// The error for a list that holds no regular expression.
#[derive(Debug, Error)]
#[error("{list:?} is not a list of regular expressions")]
pub struct FilterError {
    list: String,
    #[source]
    source: regex::Error,
}

/// The requests that may go on to be judged by a grant.
#[derive(Clone, Debug)]
pub struct Filter {
    accept_hosts: RegexSet,
    accept_paths: RegexSet,
    reject_paths: RegexSet,
    reject_methods: RegexSet,
}

impl Filter {
    /// Compiles the lists.
    ///
    /// # Errors
    /// Fails if one of them is not a list of regular expressions.
    pub fn new(settings: &FilterSettings) -> Result<Self, FilterError> {
        Ok(Self {
            accept_hosts: compile(&settings.accept_hosts)?,
            accept_paths: compile(&settings.accept_paths)?,
            reject_paths: compile(&settings.reject_paths)?,
            reject_methods: compile(&settings.reject_methods)?,
        })
    }

    /// Returns the reason against a request; `None` when there is none. `host` is the value of `Host`. `path` is the
    /// path as it was sent, and its escapes are decoded before the comparison. A value that is no host, with or without
    /// a port, is never accepted.
    pub fn refuses(&self, method: &str, path: &str, host: &str) -> Option<&'static str> {
        let path = decoded(path);
        if self.reject_paths.is_match(&path) {
            Some(REJECTED_PATH)
        } else if !self.accept_paths.is_match(&path) {
            Some("its path is not accepted by the filter (--accept-paths)")
        } else if self.reject_methods.is_match(method) {
            Some("its method is rejected by the filter (--reject-methods)")
        } else if !host_of(host).is_some_and(|host| self.accepts(&host)) {
            Some("its host is not accepted by the filter (--accept-hosts)")
        } else {
            None
        }
    }

    /// Returns whether a path is rejected, independent of all that is accepted.
    pub fn rejects(&self, path: &str) -> bool {
        self.reject_paths.is_match(&decoded(path))
    }

    /// Returns the reason against a request of a page in a browser; `None` for all other clients, and for pages of
    /// accepted hosts.
    pub fn refuses_page(&self, headers: &HeaderMap) -> Option<&'static str> {
        let text = |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
        let host = |origin: &'_ str| origin.split_once("://").and_then(|(_, host)| host_of(host).map(Cow::into_owned));
        let foreign = |origin| host(origin).is_none_or(|host| !self.accepts(&host));
        if text(ORIGIN).any(foreign) || text(SEC_FETCH_SITE).any(|site| site.eq_ignore_ascii_case("cross-site")) {
            return Some("it comes from a page of another site");
        }
        None
    }

    /// Returns whether a host is accepted. An IPv6 address counts with its brackets and, as in `kubectl proxy` with a
    /// port, without them.
    fn accepts(&self, host: &str) -> bool {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        self.accept_hosts.is_match(host) || bare.is_some_and(|bare| self.accept_hosts.is_match(bare))
    }
}

fn compile(list: &str) -> Result<RegexSet, FilterError> {
    let expressions = list.split(',').filter(|expression| !expression.is_empty());
    RegexSet::new(expressions).map_err(|source| FilterError { list: list.to_owned(), source })
}

/// Returns a path with its escapes decoded. Bytes that are no text are refused when the path is parsed.
fn decoded(path: &str) -> Cow<'_, str> {
    if path.contains('%') { percent_decode_str(path).decode_utf8_lossy() } else { path.into() }
}

/// Returns the host of `host[:port]` without its port, an IPv6 address in brackets; `None` for all else. A bare IPv6
/// address counts as one in brackets. `kubectl proxy` loses the brackets where there is no port, and rejects such a
/// host.
fn host_of(header: &str) -> Option<Cow<'_, str>> {
    if header.parse::<Ipv6Addr>().is_ok() {
        return Some(format!("[{header}]").into());
    }
    let end = if header.starts_with('[') {
        header.find(']')?.saturating_add(1)
    } else {
        header.find(':').unwrap_or(header.len())
    };
    let (host, port) = header.split_at_checked(end)?;
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    let is_port = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits.is_empty() || digits.parse::<u16>().is_ok())
        }
        None => port.is_empty(),
    };
    (is_host && is_port).then(|| host.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn filter(change: impl FnOnce(&mut FilterSettings)) -> Filter {
        let mut settings = FilterSettings::default();
        change(&mut settings);
        Filter::new(&settings).unwrap()
    }

    #[test]
    fn a_page_of_another_site_sends_nothing() {
        let filter = filter(|_| ());
        let refuses = |name: &'static str, value: &str| {
            filter.refuses_page(&[(HeaderName::from_static(name), value.parse().unwrap())].into_iter().collect())
        };
        for origin in ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"] {
            assert_eq!(refuses("origin", origin), None, "{origin}");
        }
        for origin in ["http://evil.example", "null", "", "http://localhost.evil.example", "localhost"] {
            assert!(refuses("origin", origin).is_some(), "{origin}");
        }
        assert!(refuses("sec-fetch-site", "cross-site").is_some());
        for site in ["same-origin", "same-site", "none"] {
            assert_eq!(refuses("sec-fetch-site", site), None, "{site}");
        }
        assert_eq!(filter.refuses_page(&HeaderMap::new()), None);
    }

    #[test]
    fn this_machine_is_accepted_by_each_of_its_names() {
        let filter = filter(|_| ());
        for host in ["localhost", "localhost:8001", "127.0.0.1", "127.0.0.1:80", "[::1]", "[::1]:8001", "::1"] {
            assert_eq!(filter.refuses("GET", "/api", host), None, "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.2",
            "localhost:80:80",
            "[::2]:80",
            "xlocalhost",
            "[::1",
            "[::1]x",
            "[::1]:80@evil",
            "localhost:80@evil",
            "localhost:99999",
            "localhost:+80",
            "user@localhost",
            "localhost/x",
            "10.0.0.1:8001",
        ] {
            assert!(filter.refuses("GET", "/api", host).is_some(), "{host}");
        }
    }

    #[test]
    fn an_address_is_accepted_with_and_without_its_brackets() {
        for accept in [r"^\[::1\]$", "^::1$"] {
            let filter = filter(|settings| settings.accept_hosts = accept.into());
            for host in ["[::1]", "[::1]:8001", "::1"] {
                assert_eq!(filter.refuses("GET", "/api", host), None, "{accept} {host}");
            }
            assert!(filter.refuses("GET", "/api", "[::2]:8001").is_some(), "{accept}");
        }
    }

    #[test]
    fn ways_round_the_api_server_are_rejected_by_default() {
        let filter = filter(|_| ());
        for path in [
            "/api/v1/namespaces/a/pods/p/exec",
            "/api/v1/namespaces/a/pods/p/%65xec",
            "/api/v1/namespaces/a/pods/p/attach",
            "/api/v1/namespaces/a/pods/p/portforward",
            "/api/v1/namespaces/a/pods/p/proxy",
            "/api/v1/namespaces/a/pods/p:80/proxy/metrics",
            "/api/v1/namespaces/a/services/https:s:443/proxy/",
            "/api/v1/nodes/n/proxy/logs",
            "/api/v1/proxy/namespaces/a/pods/p",
        ] {
            assert!(filter.refuses("GET", path, "localhost").is_some(), "{path}");
        }
        for path in [
            "/",
            "/api/v1/namespaces/a/pods/p/log",
            "/apis/apps/v1/deployments",
            "/api/v1/namespaces/a/configmaps/proxy",
        ] {
            assert_eq!(filter.refuses("GET", path, "localhost"), None, "{path}");
        }
    }

    #[test]
    fn lists_are_unanchored_and_a_rejection_wins() {
        let filter = filter(|settings| {
            settings.accept_paths = "^/api/v1/,/version".into();
            settings.reject_paths = "secrets".into();
            settings.reject_methods = "POST,PUT,PATCH".into();
            settings.accept_hosts = ".*".into();
        });
        for (method, path, passes) in [
            ("GET", "/api/v1/pods", true),
            ("GET", "/version", true),
            ("GET", "/x/version/y", true),
            ("GET", "/apis", false),
            ("GET", "/api/v1/secrets", false),
            ("DELETE", "/api/v1/pods", true),
            ("PATCH", "/api/v1/pods", false),
        ] {
            assert_eq!(filter.refuses(method, path, "anybody").is_none(), passes, "{method} {path}");
        }
    }

    #[test]
    fn an_empty_list_or_entry_matches_nothing() {
        for (accept, reject, passes) in [
            ("^/api", "", true),
            ("^/api", ",", true),
            ("^/api", "^/apis,", true),
            ("^/api,", "^/apis,,", true),
            ("", "", false),
            (",", "", false),
            ("^/apis,", "", false),
        ] {
            let filter = filter(|settings| {
                settings.accept_paths = accept.into();
                (settings.reject_paths, settings.reject_methods) = (reject.into(), String::new());
            });
            assert_eq!(filter.refuses("GET", "/api/v1/pods", "localhost").is_none(), passes, "{accept:?} {reject:?}");
        }
        for accept in ["", ",", "^localhost$,"] {
            let filter = filter(|settings| settings.accept_hosts = accept.into());
            assert!(filter.refuses("GET", "/api", "evil.example").is_some(), "{accept:?}");
            assert_eq!(filter.refuses("GET", "/api", "localhost").is_none(), accept.len() > 1, "{accept:?}");
        }
    }

    #[test]
    fn what_is_no_expression_is_told() {
        let settings = FilterSettings { accept_paths: "(".into(), ..FilterSettings::default() };
        assert!(Filter::new(&settings).unwrap_err().to_string().contains("\"(\""));
    }
}
