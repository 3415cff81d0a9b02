//! Raw HTTP requests: to the API server for logs and other streams, and to the destinations in the grant's `egress`.
//!
//! The host handles a request to one of the API server's usual names under the same grant as [`api`](crate::api). The
//! host adds the credentials, so a guest sets no `Authorization` header. A request that the grant denies is answered as
//! the API server would refuse it: status 403, and a `Status` object that names the missing rule. A request beyond
//! the grant's rate is answered with status 429 and a `Retry-After` header.
//!
//! ```no_run
//! use std::io::BufRead;
//! use attache_guest::http::{self, Request};
//!
//! fn follow(namespace: &str, pod: &str) -> Result<(), Box<dyn std::error::Error>> {
//!     let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?follow=true");
//!     let answer = http::send(Request::get(path).body("")?)?;
//!     if !answer.status().is_success() {
//!         return Err(format!("{}: {}", answer.status(), answer.into_body().text()?).into());
//!     }
//!     for line in answer.into_body().lines() {
//!         println!("{}", line?);
//!     }
//!     Ok(())
//! }
//! ```

use std::io::{self, BufRead, BufReader, Read};

pub use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};

use ::http::request::Parts;
use ::http::uri::{Authority, PathAndQuery, Scheme};

use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types as wasi;
use crate::bindings::wasi::io::streams::{InputStream, OutputStream, StreamError};

/// The host of a URI that is only a path: the API server, by the name that it has in every pod.
const API_SERVER: &str = "kubernetes.default.svc";

/// The maximum of one `blocking-write-and-flush` in `wasi:io/streams`, in bytes.
pub(crate) const WRITTEN_AT_ONCE: usize = 4096;

/// The size of one read of a whole body, in bytes: few calls, and little memory.
const READ_AT_ONCE: u64 = 64 << 10;

/// The reason why a request got no answer, or why its answer ended early.
///
/// ```no_run
/// use attache_guest::http::{self, Error, Request};
///
/// fn fetch(uri: &str) -> Result<Option<String>, Error> {
///     let request = Request::get(uri).body("").map_err(|error| Error::Invalid(error.to_string()))?;
///     match http::send(request) {
///         Ok(answer) => answer.into_body().text().map(Some),
///         Err(Error::Denied) => Ok(None),
///         Err(error) => Err(error),
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request cannot be sent: its URI, method or a header is not valid.
    #[error("no request that can be sent: {0}")]
    Invalid(String),
    /// The grant's `egress` does not open the destination, or the destination's name resolves to a prohibited address.
    /// The host also denies certain headers.
    #[error("the grant does not open this destination")]
    Denied,
    /// The request to an `egress` destination exceeds the grant's rate, or the number of requests that the grant allows
    /// at one time. For the API server, this is an answer with status 429.
    #[error("too many requests")]
    Busy,
    /// The connection or the answer took too long.
    #[error("no answer in time")]
    Timeout,
    /// The body of the answer exceeds the grant's `responseBytes`.
    #[error("the answer is larger than the grant allows")]
    TooLarge,
    /// There was no answer, or it ended early. The text names the case of the `error-code` in `wasi:http`.
    #[error("no answer: {0}")]
    Failed(String),
}

impl From<wasi::ErrorCode> for Error {
    fn from(code: wasi::ErrorCode) -> Self {
        use wasi::ErrorCode as Code;
        match code {
            Code::HttpRequestDenied | Code::DestinationIpProhibited => Self::Denied,
            Code::ConnectionLimitReached => Self::Busy,
            Code::ConnectionTimeout | Code::ConnectionReadTimeout | Code::HttpResponseTimeout => Self::Timeout,
            Code::HttpResponseBodySize(_) => Self::TooLarge,
            Code::HttpRequestUriInvalid => Self::Invalid("the URI is not taken".into()),
            other => Self::Failed(format!("{other:?}")),
        }
    }
}

/// Sends a request and returns the answer as soon as its headers have arrived. The body is a stream.
///
/// A URI that is only a path means the API server.
///
/// # Errors
///
/// Every case of [`Error`] except [`Error::TooLarge`], which only [`Body`] returns. An answer with an error status is
/// not an error.
pub fn send(request: Request<impl AsRef<[u8]>>) -> Result<Response<Body>, Error> {
    let (head, content) = request.into_parts();
    let outgoing = outgoing(&head)?;
    let body = outgoing.body().map_err(|()| Error::Invalid("the body is taken".into()))?;
    let answer = outgoing_handler::handle(outgoing, None)?;
    write(body, content.as_ref());
    answer.subscribe().block();
    match answer.get() {
        Some(Ok(answer)) => incoming(answer?),
        _ => Err(Error::Failed("the answer was not there".into())),
    }
}

fn outgoing(head: &Parts) -> Result<wasi::OutgoingRequest, Error> {
    let refused = |what: &str| Error::Invalid(format!("{what} is not taken"));
    let fields = wasi::Fields::new();
    for (name, value) in &head.headers {
        fields
            .append(name.as_str(), value.as_bytes())
            .map_err(|error| refused(&format!("header {name} ({error:?})")))?;
    }
    let scheme = match head.uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => wasi::Scheme::Http,
        None | Some(_) => wasi::Scheme::Https,
    };
    let authority = head.uri.authority().map_or(API_SERVER, Authority::as_str);
    let path = head.uri.path_and_query().map(PathAndQuery::as_str);
    let request = wasi::OutgoingRequest::new(fields);
    request.set_method(&method(&head.method)).map_err(|()| refused("the method"))?;
    request.set_scheme(Some(&scheme)).map_err(|()| refused("the scheme"))?;
    request.set_authority(Some(authority)).map_err(|()| refused("the authority"))?;
    request.set_path_with_query(path).map_err(|()| refused("the path"))?;
    Ok(request)
}

fn method(method: &Method) -> wasi::Method {
    match method.as_str() {
        "GET" => wasi::Method::Get,
        "HEAD" => wasi::Method::Head,
        "POST" => wasi::Method::Post,
        "PUT" => wasi::Method::Put,
        "DELETE" => wasi::Method::Delete,
        "PATCH" => wasi::Method::Patch,
        "OPTIONS" => wasi::Method::Options,
        other => wasi::Method::Other(other.to_owned()),
    }
}

/// Writes the body. If that fails, the host already has an answer, which names the reason.
fn write(body: wasi::OutgoingBody, content: &[u8]) {
    let written = body.write().is_ok_and(|stream| push(&stream, content).is_ok());
    if written {
        let _ = wasi::OutgoingBody::finish(body, None);
    }
}

fn push(stream: &OutputStream, content: &[u8]) -> Result<(), StreamError> {
    content.chunks(WRITTEN_AT_ONCE).try_for_each(|piece| stream.blocking_write_and_flush(piece))
}

fn incoming(answer: wasi::IncomingResponse) -> Result<Response<Body>, Error> {
    let broken = |what: &str| Error::Failed(what.to_owned());
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(answer.status()).map_err(|_| broken("no status"))?;
    for (name, value) in answer.headers().entries() {
        let name = HeaderName::try_from(name).map_err(|_| broken("a header"))?;
        let value = HeaderValue::try_from(value).map_err(|_| broken("a header"))?;
        response.headers_mut().append(name, value);
    }
    let incoming = answer.consume().map_err(|()| broken("no body"))?;
    let stream = incoming.stream().map_err(|()| broken("no body"))?;
    Ok(response.map(|()| Body { stream, _incoming: incoming, _head: Head::Answer(answer) }))
}

/// The body of an answer, as a stream; made by [`send`].
///
/// Use [`Read`], [`lines`](Body::lines), [`text`](Body::text) or [`bytes`](Body::bytes). A drop before the end cancels
/// the rest of the answer.
#[derive(Debug)]
pub struct Body {
    // Declared, and so dropped, before their parents.
    stream: InputStream,
    _incoming: wasi::IncomingBody,
    _head: Head,
}

/// The message that a body is of; it has to live as long.
#[derive(Debug)]
#[expect(dead_code, reason = "kept for its drop")]
enum Head {
    Answer(wasi::IncomingResponse),
    Request(wasi::IncomingRequest),
}

impl Body {
    /// The body of a request that this guest answers.
    pub(crate) fn of_request(request: wasi::IncomingRequest) -> Option<Self> {
        let incoming = request.consume().ok()?;
        let stream = incoming.stream().ok()?;
        Some(Self { stream, _incoming: incoming, _head: Head::Request(request) })
    }

    /// Reads the body to its end.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`], [`Error::Timeout`], or [`Error::Failed`] if the body ends early.
    pub fn bytes(self) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece(READ_AT_ONCE)? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// Reads the body to its end as text, with U+FFFD in place of bytes that are not UTF-8.
    ///
    /// # Errors
    ///
    /// The errors of [`Body::bytes`].
    pub fn text(self) -> Result<String, Error> {
        Ok(String::from_utf8_lossy(&self.bytes()?).into_owned())
    }

    /// Returns an iterator over the lines, each as soon as it arrives. Use it for a followed log or a raw watch.
    pub fn lines(self) -> io::Lines<BufReader<Self>> {
        BufReader::new(self).lines()
    }

    /// Waits for the next piece; returns `None` at the end.
    fn piece(&self, most: u64) -> Result<Option<Vec<u8>>, Error> {
        match self.stream.blocking_read(most) {
            Ok(piece) => Ok(Some(piece)),
            Err(StreamError::Closed) => Ok(None),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasi::http_error_code(&error);
                Err(code.map_or_else(|| Error::Failed(error.to_debug_string()), Error::from))
            }
        }
    }
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = u64::try_from(into.len()).unwrap_or(u64::MAX);
        if most == 0 {
            return Ok(0);
        }
        let piece = self.piece(most).map_err(io::Error::other)?.unwrap_or_default();
        let length = piece.len().min(into.len());
        into[..length].copy_from_slice(&piece[..length]);
        Ok(length)
    }
}
