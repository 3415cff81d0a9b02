//! The body of an answer: counted, cut at the permit's limit, ended by the deadline.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::cluster::error::ClusterError;
use crate::cluster::unavailable::{Stage, Unavailable};
use crate::gate::Permit;
use crate::policy::Limit;

/// The most bytes that are allocated ahead for a body that announces its length. A server may announce bytes that it
/// never sends.
const MAX_AHEAD: u64 = 256 * 1024;

/// The body of one answer. It holds the permit: when the body ends, fails or is dropped, the request is recorded and
/// its slot freed. Dropping the body also ends the request at the server.
pub struct AnswerBody {
    /// `None` when the body has ended.
    inner: Option<Incoming>,
    /// `None` when the body has ended.
    permit: Option<Permit>,
    left: u64,
    limit: u64,
    clock: Clock,
    address: String,
}

/// The deadline of a body.
struct Clock {
    deadline: Instant,
    after: Duration,
    /// Made at the first wait for the body: most bodies are there at once.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl AnswerBody {
    /// Makes a body of `inner` with the permit's limit and `deadline`, which is `after` the start of the request.
    pub(super) fn new(inner: Incoming, permit: Permit, deadline: Instant, after: Duration, address: String) -> Self {
        let limit = permit.response_limit();
        let clock = Clock { deadline, after, alarm: None };
        Self { inner: Some(inner), permit: Some(permit), left: limit, limit, clock, address }
    }

    /// Reads the body to its end.
    ///
    /// # Errors
    /// When the body is larger than the permit allows, breaks off, or is not whole by the deadline.
    pub async fn collected(mut self) -> Result<Bytes, ClusterError> {
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        // Most objects come in one piece, which is returned without a copy.
        let Some(second) = self.next().await? else { return Ok(first) };
        let announced = self.size_hint().lower().min(MAX_AHEAD);
        let mut whole = BytesMut::from(first);
        whole.reserve(second.len().saturating_add(usize::try_from(announced).unwrap_or_default()));
        whole.extend_from_slice(&second);
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// Lowers the limit to `most` bytes, if the permit allows more.
    pub(in crate::cluster) fn within(mut self, most: u64) -> Self {
        (self.left, self.limit) = (self.left.min(most), self.limit.min(most));
        self
    }

    /// Returns the next piece, or `None` at the end.
    ///
    /// # Errors
    /// As [`AnswerBody::collected`].
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClusterError> {
        while let Some(frame) = self.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Counts a piece, or cuts the body off before it.
    fn pass(&mut self, piece: &Bytes) -> Result<(), ClusterError> {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let left = self.left.checked_sub(length);
        if let Some(permit) = self.permit.as_mut() {
            match left {
                Some(_) => permit.record_bytes(length),
                None => permit.record_limit(Limit::ResponseBytes),
            }
        }
        self.left = left.ok_or(ClusterError::TooLarge(self.limit))?;
        Ok(())
    }

    fn end(&mut self) {
        self.inner = None;
        self.permit = None;
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClusterError>>> {
        let Some(inner) = self.inner.as_mut() else { return Poll::Ready(None) };
        match Pin::new(inner).poll_frame(cx) {
            // A body that always has a piece ready must not pass its deadline either.
            Poll::Ready(Some(Ok(_))) if self.clock.is_past() => Poll::Ready(Some(Err(self.late()))),
            Poll::Ready(Some(Ok(frame))) => {
                let passed = frame.data_ref().map_or(Ok(()), |piece| self.pass(piece));
                Poll::Ready(Some(passed.map(|()| frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(Unavailable::from_chain(&error, Stage::Connected, &self.address, "").into())))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                ready!(self.clock.poll(cx));
                Poll::Ready(Some(Err(self.late())))
            }
        }
    }

    fn late(&self) -> ClusterError {
        let (address, after) = (self.address.clone(), self.clock.after);
        Unavailable::Deadline { address, step: "finish its answer", after }.into()
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ClusterError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClusterError>>> {
        let polled = self.poll_inner(cx);
        if let (Poll::Ready(Some(Err(error))), Some(permit)) = (&polled, self.permit.as_mut()) {
            permit.record_error(error);
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.end();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl std::fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerBody").field("left", &self.left).field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Clock {
    fn is_past(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        self.alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(cx)
    }
}
