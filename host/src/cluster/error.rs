//! What comes of a call where no answer does.

use thiserror::Error;

use super::endpoint::EndpointError;
use super::resolve::ResolveError;
use super::status::ServerStatus;
use super::unavailable::Unavailable;
use crate::gate::GateError;
use crate::policy::InvalidRequest;

/// Why a call to the API server failed.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The server answered, and refused.
    #[error("the API server refused: {0}")]
    Refused(Box<ServerStatus>),
    /// The answer is larger than the permit allows, in bytes. What came before the limit was passed on.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
    /// The request's body is larger than the permit allows, in bytes; nothing was sent.
    #[error("the request's body is larger than {0} bytes")]
    BodyTooLarge(u64),
    /// The server gave no answer, or not a whole one.
    #[error("the API server is unavailable")]
    Unavailable(#[from] Unavailable),
    /// The request cannot be sent as it was judged.
    #[error(transparent)]
    Invalid(#[from] EndpointError),
    /// A name does not say which type is meant.
    #[error(transparent)]
    Name(#[from] ResolveError),
    /// The server's discovery documents make no sense.
    #[error("the discovery document {path} cannot be read")]
    Discovery {
        /// The document's path on the server.
        path: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A request of the host's own cannot be made: what the server calls a group, say, makes no path.
    #[error("the host cannot ask the API server for this")]
    Request(#[source] InvalidRequest),
    /// One of the host's own gates refused, and not for a rate that is spent, which is [`Unavailable::Busy`].
    #[error("the host may not ask the API server for this on its own account")]
    Gate(#[source] GateError),
    /// The server's answer to the question what this host may do makes no sense.
    #[error("the access review cannot be read")]
    Review(#[source] serde_json::Error),
}

impl ClusterError {
    /// Which kind of failure it is, for whoever tells many of a kind as one: one of few, and nobody else's words.
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

    /// What a guest may read of it: the server's own words where there are some, and nothing of the host's addresses,
    /// paths or credentials, which [`Display`](std::fmt::Display) and the causes do tell.
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
