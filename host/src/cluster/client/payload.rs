//! The payload of a request, and an answer that was read whole.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full};
use tokio::time::Instant;

/// The error of a streamed body.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request on its way to the server.
pub(in crate::cluster) type Outbound = Either<Full<Bytes>, StreamBody>;

/// The parts of a request besides those that were judged. A caller can set no other headers than these: the host writes
/// the rest, so that no caller can name another user.
///
/// ```
/// use attache::cluster::Payload;
/// use http::HeaderValue;
/// use std::time::Duration;
///
/// let patch = Payload::of(HeaderValue::from_static("application/merge-patch+json"), r#"{"data":{"a":"b"}}"#)
///     .within(Duration::from_secs(5));
/// assert!(patch.deadline.is_some());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Payload {
    /// `Accept`; JSON where it is absent.
    pub accept: Option<HeaderValue>,
    /// `Content-Type`, for a request with a body.
    pub content_type: Option<HeaderValue>,
    /// Further headers of the client that the request is made for.
    pub passed_on: ForwardedHeaders,
    /// The request's body; empty for none.
    pub body: Bytes,
    /// A body that is sent as it comes, in place of `body`. Such a request is not retried; see `ApiClient::send`.
    pub stream: Option<StreamBody>,
    /// The time by which the answer has to be whole, body included. `None` takes
    /// [`ApiClientSettings::deadline`](super::super::ApiClientSettings), counted from the call. Of an answer without an
    /// end ([`ApiRequest::is_stream`](crate::policy::ApiRequest::is_stream)) only the head has to be there by then.
    pub deadline: Option<Instant>,
    /// True to wait without end, if there is no deadline, for an answer from behind the server
    /// ([`ApiRequest::is_relayed`](crate::policy::ApiRequest::is_relayed)). The log of a silent container does not even
    /// have a head.
    pub wait_for_backend: bool,
    /// True to send the request once and to return any answer, whenever it comes. For clients with rules of their own
    /// for retries and deadlines: with retries of the host as well, ten tries would become a hundred.
    ///
    /// The request is sent again only if a try cannot have reached the server's handlers: no bytes were sent, the TLS
    /// handshake failed, or the server answered 401 to the host's token.
    pub as_it_comes: bool,
    /// The other protocol that the request asks for. For [`ApiClient::send`](super::super::ApiClient::send) an answer
    /// with 101 is an error even so.
    pub upgrade: Option<Upgrade>,
}

impl Payload {
    /// Makes a payload without a body, for a JSON answer.
    pub fn none() -> Self {
        Self::default()
    }

    /// Makes a payload with a body of this content type, for a JSON answer.
    pub fn of(content_type: HeaderValue, body: impl Into<Bytes>) -> Self {
        Self { content_type: Some(content_type), body: body.into(), ..Self::default() }
    }

    /// Sets a body that is sent as it comes, in place of `body`.
    #[must_use]
    pub fn stream(self, body: StreamBody) -> Self {
        Self { stream: Some(body), ..self }
    }

    /// Sets the deadline to `span` from now.
    #[must_use]
    pub fn within(self, span: Duration) -> Self {
        // A span beyond the range of the clock keeps the default, which is sooner.
        Self { deadline: Instant::now().checked_add(span), ..self }
    }

    /// Sets the deadline.
    #[must_use]
    pub fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }
}

/// The headers of a client's request that may go to the server unchanged: the wanted form of the answer, and no
/// credentials.
const PASSED_ON: [HeaderName; 4] = [ACCEPT_ENCODING, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE];

/// A client's headers that go to the server unchanged. Only [`ForwardedHeaders::of`] makes them, without credentials.
#[derive(Clone, Debug, Default)]
pub struct ForwardedHeaders(HeaderMap);

impl ForwardedHeaders {
    /// Takes `Accept-Encoding`, `If-Modified-Since`, `If-None-Match` and `Range`.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut passed = Self::default();
        PASSED_ON.into_iter().for_each(|name| passed.take(headers, name));
        passed
    }

    /// Takes `User-Agent` too, for a program that a person runs: by its beginning a server decides on pretty JSON and
    /// on the field manager. The host's own product is put after it.
    #[must_use]
    pub fn with_agent(mut self, headers: &HeaderMap) -> Self {
        self.take(headers, USER_AGENT);
        self
    }

    fn take(&mut self, headers: &HeaderMap, name: HeaderName) {
        if let Some(value) = headers.get(&name) {
            self.0.insert(name, value.clone());
        }
    }

    /// Returns the client's own `User-Agent`.
    pub(super) fn agent(&self) -> Option<&HeaderValue> {
        self.0.get(USER_AGENT)
    }

    /// Writes these headers in place of present ones.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name, value.clone());
        }
    }
}

/// The headers of a request to change to another protocol. Only the ambassador makes them, which has checked them.
#[derive(Clone, Debug)]
pub struct Upgrade(HeaderMap);

impl Upgrade {
    pub(crate) fn with(headers: HeaderMap) -> Self {
        Self(headers)
    }

    /// Writes these headers in place of present ones.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.extend(self.0.clone());
    }
}

/// A request's body that is sent as it comes, once. Clones share the body: a frame that one clone returns is gone for
/// the others. A try whose connection fails takes no frame.
#[derive(Clone)]
pub struct StreamBody(Arc<Mutex<UnsyncBoxBody<Bytes, BoxError>>>);

impl StreamBody {
    /// Makes a body of a stream. An error of the stream breaks the request off.
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Arc::new(Mutex::new(body.map_err(Into::into).boxed_unsync())))
    }

    fn body(&self) -> MutexGuard<'_, UnsyncBoxBody<Bytes, BoxError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut *self.body()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

impl fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamBody")
    }
}

impl Payload {
    /// Returns the body to send; of a streamed one the rest.
    pub(super) fn outbound(&self) -> Outbound {
        match &self.stream {
            Some(stream) => Either::Right(stream.clone()),
            None => Either::Left(Full::new(self.body.clone())),
        }
    }
}

/// A 2xx answer that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body.
    pub bytes: Bytes,
}
