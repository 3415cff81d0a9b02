//! Handlers: services, closures, and the bodies of their answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

/// A service that calls an async closure. Made by [`from_fn`].
#[derive(Clone, Copy, Debug)]
pub struct FromFn<F>(F);

/// Makes a service of an async closure.
///
/// ```
/// use attache::serving::from_fn;
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Empty;
/// use hyper::body::Incoming;
/// use std::convert::Infallible;
///
/// let service = from_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
/// ```
pub fn from_fn<F>(call: F) -> FromFn<F> {
    FromFn(call)
}

impl<F, R, B, I, E> Service<Request<I>> for FromFn<F>
where
    F: FnMut(Request<I>) -> R,
    R: Future<Output = Result<Response<B>, E>>,
{
    type Response = Response<B>;
    type Error = E;
    type Future = R;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<I>) -> R {
        (self.0)(request)
    }
}

/// Calls a service once it is ready.
pub(super) async fn call<S: Service<R>, R>(mut service: S, request: R) -> Result<S::Response, S::Error> {
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}

/// The body of an answer, with a value that is dropped together with the body. `None` is an empty body.
pub(super) struct Held<B, T> {
    body: Option<Pin<Box<B>>>,
    _held: T,
}

impl<B, T> Held<B, T> {
    pub(super) fn new(body: Option<B>, held: T) -> Self {
        Self { body: body.map(Box::pin), _held: held }
    }
}

impl<B: Body, T: Unpin> Body for Held<B, T>
where
    B::Data: Buf,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.body {
            Some(body) => body.as_mut().poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
