//! The call of a guest for one request, and its response.
//!
//! The guest runs in the task of its connection until it has answered. A guest that ends by then, as most do, needs no
//! task of its own. A guest that continues after the head of its response gets a task, which ends when the client
//! disconnects.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wasmtime::Store;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{Error, WasiBody};

use super::pool::Pool;
use crate::capability::PodView;
use crate::extension::{CallError, Completed, State};
use crate::serving::Connection;

/// The `Retry-After` of a response to a client that was refused because too many calls are in progress, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The response or error that a guest set through its `response-outparam`.
type Answered = Result<Response<HyperOutgoingBody>, ErrorCode>;

/// The result of the call that a response belongs to.
type Ended = Result<Completed<()>, CallError>;

/// The body of a response.
pub(super) enum Answer {
    /// A text of the host.
    Host(Full<Bytes>),
    /// The body of a guest that has ended.
    Whole(HyperOutgoingBody),
    /// The body of a guest that is still running.
    Running(Running),
}

/// The body of a guest that is still running. The guest is ended if the body is dropped before all of it was sent.
pub(super) struct Running {
    body: HyperOutgoingBody,
    call: JoinHandle<Ended>,
    ended: bool,
    /// Bytes that are not sent yet, if the response has a `Content-Length`.
    left: Option<u64>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // When all bytes are sent, the body is dropped before the guest has ended.
        if self.left != Some(0) {
            self.call.abort();
        }
    }
}

/// The reason for which a response breaks off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenOff {
    /// The guest's body failed.
    #[error("the guest's answer failed: {0:?}")]
    Body(Error),
    /// The guest was ended before it had written the whole body.
    #[error("the guest was ended before it had answered")]
    Guest,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match self.get_mut() {
            Self::Host(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Whole(body) => Pin::new(body).poll_frame(cx).map_err(BrokenOff::Body),
            Self::Running(running) => running.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Host(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_end_stream(),
            Self::Running(running) => running.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Host(body) => body.size_hint(),
            Self::Whole(body) => body.size_hint(),
            Self::Running(_) => SizeHint::default(),
        }
    }
}

impl Running {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            let given = frame.as_ref().ok().and_then(Frame::data_ref).map_or(0, Bytes::len);
            self.left = self.left.map(|left| left.saturating_sub(given as u64));
            return Poll::Ready(Some(frame.map_err(BrokenOff::Body)));
        }
        // A guest that was ended has dropped its body, which looks like a finished body.
        let call = ready!(Pin::new(&mut self.call).poll(cx));
        self.ended = true;
        Poll::Ready(if matches!(call, Ok(Ok(_))) { None } else { Some(Err(BrokenOff::Guest)) })
    }
}

/// Returns a response with a text of the host.
pub(super) fn plain(status: StatusCode, words: &'static str) -> Response<Answer> {
    let mut response = Response::new(Answer::Host(Full::new(Bytes::from_static(words.as_bytes()))));
    *response.status_mut() = status;
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text);
    response
}

/// Calls a guest for a request, and returns its response.
pub(super) async fn answer(pool: Arc<Pool>, request: Request<Incoming>) -> Response<Answer> {
    let (sender, mut answered) = oneshot::channel();
    let mut call = Box::pin(call(pool, request, sender));
    tokio::select! {
        biased;
        ended = &mut call => of_ended(&ended, answered.try_recv().ok()),
        answered = &mut answered => match answered {
            Ok(answered) => of_running(answered, call),
            // The guest continues without a response: the result of its call has the reason.
            Err(_gone) => of_ended(&call.await, None),
        },
    }
}

async fn call(pool: Arc<Pool>, request: Request<Incoming>, sender: oneshot::Sender<Answered>) -> Ended {
    let Some(extension) = pool.extension() else { return Err(CallError::NoTimers) };
    let most = usize::try_from(extension.grant().limits.request_bytes).unwrap_or(usize::MAX);
    let tls = request.extensions().get::<Connection>().is_some_and(Connection::is_tls);
    let scheme = if tls { Scheme::Https } else { Scheme::Http };
    let request = request.map(|body| WasiBody::new(Limited::new(body, most).map_err(of_request_body)));
    let ended = pool.call(extension, async |guest, store| handle(guest, store, scheme, request, sender).await).await;
    let cpu = ended.as_ref().map_or(Duration::ZERO, |done| done.usage.cpu);
    pool.reporter.ended(&ended, cpu, ended.is_err());
    if let Err(error) = &ended {
        let (extension, why) = (extension.name(), super::status::reason_of(error));
        tracing::debug!(extension, why, "a request's call failed");
    }
    ended
}

async fn handle(
    guest: &Proxy,
    store: &mut Store<State>,
    scheme: Scheme,
    request: Request<WasiBody>,
    sender: oneshot::Sender<Answered>,
) -> wasmtime::Result<()> {
    let mut http = store.data_mut().pod().into_http();
    let request = http.new_incoming_request(scheme, request)?;
    let answer = http.new_response_outparam(sender)?;
    guest.wasi_http_incoming_handler().call_handle(store, request, answer).await
}

fn of_request_body(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    if error.is::<http_body_util::LengthLimitError>() {
        return Error::HttpRequestBodySize(None);
    }
    Error::HttpProtocolError
}

/// Returns the response of a guest that has ended.
fn of_ended(ended: &Ended, answered: Option<Answered>) -> Response<Answer> {
    match (ended, answered) {
        (Ok(_), Some(Ok(response))) => response.map(Answer::Whole),
        (Ok(_), Some(Err(_))) => plain(StatusCode::BAD_GATEWAY, "the extension answered with an error\n"),
        (Ok(_), None) => plain(StatusCode::BAD_GATEWAY, "the extension did not answer\n"),
        (Err(CallError::Busy { .. }), _) => {
            let words = "as many requests as the extension's grant allows are in progress\n";
            let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, words);
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            response
        }
        (Err(CallError::Deadline { .. }), _) => {
            plain(StatusCode::GATEWAY_TIMEOUT, "the extension did not answer within its deadline\n")
        }
        (Err(_), _) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the extension failed\n"),
    }
}

/// Returns the response of a guest that is still running.
fn of_running(answered: Answered, call: Pin<Box<impl Future<Output = Ended> + Send + 'static>>) -> Response<Answer> {
    match answered {
        Ok(response) => {
            let call = tokio::spawn(call);
            let length = response.headers().get(header::CONTENT_LENGTH);
            let left = length.and_then(|length| length.to_str().ok()?.parse().ok());
            response.map(|body| Answer::Running(Running { body, call, ended: false, left }))
        }
        Err(_) => plain(StatusCode::BAD_GATEWAY, "the extension answered with an error\n"),
    }
}
