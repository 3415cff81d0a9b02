//! Destinations outside the API server that an extension may call.
//!
//! Threat: a spelling of a host that passes here and means another host to the resolver. A destination is one scheme,
//! one host and one port, compared whole: no patterns, no trailing dots, no numbers that resolvers read as addresses.
//! The addresses of a permitted name are checked after its look-up, elsewhere.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use attache_base::names::is_dns_name;
use serde::Serialize;
use thiserror::Error;

/// The destinations that a grant names; empty is none.
///
/// ```
/// use attache_policy::Grant;
///
/// let text = "{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {name: a},
///              spec: {egress: ['https://a.example']}}";
/// let egress = Grant::parse(text)?.egress;
/// assert!(egress.permits("https", "a.example", 443) && !egress.permits("http", "a.example", 80));
/// # Ok::<(), attache_policy::DocumentError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Egress(pub(super) Vec<Destination>);

/// One destination: `scheme://host[:port]`.
///
/// ```
/// let hooks: attache_policy::Destination = "https://Hooks.example.com:443".parse()?;
/// assert_eq!((hooks.to_string().as_str(), hooks.port()), ("https://hooks.example.com", 443));
/// # Ok::<(), attache_policy::DestinationError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    tls: bool,
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Name(String),
    Address(IpAddr),
}

/// The reason why a text is no destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DestinationError {
    /// The scheme is missing, or is neither `http` nor `https`.
    #[error("a destination begins with `http://` or `https://`")]
    Scheme,
    /// A path, a query, a user or the like follows.
    #[error("a destination is a scheme, a host and perhaps a port, and nothing else")]
    Rest,
    /// The host is neither a DNS name nor an IP address (IPv6 in brackets). There are no wildcards.
    #[error("the host is neither a DNS name nor an IP address; there are no wildcards")]
    Host,
    /// The port is no number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
}

impl Egress {
    /// Returns whether a call to this destination is permitted. An IPv6 host may stand in brackets or without.
    pub fn permits(&self, scheme: &str, host: &str, port: u16) -> bool {
        Destination::of(scheme, host, Some(port)).is_ok_and(|place| self.names(&place))
    }

    /// Returns whether this destination is one of them.
    pub fn names(&self, destination: &Destination) -> bool {
        self.0.contains(destination)
    }

    /// Returns the destinations for which `used` is true.
    #[must_use]
    pub fn only(&self, used: impl Fn(&Destination) -> bool) -> Self {
        Self(self.0.iter().filter(|destination| used(destination)).cloned().collect())
    }

    /// Returns whether nothing is permitted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the destinations in the order of the grant.
    pub fn destinations(&self) -> &[Destination] {
        &self.0
    }
}

impl Destination {
    /// Returns the destination of a request: its scheme, its host (an IPv6 address in brackets or without), and its
    /// port, or the scheme's own.
    ///
    /// # Errors
    /// [`DestinationError`] if it is none.
    pub fn of(scheme: &str, host: &str, port: Option<u16>) -> Result<Self, DestinationError> {
        let tls = is_tls(scheme)?;
        let port = port.unwrap_or(default_port(tls));
        if port == 0 {
            return Err(DestinationError::Port);
        }
        Ok(Self { tls, host: host.parse()?, port })
    }

    /// Returns whether the scheme is `https`.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the host in lower case, if it is a name.
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Address(_) => None,
        }
    }

    /// Returns the reason why no request ever goes to the destination, in any network; `None` where one may. A name is
    /// looked up and judged again with each request.
    pub fn never_opens(&self) -> Option<&'static str> {
        match &self.host {
            Host::Name(name) if name == "localhost" || name.ends_with(".localhost") => {
                Some("no name may lead to this machine: say the address, as in http://127.0.0.1:8080")
            }
            Host::Name(name) if METADATA_NAMES.contains(&name.as_str()) => Some("it is a metadata service"),
            Host::Name(name) if SERVER_NAMES.contains(&name.as_str()) => {
                Some("it is the API server, which is opened under `api:` and called by `credentials: scoped`")
            }
            Host::Address(address) if is_no_host(address.to_canonical()) => Some("it is no address of one host"),
            _ => None,
        }
    }

    /// Returns the host, if it is an address.
    pub fn address(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Name(_) => None,
            Host::Address(address) => Some(*address),
        }
    }
}

/// Names by which a cloud's metadata service is known in all of its machines.
const METADATA_NAMES: [&str; 2] = ["metadata.google.internal", "metadata.goog"];

/// The API server's names in each pod.
const SERVER_NAMES: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];

/// Returns whether an address is unspecified, reserved, or one of a group.
fn is_no_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets()[0], 0 | 224..),
        IpAddr::V6(address) => address.is_unspecified() || address.is_multicast(),
    }
}

fn is_tls(scheme: &str) -> Result<bool, DestinationError> {
    match scheme {
        _ if scheme.eq_ignore_ascii_case("https") => Ok(true),
        _ if scheme.eq_ignore_ascii_case("http") => Ok(false),
        _ => Err(DestinationError::Scheme),
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (scheme, authority) = text.split_once("://").ok_or(DestinationError::Scheme)?;
        let tls = is_tls(scheme)?;
        if authority
            .contains(|letter: char| "/?#@\\%".contains(letter) || letter.is_whitespace() || letter.is_control())
        {
            return Err(DestinationError::Rest);
        }
        let (host, port) = split_port(authority);
        if host.contains(':') && !host.starts_with('[') {
            return Err(DestinationError::Host);
        }
        let port = port.map_or(Ok(default_port(tls)), parse_port)?;
        Ok(Self { tls, host: host.parse()?, port })
    }
}

/// Returns host and port, split at the last colon that is not inside brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn parse_port(text: &str) -> Result<u16, DestinationError> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| plain).ok_or(DestinationError::Port)
}

impl FromStr for Host {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let bare = text.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        if let Some(address) = bare.or(Some(text)).and_then(|inner| inner.parse::<Ipv6Addr>().ok()) {
            return Ok(Self::Address(address.into()));
        }
        if bare.is_some() {
            return Err(DestinationError::Host);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        let name = text.to_ascii_lowercase();
        // Resolvers read `127.1`, `0x7f.1` and `2130706433` as addresses. No top-level domain begins with a digit.
        let numeric =
            name.rsplit('.').next().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_digit()));
        if is_dns_name(&name) && !numeric { Ok(Self::Name(name)) } else { Err(DestinationError::Host) }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "https://" } else { "http://" })?;
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}")?,
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
        }
        if self.port == default_port(self.tls) { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

impl Serialize for Destination {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_destination_is_compared_whole() {
        let egress = Egress(
            ["https://hooks.example.com", "http://10.0.0.7:8080", "https://[2001:db8::1]"]
                .map(|text| text.parse().unwrap())
                .into(),
        );
        for (scheme, host, port, permitted) in [
            ("https", "hooks.example.com", 443, true),
            ("HTTPS", "Hooks.Example.COM", 443, true),
            ("http", "hooks.example.com", 443, false),
            ("https", "hooks.example.com", 8443, false),
            ("https", "hooks.example.com.", 443, false),
            ("https", "evil.hooks.example.com", 443, false),
            ("https", "example.com", 443, false),
            ("http", "10.0.0.7", 8080, true),
            ("http", "10.7", 8080, false),
            ("http", "167772167", 8080, false),
            ("https", "[2001:db8::1]", 443, true),
            ("https", "2001:db8:0::1", 443, true),
            ("ftp", "hooks.example.com", 443, false),
            ("https", "", 443, false),
        ] {
            assert_eq!(egress.permits(scheme, host, port), permitted, "{scheme} {host} {port}");
        }
    }

    #[test]
    fn only_scheme_host_and_port_make_a_destination() {
        for text in [
            "",
            "hooks.example.com",
            "ftp://a",
            "https://",
            "https://a/",
            "https://a?x",
            "https://u@a",
            "https://*.a",
            "https://a:0",
            "https://a:",
            "https://a:99999",
            "https://a:+1",
            "https://a:1:2",
            "https://127.1",
            "https://0x7f.1",
            "https://[::1",
            "https://[a]",
            "https://a b",
            "https://a%2e",
            "https://-a",
            "https://a..b",
            "https://a.",
            "https://a_b",
            "https://fe80::1:443",
            "https://::1",
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_can_never_be_reached_is_known_beforehand() {
        let never = |text: &str| text.parse::<Destination>().unwrap().never_opens().is_some();
        for text in [
            "http://localhost:8080",
            "http://A.LOCALHOST",
            "https://kubernetes.default.svc",
            "http://metadata.google.internal",
            "http://0.0.0.0",
            "http://0.1.2.3",
            "http://224.0.0.1",
            "http://255.255.255.255",
            "http://[::]",
            "http://[ff02::1]",
            "http://[::ffff:0.0.0.0]",
        ] {
            assert!(never(text), "{text}");
        }
        for text in ["http://127.0.0.1:8080", "http://[::1]", "https://localhost.example", "http://10.0.0.1"] {
            assert!(!never(text), "{text}");
        }
    }

    #[test]
    fn a_destination_prints_as_it_is_written() {
        for text in ["https://a.example", "http://a:8080", "https://[2001:db8::1]:8443", "http://10.0.0.1"] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        assert_eq!("https://A:443".parse::<Destination>().unwrap().to_string(), "https://a");
    }
}
