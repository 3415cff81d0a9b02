//! A body whose pauses are bounded.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use wasmtime_wasi_http::Error;

/// A body that fails when it pauses for longer than `between-bytes-timeout`. Without that option it may pause for ever.
pub(super) struct TimedBody<B, F> {
    body: B,
    between: Option<Duration>,
    /// The end of the current pause.
    alarm: Option<Pin<Box<Sleep>>>,
    explain: F,
}

impl<B, F> TimedBody<B, F> {
    /// `explain` turns the body's own errors into those of `wasi:http`.
    pub(super) fn new(body: B, between: Option<Duration>, explain: F) -> Self {
        Self { body, between, alarm: None, explain }
    }

    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(between) = self.between else { return Poll::Pending };
        self.alarm.get_or_insert_with(|| Box::pin(sleep(between))).as_mut().poll(cx)
    }
}

impl<B, F> Body for TimedBody<B, F>
where
    B: Body<Data = Bytes> + Unpin,
    F: Fn(B::Error) -> Error + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.alarm = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(|error| (self.explain)(error))));
        }
        ready!(self.poll_alarm(cx));
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
