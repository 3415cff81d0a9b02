//! The reasons for which the API server gave no answer, each with a hint for the operator.
//!
//! The HTTP client returns a chain of wrapped causes. The one that matters is somewhere in it: a TLS alert, an error
//! number of the system, or a name that did not resolve. [`Unavailable::from_chain`] finds it and drops the wrappings,
//! since "client error (Connect)" helps no operator.

use std::error::Error;
use std::io;
use std::time::Duration;

use hyper_util::client::legacy;
use rustix::io::Errno;
use rustls::AlertDescription;
use thiserror::Error;

use crate::credentials::CredentialsError;

/// The most causes of an error that are followed. Real chains have six; the bound ends a circle.
const MAX_CAUSES: usize = 32;

/// The API server gave no answer, or not a whole one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The server's name does not resolve.
    #[error("no address for the API server's name {host}: is this pod's DNS working, and is the name right?")]
    Name {
        /// The name.
        host: String,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// Nothing listens at the address.
    #[error("connection refused at {address}: is the API server running there?")]
    ConnectionRefused {
        /// Host and port.
        address: String,
    },
    /// There is no route to the address, or no answer from it.
    #[error("cannot connect to {address}: does a network policy or a firewall stand between?")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// This process has no file descriptors left, and a connection needs one.
    #[error(
        "no connection to {address}, for this process has as many files open as its limit allows (`ulimit -n`): raise it"
    )]
    Files {
        /// Host and port.
        address: String,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// The host does not accept the server's certificate.
    #[error("the certificate of {address} is not trusted by {roots}: does that CA belong to this server?")]
    Certificate {
        /// Host and port.
        address: String,
        /// The source of the trusted certificates.
        roots: String,
        /// The fault of the certificate.
        #[source]
        source: rustls::Error,
    },
    /// The server does not accept the host's client certificate, or wants one.
    #[error(
        "{address} does not accept the client certificate: has it expired, and does it come from an authority of this server?"
    )]
    Unshown {
        /// Host and port.
        address: String,
        /// The alert of the server.
        #[source]
        source: rustls::Error,
    },
    /// TLS failed for another reason.
    #[error("no TLS connection with {address}: does it speak HTTPS?")]
    Tls {
        /// Host and port.
        address: String,
        /// The error of TLS.
        #[source]
        source: rustls::Error,
    },
    /// The deadline passed before the server was done.
    #[error("{address} did not {step} within {:.1} s", .after.as_secs_f64())]
    Deadline {
        /// Host and port.
        address: String,
        /// The step that was not done: `answer`, `finish its answer`, or `finish an event`.
        step: &'static str,
        /// The time that the step had.
        after: Duration,
    },
    /// The connection ended, or carried something other than HTTP.
    #[error("{address} broke off: {detail}")]
    BrokenOff {
        /// Host and port.
        address: String,
        /// The innermost cause, in its own words.
        detail: String,
    },
    /// The server switched to another protocol without having been asked.
    #[error("{address} switched protocols unasked")]
    Switched {
        /// Host and port.
        address: String,
    },
    /// There is no token to send.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The rate of the host's own gate, or of the whole host, is spent until after the deadline.
    #[error("the host's own rate of requests is spent: {0}")]
    Busy(String),
}

/// A name that did not resolve, as our resolver puts it into the chain.
#[derive(Debug, Error)]
#[error("{host} has no address")]
pub(super) struct NoAddress {
    pub(super) host: String,
    #[source]
    pub(super) source: io::Error,
}

/// The stage of an exchange at which it failed. The system's errors are the same before and after a connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Without a connection.
    Connecting,
    /// With a connection, so that the request may have reached the server.
    Connected,
}

impl Stage {
    pub(super) fn of(error: &legacy::Error) -> Self {
        if error.is_connect() { Self::Connecting } else { Self::Connected }
    }
}

impl Unavailable {
    /// Finds the cause in an error of the HTTP client. `roots` is the source of the trusted certificates.
    pub(super) fn from_chain(error: &(dyn Error + 'static), stage: Stage, address: &str, roots: &str) -> Self {
        let address = address.to_owned();
        for cause in causes(error) {
            if let Some(NoAddress { host, source }) =
                cause.downcast_ref::<NoAddress>().filter(|why| !is_for_files(&why.source))
            {
                return Self::Name { host: host.clone(), source: copy(source) };
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::from_tls(tls.clone(), address, roots);
            }
            if let Some(system) = cause.downcast_ref::<io::Error>().filter(|system| says_what(system)) {
                return Self::from_system(system, stage, address);
            }
        }
        let detail = causes(error).last().map_or_else(String::new, ToString::to_string);
        Self::BrokenOff { address, detail }
    }

    fn from_tls(source: rustls::Error, address: String, roots: &str) -> Self {
        match source {
            rustls::Error::InvalidCertificate(_) => Self::Certificate { address, roots: roots.to_owned(), source },
            rustls::Error::AlertReceived(alert) if is_about_certificate(alert) => Self::Unshown { address, source },
            _ => Self::Tls { address, source },
        }
    }

    fn from_system(system: &io::Error, stage: Stage, address: String) -> Self {
        use io::ErrorKind as Kind;
        if is_for_files(system) {
            return Self::Files { address, source: copy(system) };
        }
        match (stage, system.kind()) {
            (Stage::Connecting, Kind::ConnectionRefused) => Self::ConnectionRefused { address },
            (
                Stage::Connecting,
                Kind::HostUnreachable
                | Kind::NetworkUnreachable
                | Kind::NetworkDown
                | Kind::TimedOut
                | Kind::AddrNotAvailable,
            ) => Self::Unreachable { address, source: copy(system) },
            _ => Self::BrokenOff { address, detail: system.to_string() },
        }
    }

    /// Returns a copy for callers that waited for the same answer. `None` for missing credentials, on which no caller
    /// waits.
    pub(super) fn again(&self) -> Option<Self> {
        Some(match self {
            Self::Name { host, source } => Self::Name { host: host.clone(), source: copy(source) },
            Self::ConnectionRefused { address } => Self::ConnectionRefused { address: address.clone() },
            Self::Unreachable { address, source } => {
                Self::Unreachable { address: address.clone(), source: copy(source) }
            }
            Self::Files { address, source } => Self::Files { address: address.clone(), source: copy(source) },
            Self::Certificate { address, roots, source } => {
                Self::Certificate { address: address.clone(), roots: roots.clone(), source: source.clone() }
            }
            Self::Unshown { address, source } => Self::Unshown { address: address.clone(), source: source.clone() },
            Self::Tls { address, source } => Self::Tls { address: address.clone(), source: source.clone() },
            Self::Deadline { address, step, after } => Self::Deadline { address: address.clone(), step, after: *after },
            Self::BrokenOff { address, detail } => Self::BrokenOff { address: address.clone(), detail: detail.clone() },
            Self::Switched { address } => Self::Switched { address: address.clone() },
            Self::Busy(why) => Self::Busy(why.clone()),
            Self::Credentials(_) => return None,
        })
    }

    /// Returns whether the connection ended after the request may have reached the server.
    pub(super) fn broke_off(&self) -> bool {
        matches!(self, Self::BrokenOff { .. })
    }

    /// Returns the text that a guest may read: the kind of failure, without addresses, paths or credentials.
    pub fn guest_text(&self) -> &'static str {
        match self {
            Self::Name { .. } | Self::ConnectionRefused { .. } | Self::Unreachable { .. } => {
                "the API server cannot be reached"
            }
            Self::Files { .. } => "the host has too many files open to ask the API server",
            Self::Certificate { .. } | Self::Unshown { .. } | Self::Tls { .. } => {
                "no secure connection with the API server"
            }
            Self::Deadline { .. } => "the API server did not answer in time",
            Self::BrokenOff { .. } | Self::Switched { .. } => "the API server broke off",
            Self::Credentials(_) => "the host has no credentials for the API server",
            Self::Busy(_) => "the host asks the API server too often",
        }
    }
}

/// Returns whether a server sends this alert because of a client certificate that is missing or not accepted.
fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}

/// Returns an error and its causes. An [`io::Error`] that wraps another is followed into it; `source` would skip it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error)).take(MAX_CAUSES)
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// Returns whether an error says what happened, and does not only wrap another. A connection that was not made in time
/// is the HTTP client's own error, and wraps the error of a timer.
fn says_what(error: &io::Error) -> bool {
    error.get_ref().is_none() || error.kind() == io::ErrorKind::TimedOut
}

/// Returns whether there are no file descriptors left, for this process (`EMFILE`) or any (`ENFILE`).
fn is_for_files(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Returns a copy of an error of the system; [`io::Error`] cannot be cloned.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(error: &(dyn Error + 'static)) -> Unavailable {
        Unavailable::from_chain(error, Stage::Connecting, "10.0.0.1:443", "/ca.crt")
    }

    /// Wraps as the HTTP client does.
    fn wrapped(inner: impl Error + Send + Sync + 'static) -> io::Error {
        io::Error::other(io::Error::other(inner))
    }

    #[test]
    fn a_refused_connection_names_the_address() {
        let error = read(&wrapped(io::Error::from_raw_os_error(111)));
        assert!(matches!(error, Unavailable::ConnectionRefused { .. }), "{error:?}");
        assert_eq!(error.to_string(), "connection refused at 10.0.0.1:443: is the API server running there?");
    }

    #[test]
    fn an_untrusted_certificate_names_the_roots() {
        let error = read(&wrapped(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)));
        assert!(matches!(error, Unavailable::Certificate { .. }), "{error:?}");
        assert!(error.to_string().contains("not trusted by /ca.crt"), "{error}");
        assert!(!error.guest_text().contains("ca.crt"));
    }

    #[test]
    fn a_server_without_tls_is_told_apart() {
        let error = read(&wrapped(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)));
        assert!(matches!(error, Unavailable::Tls { .. }), "{error:?}");
    }

    #[test]
    fn a_name_without_address_is_told_apart() {
        let source = io::Error::other("failed to lookup address information");
        let error = read(&wrapped(NoAddress { host: "kubernetes.default.svc".into(), source }));
        assert!(error.to_string().contains("kubernetes.default.svc"), "{error}");
        assert!(matches!(error, Unavailable::Name { .. }), "{error:?}");
    }

    #[test]
    fn no_route_is_unreachable_and_a_reset_has_broken_off() {
        assert!(matches!(read(&io::Error::from_raw_os_error(113)), Unavailable::Unreachable { .. }));
        let late = io::Error::new(io::ErrorKind::TimedOut, std::fmt::Error);
        assert!(matches!(read(&wrapped(late)), Unavailable::Unreachable { .. }));
        assert!(read(&io::Error::from_raw_os_error(104)).broke_off());
        assert!(read(&wrapped(std::fmt::Error)).broke_off());
    }

    #[test]
    fn a_want_of_files_is_this_processes_and_not_the_servers() {
        for number in [23, 24] {
            let why = || io::Error::from_raw_os_error(number);
            let unresolved = NoAddress { host: "kubernetes.default.svc".into(), source: why() };
            for error in [read(&wrapped(why())), read(&wrapped(unresolved))] {
                assert!(matches!(error, Unavailable::Files { .. }), "{error:?}");
                assert!(error.to_string().contains("this process has as many files open"), "{error}");
            }
        }
    }

    #[test]
    fn a_connection_that_falls_silent_has_broken_off() {
        for number in [110, 113] {
            let silent = wrapped(io::Error::from_raw_os_error(number));
            assert!(Unavailable::from_chain(&silent, Stage::Connected, "10.0.0.1:443", "").broke_off(), "{number}");
        }
    }
}
