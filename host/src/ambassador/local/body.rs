//! The bodies of answers to local clients.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use thiserror::Error;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::ambassador::AnswerBody;
use crate::cluster::ClusterError;

/// The failure of a body. The client sees its connection end before the body does.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LocalBodyError {
    /// The API server's answer failed.
    #[error(transparent)]
    Answer(#[from] ClusterError),
    /// A file could not be read.
    #[error("cannot read the file")]
    File(#[from] std::io::Error),
}

/// The body of an answer to a local client.
pub type LocalBody = UnsyncBoxBody<Bytes, LocalBodyError>;

/// Returns a body of a few lines.
pub(super) fn text(text: impl Into<Bytes>) -> LocalBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

/// A watch or a followed log. It ends when the server stops, as watches of an API server do.
pub(super) struct Stoppable {
    body: AnswerBody,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Stoppable {
    pub(super) fn new(body: AnswerBody, stopping: CancellationToken) -> Self {
        Self { body, stopped: Box::pin(stopping.cancelled_owned()) }
    }
}

impl Body for Stoppable {
    type Data = Bytes;
    type Error = ClusterError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClusterError>>> {
        if let polled @ Poll::Ready(_) = Pin::new(&mut self.body).poll_frame(cx) {
            return polled;
        }
        ready!(self.stopped.as_mut().poll(cx));
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    /// Unknown, because the body may end before its announced length.
    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
