//! The body of what a local client gets.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use thiserror::Error;

use super::Stop;
use super::file_body::FileBody;
use super::heads::Answering;
use crate::ambassador::AnswerBody;
use crate::cluster::ClusterError;

/// Why a body broke off. The client sees its connection end before the body does.
#[derive(Debug, Error)]
pub enum LocalBodyError {
    /// The API server's answer.
    #[error(transparent)]
    Answer(#[from] ClusterError),
    /// A file that is served.
    #[error("cannot read the file")]
    File(#[from] std::io::Error),
}

impl From<Infallible> for LocalBodyError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// The body of what a local client gets.
pub struct LocalBody(Kind);

enum Kind {
    Text(Full<Bytes>),
    Answer(AnswerBody),
    /// A watch or a log that is followed. It ends when the server stops, as watches of an API server do.
    Endless {
        body: AnswerBody,
        stopped: Pin<Box<dyn Future<Output = ()> + Send>>,
    },
    File(FileBody),
}

impl LocalBody {
    pub(super) fn text(text: impl Into<Bytes>) -> Self {
        Self(Kind::Text(Full::new(text.into())))
    }

    pub(super) fn answer(body: AnswerBody) -> Self {
        Self(Kind::Answer(body))
    }

    pub(super) fn endless(body: AnswerBody, stop: Stop) -> Self {
        Self(Kind::Endless { body, stopped: Box::pin(stop.called()) })
    }

    pub(super) fn file(body: FileBody) -> Self {
        Self(Kind::File(body))
    }
}

/// The body of an answer, and the request under way that ends with it.
pub(super) struct Held {
    body: LocalBody,
    _answering: Answering,
}

impl Held {
    pub(super) fn new(body: LocalBody, answering: Answering) -> Self {
        Self { body, _answering: answering }
    }
}

impl Body for Held {
    type Data = Bytes;
    type Error = LocalBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<LocalBodyError> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

impl Body for LocalBody {
    type Data = Bytes;
    type Error = LocalBodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<LocalBodyError> {
        match &mut self.0 {
            Kind::Text(text) => Pin::new(text).poll_frame(cx).map_err(Into::into),
            Kind::Answer(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Endless { body, stopped } => match Pin::new(body).poll_frame(cx) {
                Poll::Pending => {
                    ready!(stopped.as_mut().poll(cx));
                    Poll::Ready(None)
                }
                polled @ Poll::Ready(_) => polled.map_err(Into::into),
            },
            Kind::File(file) => Pin::new(file).poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Text(text) => text.is_end_stream(),
            Kind::Answer(body) | Kind::Endless { body, .. } => body.is_end_stream(),
            Kind::File(file) => file.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Text(text) => text.size_hint(),
            Kind::Answer(body) => body.size_hint(),
            // It may end before what was announced, if anything was.
            Kind::Endless { .. } => SizeHint::default(),
            Kind::File(file) => file.size_hint(),
        }
    }
}
