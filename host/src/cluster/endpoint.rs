//! The address of the API server.
//!
//! An in-cluster client finds the server by two variables that the kubelet sets in every container, else by the name of
//! the service `kubernetes` in the namespace `default`. See "Accessing the Kubernetes API from a Pod" in the Kubernetes
//! documentation, and `rest.InClusterConfig` in client-go, which needs both variables too.
//!
//! Traffic is always encrypted, with one exception: a plain `http` address that is loopback, where another ambassador
//! (`kubectl proxy`, for instance) listens and adds credentials of its own. No token is sent over plain HTTP.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use thiserror::Error;

/// The variable with the API server's host name or IP address.
pub const HOST_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";
/// The variable with the API server's port.
pub const PORT_VARIABLE: &str = "KUBERNETES_SERVICE_PORT";
/// The API server's address where the variables are not set.
pub const DEFAULT_URL: &str = "https://kubernetes.default.svc";

/// The source of an [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointSource {
    /// The variables [`HOST_VARIABLE`] and [`PORT_VARIABLE`].
    Environment,
    /// No variable: the address is [`DEFAULT_URL`].
    DefaultName,
    /// A URL that the caller gave.
    Given,
}

/// The base URL of an API server: scheme, host, port, and a path that every request's path follows.
///
/// ```
/// use attache::cluster::Endpoint;
///
/// let endpoint = Endpoint::given("https://10.0.0.1:6443/k8s/c-1")?;
/// assert_eq!(endpoint.uri("/version")?.path(), "/k8s/c-1/version");
/// # Ok::<(), attache::cluster::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    authority: Authority,
    prefix: String,
    source: EndpointSource,
}

/// A fault of an API server's address, or of a request's target on it.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndpointError {
    /// Only one of the two variables is set. A kubelet sets both.
    #[error("{set} is set and {missing} is not: set both, or neither to use {DEFAULT_URL}")]
    Half {
        /// The variable that is set.
        set: &'static str,
        /// The variable that is missing.
        missing: &'static str,
    },
    /// The port is not a number from 1 to 65535.
    #[error("{PORT_VARIABLE} is {value:?}: a port is a number from 1 to 65535")]
    Port {
        /// The value of the variable.
        value: String,
    },
    /// The host is neither an IP address nor a name.
    #[error("{HOST_VARIABLE} is {value:?}: neither an IP address nor a host name")]
    Host {
        /// The value of the variable.
        value: String,
    },
    /// The URL cannot be used. The error does not repeat it, since it may hold a password.
    #[error("the API server's URL {reason}: it is written https://HOST:PORT")]
    Url {
        /// The fault of the URL.
        reason: &'static str,
    },
    /// The URL is plain `http` to another machine.
    #[error("http://{authority} is neither encrypted nor on this machine: use https, or http with a loopback address")]
    Plain {
        /// Host and port.
        authority: String,
    },
    /// A request's target would be sent otherwise than it was judged.
    #[error("{target:?} is not a path that can be sent as it stands")]
    Target {
        /// The target.
        target: String,
    },
}

impl Endpoint {
    /// Finds the API server as every in-cluster client does; `variable` looks up the environment.
    ///
    /// An empty variable counts as unset, as in client-go.
    ///
    /// # Errors
    /// When only one of the variables is set, or the two make no address.
    pub fn find(variable: impl Fn(&str) -> Option<String>) -> Result<Self, EndpointError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        match (set(HOST_VARIABLE), set(PORT_VARIABLE)) {
            (Some(host), Some(port)) => Self::of_service(&host, &port),
            (None, None) => Ok(Self { source: EndpointSource::DefaultName, ..Self::given(DEFAULT_URL)? }),
            (Some(_), None) => Err(EndpointError::Half { set: HOST_VARIABLE, missing: PORT_VARIABLE }),
            (None, Some(_)) => Err(EndpointError::Half { set: PORT_VARIABLE, missing: HOST_VARIABLE }),
        }
    }

    /// Parses a URL: `https`, or `http` with a loopback address or `localhost`.
    ///
    /// # Errors
    /// When the URL is neither, or has a user, a query or a fragment.
    pub fn given(url: &str) -> Result<Self, EndpointError> {
        if url.contains('#') {
            return Err(EndpointError::Url { reason: "has a fragment" });
        }
        let parts = url.parse::<Uri>().map_err(|_| EndpointError::Url { reason: "is not a URL" })?.into_parts();
        let scheme = parts.scheme.ok_or(EndpointError::Url { reason: "has no scheme" })?;
        let authority = parts.authority.ok_or(EndpointError::Url { reason: "has no host" })?;
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        check_authority(&authority)?;
        check_scheme(&scheme, &authority)?;
        if path.query().is_some() {
            return Err(EndpointError::Url { reason: "has a query" });
        }
        Ok(Self {
            scheme,
            authority,
            prefix: path.path().trim_end_matches('/').to_owned(),
            source: EndpointSource::Given,
        })
    }

    fn of_service(host: &str, port: &str) -> Result<Self, EndpointError> {
        let number = port.parse::<u16>().ok().filter(|&number| number != 0);
        let number = number.ok_or_else(|| EndpointError::Port { value: port.to_owned() })?;
        let bad_host = || EndpointError::Host { value: host.to_owned() };
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let url = match bare.parse::<Ipv6Addr>() {
            Ok(address) => format!("https://[{address}]:{number}"),
            Err(_) if host.contains(['/', '?', '#', ':']) => return Err(bad_host()),
            Err(_) => format!("https://{host}:{number}"),
        };
        let given = Self::given(&url).map_err(|_| bad_host())?;
        Ok(Self { source: EndpointSource::Environment, ..given })
    }

    /// Returns the absolute URI of a request's target (`/api/v1/pods?limit=1`) on this server.
    ///
    /// # Errors
    /// [`EndpointError::Target`] when the URI would not hold the target byte for byte. The target that is sent must be
    /// the target that was judged.
    pub fn uri(&self, target: &str) -> Result<Uri, EndpointError> {
        let refused = || EndpointError::Target { target: target.to_owned() };
        let whole = if self.prefix.is_empty() {
            PathAndQuery::try_from(target)
        } else {
            PathAndQuery::try_from(format!("{}{target}", self.prefix))
        };
        let path_and_query = whole.map_err(|_| refused())?;
        if !target.starts_with('/') || path_and_query.as_str().strip_prefix(self.prefix.as_str()) != Some(target) {
            return Err(refused());
        }
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path_and_query);
        Uri::from_parts(parts).map_err(|_| refused())
    }

    /// Returns whether the connection is TLS; without it no token is sent.
    pub fn is_encrypted(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    /// Returns the source of the address.
    pub fn source(&self) -> EndpointSource {
        self.source
    }

    /// Returns host and port, as errors name them.
    pub fn address(&self) -> String {
        format!("{}:{}", self.authority.host(), self.port())
    }

    /// Returns the port; the default of the scheme where the URL has none.
    pub fn port(&self) -> u16 {
        self.authority.port_u16().unwrap_or(if self.is_encrypted() { 443 } else { 80 })
    }

    /// Returns the path that every request's path follows; empty for most servers.
    pub fn path(&self) -> &str {
        &self.prefix
    }

    /// Returns this server with an empty path.
    #[must_use]
    pub fn without_path(self) -> Self {
        Self { prefix: String::new(), ..self }
    }

    /// Returns the host without port; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        self.authority.host()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

fn check_authority(authority: &Authority) -> Result<(), EndpointError> {
    if authority.as_str().contains('@') {
        return Err(EndpointError::Url { reason: "names a user" });
    }
    if authority.host().is_empty() {
        return Err(EndpointError::Url { reason: "has no host" });
    }
    // `http` parses `host:` and `host:99999` as an authority without a port, which would quietly become 443.
    let after_host = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    if !after_host.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(EndpointError::Url { reason: "has a port that is not one" });
    }
    Ok(())
}

fn check_scheme(scheme: &Scheme, authority: &Authority) -> Result<(), EndpointError> {
    if *scheme == Scheme::HTTPS || (*scheme == Scheme::HTTP && is_loopback(authority.host())) {
        return Ok(());
    }
    if *scheme == Scheme::HTTP {
        return Err(EndpointError::Plain { authority: authority.to_string() });
    }
    Err(EndpointError::Url { reason: "is neither https nor http" })
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn found(host: Option<&str>, port: Option<&str>) -> Result<String, EndpointError> {
        let look_up = |name: &str| match name {
            HOST_VARIABLE => host.map(str::to_owned),
            PORT_VARIABLE => port.map(str::to_owned),
            _ => None,
        };
        Endpoint::find(look_up).map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn the_variables_name_the_server() {
        let table = [
            ("10.0.0.1", "443", "https://10.0.0.1:443"),
            ("10.0.0.1", "6443", "https://10.0.0.1:6443"),
            ("fd00:10:96::1", "443", "https://[fd00:10:96::1]:443"),
            ("[fd00:10:96::1]", "6443", "https://[fd00:10:96::1]:6443"),
            ("kubernetes.example", "6443", "https://kubernetes.example:6443"),
        ];
        for (host, port, url) in table {
            assert_eq!(found(Some(host), Some(port)).unwrap(), url);
        }
    }

    #[test]
    fn without_variables_it_is_the_default_name() {
        assert_eq!(found(None, None).unwrap(), DEFAULT_URL);
        assert_eq!(found(Some(""), Some("")).unwrap(), DEFAULT_URL);
        assert_eq!(Endpoint::find(|_| None).unwrap().source(), EndpointSource::DefaultName);
    }

    #[test]
    fn half_a_pair_is_an_error_that_names_the_missing_one() {
        let error = found(Some("10.0.0.1"), None).unwrap_err().to_string();
        assert!(error.contains("KUBERNETES_SERVICE_PORT is not"), "{error}");
        let error = found(None, Some("443")).unwrap_err().to_string();
        assert!(error.contains("KUBERNETES_SERVICE_HOST is not"), "{error}");
    }

    #[test]
    fn bad_variables_are_named_with_their_value() {
        for port in ["0", "65536", "https", "-1", "443 "] {
            assert!(matches!(found(Some("h"), Some(port)), Err(EndpointError::Port { .. })), "{port}");
        }
        for host in ["a b", "user@host", "host/path", "1.2.3.4:5", "[::1", "a#b", "h?"] {
            assert!(matches!(found(Some(host), Some("443")), Err(EndpointError::Host { .. })), "{host}");
        }
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for url in ["http://127.0.0.1:8001", "http://localhost:8001", "http://[::1]:8001", "http://127.8.9.1"] {
            assert!(!Endpoint::given(url).unwrap().is_encrypted());
        }
        for url in ["http://10.0.0.1", "http://kubernetes.default.svc", "http://localhost.example:80"] {
            assert!(matches!(Endpoint::given(url), Err(EndpointError::Plain { .. })), "{url}");
        }
    }

    #[test]
    fn what_is_no_base_url_is_refused_without_being_repeated() {
        let table = [
            "",
            "/api",
            "kubernetes",
            "ftp://host",
            "https://",
            "https://user:secret@host",
            "https://host?x=1",
            "https://host#x",
            "https://host:99999",
            "https://host:",
            "https://host:0",
        ];
        for url in table {
            let error = Endpoint::given(url).unwrap_err();
            assert!(matches!(error, EndpointError::Url { .. }), "{url}: {error:?}");
            assert!(!error.to_string().contains("secret"));
        }
    }

    #[test]
    fn a_target_is_sent_as_it_was_judged_or_not_at_all() {
        let plain = Endpoint::given("https://host:6443/").unwrap();
        assert_eq!(plain.uri("/api/v1/pods?limit=1").unwrap(), "https://host:6443/api/v1/pods?limit=1");
        let nested = Endpoint::given("https://host/k8s/clusters/c-1/").unwrap();
        assert_eq!(nested.uri("/api").unwrap(), "https://host/k8s/clusters/c-1/api");
        for target in ["", "api", "/a#b", "/a b", "http://other/", "*"] {
            assert!(matches!(plain.uri(target), Err(EndpointError::Target { .. })), "{target:?}");
            assert!(nested.uri(target).is_err(), "{target:?}");
        }
    }

    #[test]
    fn the_address_has_a_port_always() {
        assert_eq!(Endpoint::given("https://host").unwrap().address(), "host:443");
        assert_eq!(Endpoint::given("https://[::1]:6443").unwrap().address(), "[::1]:6443");
    }
}
