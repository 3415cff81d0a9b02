//! Answers HTTP requests, for extensions that `attache serve` calls with the trigger `http`.
//!
//! ```
//! use attache_guest::http::{Body, Request, Response};
//! use attache_guest::serve::Content;
//!
//! fn answer(request: Request<Body>) -> Response<Content> {
//!     let name = request.uri().query().unwrap_or("world");
//!     Response::new(format!("Hello, {name}!\n").into())
//! }
//!
//! attache_guest::serve!(answer);
//! ```
//!
//! The host makes an instance for each request, or uses one for several requests, one after another, if the manifest
//! says so (`instance`). Static variables live as long as the instance.

use std::fmt;
use std::io::{self, Write};

use ::http::{HeaderName, HeaderValue, Method, Request, Response, Uri};

use crate::bindings::wasi::http::types as wasi;
use crate::bindings::wasi::io::streams::{OutputStream, StreamError};
use crate::http::{Body, WRITTEN_AT_ONCE};

#[doc(hidden)]
pub mod bindings {
    //! The code that `wit-bindgen` generates for the export. [`serve!`](macro@crate::serve) uses it.
    #![allow(
        unsafe_code,
        missing_docs,
        unreachable_pub,
        dead_code,
        clippy::all,
        clippy::pedantic,
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "generated code"
    )]

    wit_bindgen::generate!({
        path: "wit",
        inline: "package attache:sdk; world handler { export wasi:http/incoming-handler@0.2.12; }",
        world: "attache:sdk/handler",
        with: {
            "wasi:http/types@0.2.12": crate::bindings::wasi::http::types,
            "wasi:io/error@0.2.12": crate::bindings::wasi::io::error,
            "wasi:io/poll@0.2.12": crate::bindings::wasi::io::poll,
            "wasi:io/streams@0.2.12": crate::bindings::wasi::io::streams,
            "wasi:clocks/monotonic-clock@0.2.12": crate::bindings::wasi::clocks::monotonic_clock,
        },
        pub_export_macro: true,
        export_macro_name: "export_handler",
        default_bindings_module: "attache_guest::serve::bindings",
    });
}

#[doc(hidden)]
pub use crate::bindings::wasi::http::types::{IncomingRequest, ResponseOutparam};

/// Exports a function as the handler of HTTP requests, and makes the program's `main`.
///
/// The function takes a `Request<Body>` and returns a `Response` whose body is [`Content`], or converts to it.
#[macro_export]
macro_rules! serve {
    ($handler:path) => {
        #[allow(unsafe_code, reason = "the export macro hands functions to the component model")]
        const _: () = {
            struct Handler;

            impl $crate::serve::bindings::exports::wasi::http::incoming_handler::Guest for Handler {
                fn handle(request: $crate::serve::IncomingRequest, answer: $crate::serve::ResponseOutparam) {
                    $crate::serve::handle(request, answer, $handler);
                }
            }

    $crate::serve::bindings::export_handler!(Handler with_types_in $crate::serve::bindings);
        };

        fn main() {}
    };
}

/// Writes the body of a streamed answer.
type Stream = Box<dyn FnOnce(&mut Writer<'_>) -> io::Result<()>>;

/// The body of an answer.
///
/// ```
/// use attache_guest::serve::Content;
/// use std::io::Write;
///
/// let whole: Content = "all of it".into();
/// let streamed = Content::stream(|out| (0..1000).try_for_each(|number| writeln!(out, "{number}")));
/// ```
pub struct Content(Kind);

enum Kind {
    Whole(Vec<u8>),
    Stream(Stream),
}

impl Content {
    /// Returns a body that `write` writes piece by piece, after the client has the head. If `write` fails, the client
    /// sees that the answer broke off.
    pub fn stream(write: impl FnOnce(&mut Writer<'_>) -> io::Result<()> + 'static) -> Self {
        Self(Kind::Stream(Box::new(write)))
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Whole(bytes) => f.debug_tuple("Content").field(&bytes.len()).finish(),
            Kind::Stream(_) => f.write_str("Content(stream)"),
        }
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Kind::Whole(bytes))
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        text.as_bytes().to_vec().into()
    }
}

impl From<()> for Content {
    fn from((): ()) -> Self {
        Vec::new().into()
    }
}

/// The stream of an answer's body. A write waits until the client has room for it.
#[derive(Debug)]
pub struct Writer<'a>(&'a OutputStream);

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(WRITTEN_AT_ONCE)];
        self.0.blocking_write_and_flush(piece).map_err(gone)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.blocking_flush().map_err(gone)
    }
}

fn gone(error: StreamError) -> io::Error {
    match error {
        StreamError::Closed => io::ErrorKind::BrokenPipe.into(),
        StreamError::LastOperationFailed(error) => io::Error::other(error.to_debug_string()),
    }
}

#[doc(hidden)]
pub fn handle<C: Into<Content>>(
    request: IncomingRequest,
    answer: ResponseOutparam,
    handler: impl FnOnce(Request<Body>) -> Response<C>,
) {
    let Some(request) = incoming(request) else {
        return ResponseOutparam::set(answer, Err(wasi::ErrorCode::HttpProtocolError));
    };
    let (head, content) = handler(request).into_parts();
    let fields = wasi::Fields::new();
    for (name, value) in &head.headers {
        // A header that the host refuses is left out: it would be the host's own.
        let _ = fields.append(name.as_str(), value.as_bytes());
    }
    let Content(content) = content.into();
    if let Kind::Whole(bytes) = &content
        && !head.headers.contains_key(::http::header::CONTENT_LENGTH)
    {
        let _ = fields.append("content-length", bytes.len().to_string().as_bytes());
    }
    let response = wasi::OutgoingResponse::new(fields);
    let _ = response.set_status_code(head.status.as_u16());
    let Ok(body) = response.body() else { return };
    ResponseOutparam::set(answer, Ok(response));
    let written = body.write().is_ok_and(|stream| match content {
        Kind::Whole(bytes) => Writer(&stream).write_all(&bytes).is_ok(),
        Kind::Stream(write) => write(&mut Writer(&stream)).is_ok(),
    });
    if written {
        let _ = wasi::OutgoingBody::finish(body, None);
    }
}

/// Converts a request; `None` if the host's has a part that HTTP does not.
fn incoming(request: IncomingRequest) -> Option<Request<Body>> {
    let mut converted = Request::new(());
    *converted.method_mut() = method(request.method())?;
    let path = request.path_with_query().unwrap_or_else(|| "/".to_owned());
    *converted.uri_mut() = path.parse::<Uri>().ok()?;
    for (name, value) in request.headers().entries() {
        let (name, value) = (HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        converted.headers_mut().append(name, value);
    }
    if let Some(authority) = request.authority().filter(|_| !converted.headers().contains_key(::http::header::HOST)) {
        converted.headers_mut().insert(::http::header::HOST, HeaderValue::try_from(authority).ok()?);
    }
    let body = Body::of_request(request)?;
    Some(converted.map(|()| body))
}

fn method(method: wasi::Method) -> Option<Method> {
    Some(match method {
        wasi::Method::Get => Method::GET,
        wasi::Method::Head => Method::HEAD,
        wasi::Method::Post => Method::POST,
        wasi::Method::Put => Method::PUT,
        wasi::Method::Delete => Method::DELETE,
        wasi::Method::Connect => Method::CONNECT,
        wasi::Method::Options => Method::OPTIONS,
        wasi::Method::Trace => Method::TRACE,
        wasi::Method::Patch => Method::PATCH,
        wasi::Method::Other(other) => Method::from_bytes(other.as_bytes()).ok()?,
    })
}
