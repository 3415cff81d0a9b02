//! The body of an answer of a granted destination, counted and cut.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::AbortHandle;

use super::error::EgressError;
use crate::gate::EgressPermit;
use crate::policy::Limit;

/// The connection of one request. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct Connection(pub(super) AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The body of one answer. It holds permit and connection until it ends, fails or is dropped.
#[derive(Debug)]
pub struct EgressBody {
    /// `None` when the body has ended.
    open: Option<Open>,
    left: u64,
    limit: u64,
    destination: String,
}

#[derive(Debug)]
struct Open {
    inner: Incoming,
    permit: EgressPermit,
    _connection: Connection,
}

impl EgressBody {
    pub(super) fn new(inner: Incoming, permit: EgressPermit, connection: Connection, destination: String) -> Self {
        let limit = permit.response_limit();
        Self { open: Some(Open { inner, permit, _connection: connection }), left: limit, limit, destination }
    }

    fn pass(&mut self, frame: &Frame<Bytes>) -> Result<(), EgressError> {
        let length = frame.data_ref().map_or(0, |piece| u64::try_from(piece.len()).unwrap_or(u64::MAX));
        let left = self.left.checked_sub(length);
        if let Some(open) = self.open.as_mut() {
            match left {
                Some(_) => open.permit.record_bytes(length),
                None => open.permit.record_limit(Limit::ResponseBytes),
            }
        }
        self.left = left.ok_or(EgressError::AnswerTooLarge(self.limit))?;
        Ok(())
    }

    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        let Some(open) = self.open.as_mut() else { return Poll::Ready(None) };
        Poll::Ready(match ready!(Pin::new(&mut open.inner).poll_frame(cx)) {
            None => None,
            Some(Ok(frame)) => Some(self.pass(&frame).map(|()| frame)),
            Some(Err(source)) => Some(Err(EgressError::BrokenOff { destination: self.destination.clone(), source })),
        })
    }
}

impl Body for EgressBody {
    type Data = Bytes;
    type Error = EgressError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EgressError>>> {
        let polled = self.poll_open(cx);
        if let (Poll::Ready(Some(Err(error))), Some(open)) = (&polled, self.open.as_mut()) {
            open.permit.record_error(error);
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.open = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.open.as_ref().map_or_else(|| SizeHint::with_exact(0), |open| open.inner.size_hint())
    }
}
