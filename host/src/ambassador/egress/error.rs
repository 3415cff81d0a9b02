//! Why a request to a granted destination got no answer.

use std::io;
use std::sync::Arc;

use thiserror::Error;

use crate::ambassador::headers::HeaderFault;
use crate::gate::GateError;
use crate::policy::DestinationError;

/// Why a request to a place outside the API server got no answer, or not a whole one.
#[derive(Debug, Error)]
pub enum EgressError {
    /// What the request names is no destination.
    #[error("no destination: {0}")]
    Destination(#[from] DestinationError),
    /// The gate did not let it through.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// Its headers are too many or too large.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// The name has no address.
    #[error("{name} has no address")]
    NoAddress {
        /// The name.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// All addresses are such as no granted name may lead to.
    #[error("{destination} leads to {what}")]
    Prohibited {
        /// The destination.
        destination: String,
        /// What is there.
        what: &'static str,
    },
    /// A step was not done in time.
    #[error("{destination}: no {step} in time")]
    Late {
        /// The destination.
        destination: String,
        /// `connection` or `answer`.
        step: &'static str,
    },
    /// None of the addresses takes a connection.
    #[error("cannot connect to {destination}")]
    Connect {
        /// The destination.
        destination: String,
        /// What the system said of the last address.
        #[source]
        source: io::Error,
    },
    /// There are no certificates to check anybody's against.
    #[error("no root certificates: install the system's, name a file in SSL_CERT_FILE, or give some in the settings")]
    NoRoots,
    /// The certificates given in the settings cannot be used.
    #[error("the root certificates for egress cannot be used")]
    Roots(#[source] Arc<rustls::Error>),
    /// TLS failed: mostly a certificate that is not trusted, or not this name's.
    #[error("no secure connection with {destination}")]
    Tls {
        /// The destination.
        destination: String,
        /// What TLS said.
        #[source]
        source: io::Error,
    },
    /// The request's body is larger than is passed on.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(u64),
    /// The answer is larger than the grant's `responseBytes`.
    #[error("the answer is larger than {0} bytes")]
    AnswerTooLarge(u64),
    /// The other side began to speak another protocol.
    #[error("{0} switched protocols")]
    Switched(String),
    /// The connection ended, or what came over it was not HTTP.
    #[error("{destination} broke off")]
    BrokenOff {
        /// The destination.
        destination: String,
        /// What hyper said.
        #[source]
        source: hyper::Error,
    },
}
