//! HTTP/1.1 on one connection.

use std::pin::pin;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tower_service::Service;

use super::connection::Connection;
use super::counted::Counted;
use super::framing::HadFragment;
use super::handler::{Held, call};
use super::heads::Head;
use super::linger::Lingering;
use super::{BoxError, IDLE};

/// The buffer for a head, in bytes: the largest target (63 KiB) and all headers (32 KiB).
pub(super) const MAX_READ_BUFFER: usize = 96 << 10;

/// Serves HTTP/1.1 until the connection is over, or has changed to another protocol.
pub(super) async fn serve<S, B>(stream: Lingering, head: Head, connection: Connection, service: S) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let stopping = connection.stopping().clone();
    let stream = Counted::new(stream, head.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let length = request.body().size_hint().exact();
        let answering = head.arrived(length);
        if answering.had_fragment() {
            request.extensions_mut().insert(HadFragment);
        }
        request.extensions_mut().insert(connection.clone());
        let closes = length.is_none() || asks_for_upgrade(request.headers());
        let answered = call(service.clone(), request);
        async move {
            let mut response = answered.await?;
            // Bytes behind a refused upgrade may be meant for the other protocol, and are not read as requests. Behind
            // a body of unknown length the beginning of a request line is unknown.
            if closes && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, S::Error>(response.map(|body| Held::new(Some(body), answering)))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(MAX_READ_BUFFER).title_case_headers(true);
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    tokio::select! {
        biased;
        ended = serving.as_mut() => ended,
        () = stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    }
}

/// Returns whether a request asks in any way to leave HTTP/1.1 for another protocol.
pub fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let options = headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let upgrade = |option: &[u8]| option.trim_ascii().eq_ignore_ascii_case(b"upgrade");
    headers.contains_key(UPGRADE) || headers.contains_key("http2-settings") || options.into_iter().any(upgrade)
}

/// Takes over a connection of this module's server that has left HTTP: the bytes that were read of it already, and the
/// connection itself. Returns `None` for a connection of another server.
///
/// The bounds on heads and on idle connections end here. The caller bounds the rest of the connection, in a future for
/// [`Connection::after_http`].
pub fn take_over(upgraded: Upgraded) -> Option<(Bytes, impl AsyncRead + AsyncWrite + Send + Unpin + 'static)> {
    let parts = upgraded.downcast::<TokioIo<Counted<Lingering>>>().ok()?;
    let (lingering, rest) = parts.io.into_inner().into_parts();
    let (stream, ahead) = lingering.into_parts();
    Some(([parts.read_buf, rest, ahead].concat().into(), stream))
}
