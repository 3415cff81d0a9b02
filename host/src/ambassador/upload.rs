//! The body of a request, on its way to the server.
//!
//! Threat: a body without an end, or one that comes a byte at a time. The body is counted and cut, and little of it is
//! read ahead. A connection to the server is opened only when the body is whole or exceeds what is read ahead.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use thiserror::Error;

use super::BoxError;
use crate::cluster::{Payload, StreamBody};

/// The bytes of a body that are read before anything is sent. Most objects that people write are smaller. A request
/// that is held whole can be sent again after a 429.
pub(super) const READ_AHEAD: usize = 256 << 10;

/// The bytes that are read ahead for clients of the proxy, whose requests are sent again only after a 401. Many of
/// these clients may send slowly at once.
pub(super) const PROXY_READ_AHEAD: usize = 64 << 10;

/// The reason why a body cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum UploadFault {
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    #[error("the body broke off")]
    BrokenOff,
    #[error("the body did not come in time")]
    Late,
}

/// The body of a request: read whole, or its beginning and the rest to come.
pub(super) enum Upload {
    Whole(Bytes),
    Larger { streamed: StreamBody, overrun: Overrun },
}

/// A mark that a streamed body was too large. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Overrun(Arc<AtomicBool>);

impl Overrun {
    pub(super) fn happened(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Upload {
    /// Returns an empty body.
    pub(super) fn nothing() -> Self {
        Self::Whole(Bytes::new())
    }

    /// Reads `read_ahead` bytes, or a smaller body whole, within `wait`. The whole body has at most `limit` bytes.
    pub(super) async fn of<B>(body: B, limit: u64, read_ahead: usize, wait: Duration) -> Result<Self, UploadFault>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        if body.size_hint().lower() > limit {
            return Err(UploadFault::TooLarge(limit));
        }
        let mut body = Box::pin(body);
        let mut ahead = BytesMut::new();
        let reading = async {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return Err(UploadFault::BrokenOff) };
                if let Ok(data) = frame.into_data() {
                    ahead.extend_from_slice(&data);
                }
                if ahead.len() as u64 > limit {
                    return Err(UploadFault::TooLarge(limit));
                }
                if ahead.len() > read_ahead {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let ended = tokio::time::timeout(wait, reading).await.map_err(|_| UploadFault::Late)??;
        let ahead = ahead.freeze();
        if ended {
            return Ok(Self::Whole(ahead));
        }
        let overrun = Overrun::default();
        let rest = Rest { ahead, body, left: limit, limit, overrun: overrun.clone() };
        Ok(Self::Larger { streamed: StreamBody::new(rest), overrun })
    }

    pub(super) fn overrun(&self) -> Overrun {
        match self {
            Self::Whole(_) => Overrun::default(),
            Self::Larger { overrun, .. } => overrun.clone(),
        }
    }

    pub(super) fn into_payload(self, payload: Payload) -> Payload {
        match self {
            Self::Whole(body) => Payload { body, ..payload },
            Self::Larger { streamed, .. } => Payload { stream: Some(streamed), ..payload },
        }
    }
}

/// The bytes that were read ahead, then the rest, cut at the limit. Trailers are left out.
struct Rest<B> {
    ahead: Bytes,
    body: Pin<Box<B>>,
    left: u64,
    limit: u64,
    overrun: Overrun,
}

impl<B> Rest<B> {
    fn pass(&mut self, piece: Bytes) -> Result<Frame<Bytes>, UploadFault> {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        let Some(left) = self.left.checked_sub(length) else {
            self.overrun.0.store(true, Ordering::Release);
            return Err(UploadFault::TooLarge(self.limit));
        };
        self.left = left;
        Ok(Frame::data(piece))
    }
}

impl<B> Body for Rest<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        if !self.ahead.is_empty() {
            let ahead = std::mem::take(&mut self.ahead);
            return Poll::Ready(Some(self.pass(ahead)));
        }
        loop {
            match std::task::ready!(self.body.as_mut().poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(_)) => return Poll::Ready(Some(Err(UploadFault::BrokenOff))),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Some(self.pass(piece)));
                    }
                }
            }
        }
    }

    /// Returns the announced length, so that the server learns it too.
    fn size_hint(&self) -> SizeHint {
        let ahead = u64::try_from(self.ahead.len()).unwrap_or(u64::MAX);
        match self.body.size_hint().exact().and_then(|rest| rest.checked_add(ahead)) {
            Some(exact) => SizeHint::with_exact(exact),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures_util::{StreamExt, stream};
    use http_body_util::StreamBody;

    /// The largest body of a request, in bytes, where the grant sets no limit.
    const MAX_REQUEST_BODY: u64 = 3 << 20;

    const SOON: Duration = Duration::from_secs(10);

    /// Returns a body of so many pieces of 64 KiB.
    fn pieces(count: usize) -> impl Body<Data = Bytes, Error = std::io::Error> + Send + 'static {
        let piece = Bytes::from(vec![b'x'; 64 << 10]);
        StreamBody::new(stream::iter(0..count).map(move |_| Ok(Frame::data(piece.clone()))))
    }

    #[tokio::test]
    async fn a_small_body_is_held_whole() {
        let Upload::Whole(body) = Upload::of(pieces(2), MAX_REQUEST_BODY, READ_AHEAD, SOON).await.unwrap() else {
            panic!("streamed")
        };
        assert_eq!(body.len(), 128 << 10);
    }

    #[tokio::test]
    async fn a_larger_one_comes_through_in_full() {
        let upload = Upload::of(pieces(40), MAX_REQUEST_BODY, READ_AHEAD, SOON).await.unwrap();
        let overrun = upload.overrun();
        let payload = upload.into_payload(Payload::none());
        assert!(payload.stream.is_some() && !overrun.happened());
    }

    #[tokio::test]
    async fn one_without_an_end_is_cut() {
        let (body, overrun) = (Box::pin(pieces(usize::MAX)), Overrun::default());
        let limit = MAX_REQUEST_BODY;
        let rest = Rest { ahead: Bytes::new(), body, left: limit, limit, overrun: overrun.clone() };
        assert_eq!(rest.collect().await.unwrap_err(), UploadFault::TooLarge(MAX_REQUEST_BODY));
        assert!(overrun.happened());
    }

    #[tokio::test]
    async fn one_that_does_not_come_is_given_up() {
        let never = StreamBody::new(stream::pending::<Result<Frame<Bytes>, std::io::Error>>());
        assert!(matches!(
            Upload::of(never, MAX_REQUEST_BODY, READ_AHEAD, Duration::from_millis(10)).await,
            Err(UploadFault::Late)
        ));
    }
}
