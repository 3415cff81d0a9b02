//! HTTP/2 on one connection.
//!
//! Threat: a client for which requests are cheaper than for the server. It opens streams and resets them at once, sends
//! a head in pieces without an end, or leaves its windows closed. The first is bounded by the resets that may wait, the
//! second by the size of a head, the third by the small buffers of a stream.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tower_service::Service;

use super::connection::Connection;
use super::handler::{Held, call};
use super::heads::Head;
use super::linger::Lingering;
use super::{BoxError, IDLE};

/// The requests of one connection at a time: the least that RFC 9113 recommends.
const STREAMS: u32 = 100;

/// The streams of one connection that its client has reset and the server has not taken up yet.
const PENDING_RESETS: usize = 20;

/// The streams of one connection that the server may reset for errors of its client.
const ERROR_RESETS: usize = 64;

/// The largest headers of one request, in bytes.
const MAX_HEAD: u32 = 32 << 10;

/// The bytes of one request's body that a client may send ahead of the handler.
const STREAM_WINDOW: u32 = 64 << 10;

/// The bytes of all bodies of one connection that a client may send ahead of their handlers.
const CONNECTION_WINDOW: u32 = 256 << 10;

/// The bytes of one answer that wait for a client's window.
const SEND_BUFFER: usize = 64 << 10;

/// The interval of pings on a connection with requests, and the time for their answer. A dead client holds no request
/// for longer than both.
const PING: Duration = Duration::from_secs(30);

/// The longest time that a connection without requests may take to close in order.
const ORDERLY_WITHIN: Duration = Duration::from_millis(500);

/// Serves HTTP/2 until the connection is over.
pub(super) async fn serve<S, B>(
    stream: Lingering,
    head: Head,
    connection: Connection,
    room: Arc<Semaphore>,
    service: S,
) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let (stopping, waiting) = (connection.stopping().clone(), head.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let answering = head.stream_opened();
        let room = Arc::clone(&room).try_acquire_owned();
        request.extensions_mut().insert(connection.clone());
        let service = service.clone();
        async move {
            let Ok(room) = room else { return Ok(crowded(answering)) };
            let response = call(service, request).await?;
            Ok::<_, S::Error>(response.map(|body| Held::new(Some(body), (answering, Some(room)))))
        }
    });
    let mut serving = pin!(builder().serve_connection(TokioIo::new(stream), service));
    let mut unused = Unused::of(waiting);
    tokio::select! {
        biased;
        ended = serving.as_mut() => return ended,
        () = poll_fn(|cx| unused.poll(cx)) => {
            serving.as_mut().graceful_shutdown();
            return timeout(ORDERLY_WITHIN, serving).await.unwrap_or(Ok(()));
        }
        () = stopping.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    serving.await
}

fn builder() -> http2::Builder<Tasks> {
    let mut http = http2::Builder::new(Tasks::default());
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(ERROR_RESETS)
        .max_header_list_size(MAX_HEAD)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    http
}

/// Returns the answer to a request beyond the bound of the listener.
fn crowded<B, A, R>(answering: A) -> Response<Held<B, (A, Option<R>)>> {
    let mut response = Response::new(Held::new(None, (answering, None)));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// The tasks of one connection's requests, which end with the connection.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move { drop(task.await) });
    }
}

/// The wait of a connection without requests.
struct Unused {
    head: Head,
    /// The wait that was under way when the clock was set.
    since: Option<u64>,
    clock: Pin<Box<Sleep>>,
}

impl Unused {
    fn of(head: Head) -> Self {
        let since = head.waits().map(|(ticket, _)| ticket);
        Self { head, since, clock: Box::pin(sleep(IDLE)) }
    }

    /// Returns when the connection has waited for too long (between one and two times [`IDLE`]), or has to make room.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let waits = self.head.note_idle(cx.waker());
        if waits.is_some_and(|ticket| self.head.poll_waits(ticket, cx.waker()) == Poll::Ready(false)) {
            return Poll::Ready(());
        }
        while self.clock.as_mut().poll(cx).is_ready() {
            if waits.is_some() && waits == self.since {
                return Poll::Ready(());
            }
            self.since = waits;
            self.clock.as_mut().reset(Instant::now() + IDLE);
        }
        Poll::Pending
    }
}
