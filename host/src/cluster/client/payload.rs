//! What goes with a permit to the server, and what comes back.

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

/// What a streamed body fails with.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request on its way to the server.
pub(in crate::cluster) type Outbound = Either<Full<Bytes>, StreamBody>;

/// What a request carries besides what was judged. These headers are all that a caller can set: the host writes every
/// other, so that none can say who asks.
#[derive(Clone, Debug, Default)]
pub struct Payload {
    /// `Accept`; JSON where it is absent.
    pub accept: Option<HeaderValue>,
    /// `Content-Type`, for a request with a body.
    pub content_type: Option<HeaderValue>,
    /// Further headers of whoever the request is made for.
    pub passed_on: ForwardedHeaders,
    /// The request's body; empty for none.
    pub body: Bytes,
    /// A body that is sent as it comes, in place of `body`. A request with one is never made again.
    pub stream: Option<StreamBody>,
    /// When the answer has to be whole, body included. `None` takes
    /// [`ApiClientSettings::deadline`](super::super::ApiClientSettings), counted from the call; of an answer without an end
    /// ([`ApiRequest::is_stream`](crate::policy::ApiRequest::is_stream)) only the head has to be there by then.
    pub deadline: Option<Instant>,
    /// Whether, without a deadline, an answer of somebody behind the server
    /// ([`ApiRequest::is_relayed`](crate::policy::ApiRequest::is_relayed)) is waited for until whoever asks gives up.
    /// The log of a silent container has not even a head.
    pub patient: bool,
    /// Whether the request is sent once and its answer handed back as it came, whenever it comes. Set for clients that
    /// have rules of their own for retries and deadlines: behind a host that retried too, ten tries become a hundred.
    ///
    /// The request is sent again only where a try cannot have reached the server's handlers: no bytes were sent, the
    /// TLS handshake failed, or the server did not take the host's token.
    pub as_it_comes: bool,
    /// The other protocol that the request asks for. An answer that changes to it is an error of [`ApiClient::send`](
    /// super::super::Cluster::send), like any other 101.
    pub upgrade: Option<Upgrade>,
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

/// The headers of somebody's request that may go to the server as they are: what form of the answer is wanted, and
/// nothing that says who asks.
const PASSED_ON: [HeaderName; 4] = [ACCEPT_ENCODING, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE];

/// Headers that go to the server as they came. Made by [`ForwardedHeaders::of`] only, which leaves all out that says who asks.
#[derive(Clone, Debug, Default)]
pub struct ForwardedHeaders(HeaderMap);

impl ForwardedHeaders {
    /// Takes `Accept-Encoding`, `If-Modified-Since`, `If-None-Match` and `Range`.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut passed = Self::default();
        PASSED_ON.into_iter().for_each(|name| passed.take(headers, name));
        passed
    }

    /// Takes `User-Agent` too, for a program that a person runs: by it the server decides how pretty its JSON is.
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

    /// Puts them in the place of those that are there.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.0 {
            headers.insert(name, value.clone());
        }
    }
}

/// The headers of a request that asks to change to another protocol. Only the ambassador makes one, which has read
/// them.
#[derive(Clone, Debug)]
pub struct Upgrade(HeaderMap);

impl Upgrade {
    pub(crate) fn with(headers: HeaderMap) -> Self {
        Self(headers)
    }

    /// Puts them in the place of those that are there.
    pub(super) fn write(&self, headers: &mut HeaderMap) {
        headers.extend(self.0.clone());
    }
}

/// A request's body that is sent as it comes, once. Clones are the same body: what one of them has given is gone. A try
/// whose connection fails takes nothing of it.
#[derive(Clone)]
pub struct StreamBody(Arc<Mutex<UnsyncBoxBody<Bytes, BoxError>>>);

impl StreamBody {
    /// Sends this body. An error of it breaks the request off.
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
        f.write_str("Streamed")
    }
}

impl Payload {
    /// The body to send; of a streamed one what is left.
    pub(super) fn outbound(&self) -> Outbound {
        match &self.stream {
            Some(stream) => Either::Right(stream.clone()),
            None => Either::Left(Full::new(self.body.clone())),
        }
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
