//! Errors of requests to granted destinations.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::ambassador::headers::HeaderFault;
use crate::gate::GateError;
use crate::policy::DestinationError;

/// The reason why a request to a granted destination got no answer, or not a whole one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EgressError {
    /// The request names no destination.
    #[error("no destination: {0}")]
    Destination(#[from] DestinationError),
    /// The gate did not admit the request.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The headers are too many or too large.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// The name has no address.
    #[error("{name} has no address")]
    NoAddress {
        /// The name.
        name: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// All addresses are of a kind to which no granted name may lead.
    #[error("{destination} leads to {what}")]
    Prohibited {
        /// The destination.
        destination: String,
        /// The kind of address.
        what: &'static str,
    },
    /// A step took too long.
    #[error("{destination}: no {step} in time")]
    Late {
        /// The destination.
        destination: String,
        /// `connection` or `answer`.
        step: &'static str,
    },
    /// None of the addresses accepts a connection.
    #[error("cannot connect to {destination}")]
    Connect {
        /// The destination.
        destination: String,
        /// The system's error for the last address.
        #[source]
        source: io::Error,
    },
    /// There are no trusted certificates.
    #[error("no root certificates: install the system's, name a file in SSL_CERT_FILE, or give some in the settings")]
    NoRoots,
    /// The certificates in the settings cannot be used.
    #[error("the root certificates for egress cannot be used")]
    Roots(#[source] Arc<rustls::Error>),
    /// TLS failed, mostly because the certificate is not trusted or is for another name.
    #[error("no secure connection with {destination}")]
    Tls {
        /// The destination.
        destination: String,
        /// The error of TLS.
        #[source]
        source: io::Error,
    },
    /// The request's body is larger than the limit.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(u64),
    /// The answer is larger than the grant's `responseBytes`.
    #[error("the answer is larger than {0} bytes")]
    AnswerTooLarge(u64),
    /// The server changed to another protocol.
    #[error("{0} switched protocols")]
    Switched(String),
    /// The connection ended, or its bytes were not HTTP.
    #[error("{destination} broke off")]
    BrokenOff {
        /// The destination.
        destination: String,
        /// The error of hyper.
        #[source]
        source: hyper::Error,
    },
}
