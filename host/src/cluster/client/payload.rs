//! What goes with a permit to the server, and what comes back.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use tokio::time::Instant;

/// What a request carries besides what was judged. These two headers are all that a caller can set: the host writes
/// every other, so that none can say who asks.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    /// `Accept`; JSON where it is absent.
    pub accept: Option<HeaderValue>,
    /// `Content-Type`, for a request with a body.
    pub content_type: Option<HeaderValue>,
    /// The request's body; empty for none.
    pub body: Bytes,
    /// When the answer has to be whole, body included. `None` takes
    /// [`ClusterSettings::deadline`](super::super::ClusterSettings), counted from the call; a watch names a later one.
    pub deadline: Option<Instant>,
}

impl Payload {
    /// No body, JSON wanted.
    pub fn none() -> Self {
        Self::default()
    }

    /// A body of this content type, JSON wanted.
    pub fn of(content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self { content_type: Some(content_type), body: body.into(), ..Self::default() }
    }

    /// The same with the whole exchange ended after `span` from now.
    #[must_use]
    pub fn within(self, span: Duration) -> Self {
        // A span that leads past the end of time keeps the default, which is sooner.
        Self { deadline: Instant::now().checked_add(span), ..self }
    }

    /// The same with the whole exchange ended at `deadline`.
    #[must_use]
    pub fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }
}

/// An answer that was read whole: 2xx and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body.
    pub bytes: Bytes,
}
