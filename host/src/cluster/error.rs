//! The error of a call to the API server.

use thiserror::Error;

use super::endpoint::EndpointError;
use super::resolve::ResolveError;
use super::status::ServerStatus;
use super::unavailable::Unavailable;
use crate::gate::GateError;
use crate::policy::InvalidRequest;

/// A call to the API server that failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The server refused.
    #[error("the API server refused: {0}")]
    Refused(Box<ServerStatus>),
    /// The answer is larger than the permit allows, in bytes. The bytes before the limit were passed on.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
    /// The request's body is larger than the permit allows, in bytes; nothing was sent.
    #[error("the request's body is larger than {0} bytes")]
    BodyTooLarge(u64),
    /// The server gave no answer, or not a whole one.
    #[error("the API server is unavailable")]
    Unavailable(#[from] Unavailable),
    /// The request cannot be sent exactly as it was judged.
    #[error(transparent)]
    Invalid(#[from] EndpointError),
    /// A name is of no type, or of several.
    #[error(transparent)]
    Name(#[from] ResolveError),
    /// A discovery document of the server cannot be read.
    #[error("the discovery document {path} cannot be read")]
    Discovery {
        /// The document's path on the server.
        path: String,
        /// The fault of the document.
        #[source]
        source: serde_json::Error,
    },
    /// A request of the host itself cannot be made. The name of a group in discovery, for instance, makes no path.
    #[error("the host cannot ask the API server for this")]
    Request(#[source] InvalidRequest),
    /// One of the host's own gates refused. A rate that is spent is [`Unavailable::Busy`] instead.
    #[error("the host may not ask the API server for this on its own account")]
    Gate(#[source] GateError),
    /// The server's answer to a review of the host's own rights cannot be read.
    #[error("the access review cannot be read")]
    Review(#[source] serde_json::Error),
}

impl ClusterError {
    /// Returns the kind of failure, for logs that throttle each kind. There are few kinds, all in our own words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(why) => why.guest_text(),
            Self::Discovery { .. } | Self::Review(_) => "what the API server says cannot be read",
            Self::Request(_) | Self::Gate(_) => "the host cannot ask for this",
            Self::Name(ResolveError::Down { .. }) => "an API group does not answer",
            Self::Refused(_) | Self::Invalid(_) | Self::Name(_) => "the API server refused",
            Self::TooLarge(_) | Self::BodyTooLarge(_) => "the request or its answer was too large",
        }
    }

    /// Returns the text that a guest may read: the words of the server where it refused, and nothing of the host's
    /// addresses, paths or credentials. [`Display`](std::fmt::Display) and the causes have those.
    pub fn guest_text(&self) -> String {
        match self {
            Self::Refused(status) => status.message.clone(),
            Self::Unavailable(why) => why.guest_text().to_owned(),
            Self::Discovery { .. } => "the API server's discovery cannot be read".to_owned(),
            Self::TooLarge(_)
            | Self::BodyTooLarge(_)
            | Self::Invalid(_)
            | Self::Name(_)
            | Self::Request(_)
            | Self::Gate(_)
            | Self::Review(_) => self.to_string(),
        }
    }
}
