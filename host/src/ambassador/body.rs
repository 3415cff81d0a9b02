//! The body of an answer: the server's, streamed, or a few lines of our own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;

use crate::cluster::{self, ClusterError};

/// The body of an answer. It holds the request's place among those under way until it ends or is dropped; dropping it
/// ends the request at the server.
#[derive(Debug)]
pub struct AnswerBody(Kind);

#[derive(Debug)]
enum Kind {
    Own(Full<Bytes>),
    Server(Box<cluster::AnswerBody>),
}

impl AnswerBody {
    /// A body of our own.
    pub(super) fn own(text: impl Into<Bytes>) -> Self {
        Self(Kind::Own(Full::new(text.into())))
    }
}

impl From<cluster::AnswerBody> for AnswerBody {
    fn from(body: cluster::AnswerBody) -> Self {
        Self(Kind::Server(Box::new(body)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = ClusterError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClusterError>>> {
        match &mut self.0 {
            Kind::Own(text) => Pin::new(text).poll_frame(cx).map_err(|never| match never {}),
            Kind::Server(body) => Pin::new(body.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Own(text) => text.is_end_stream(),
            Kind::Server(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Own(text) => text.size_hint(),
            Kind::Server(body) => body.size_hint(),
        }
    }
}
