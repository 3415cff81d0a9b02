//! The errors of requests and bodies, as error codes of `wasi:http`.

use std::io;

use wasmtime_wasi_http::Error;

use crate::ambassador::HeaderFault;
use crate::ambassador::egress::EgressError;
use crate::cluster::{ClusterError, Unavailable};
use crate::gate::GateError;

/// Returns the error for a body of the API server that broke off. All earlier failures have an answer.
pub(super) fn of_cluster(error: ClusterError) -> Error {
    match error {
        ClusterError::TooLarge(limit) => Error::HttpResponseBodySize(Some(limit)),
        ClusterError::Unavailable(Unavailable::Deadline { .. }) => Error::HttpResponseTimeout,
        _ => Error::HttpResponseIncomplete,
    }
}

/// Returns the error for a request to another destination, or for the body of its answer.
pub(super) fn of_egress(error: EgressError) -> Error {
    match error {
        EgressError::Destination(_) => Error::HttpRequestUriInvalid,
        EgressError::Gate(GateError::Denied(_)) => Error::HttpRequestDenied,
        EgressError::Gate(_) => Error::ConnectionLimitReached,
        EgressError::Header(HeaderFault::TooMany | HeaderFault::TooLarge) => Error::HttpRequestHeaderSectionSize(None),
        EgressError::Header(_) => Error::HttpRequestDenied,
        EgressError::NoAddress { .. } => Error::DnsError { rcode: None, info_code: None },
        EgressError::Prohibited { .. } => Error::DestinationIpProhibited,
        EgressError::Late { step: "connection", .. } => Error::ConnectionTimeout,
        EgressError::Late { .. } => Error::ConnectionReadTimeout,
        EgressError::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
            Error::ConnectionRefused
        }
        EgressError::Connect { .. } => Error::DestinationUnavailable,
        EgressError::NoRoots | EgressError::Roots(_) => Error::ConfigurationError,
        EgressError::Tls { source, .. } if is_certificate(&source) => Error::TlsCertificateError,
        EgressError::Tls { .. } => Error::TlsProtocolError,
        EgressError::BodyTooLarge(limit) => Error::HttpRequestBodySize(Some(limit)),
        EgressError::AnswerTooLarge(limit) => Error::HttpResponseBodySize(Some(limit)),
        EgressError::Switched(_) => Error::HttpUpgradeFailed,
        EgressError::BrokenOff { source, .. } => of_hyper(&source),
    }
}

fn is_certificate(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

fn of_hyper(error: &hyper::Error) -> Error {
    if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_parse() {
        Error::HttpProtocolError
    } else if error.is_incomplete_message() {
        Error::HttpResponseIncomplete
    } else {
        Error::ConnectionTerminated
    }
}
