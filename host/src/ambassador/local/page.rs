//! A text that is made anew each time, beside the API: what a scraper reads.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};

use super::body::LocalBody;
use super::plain;

/// One text.
pub(super) struct Page {
    content_type: HeaderValue,
    make: Box<dyn Fn() -> String + Send + Sync>,
}

impl Page {
    pub(super) fn new(content_type: HeaderValue, make: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { content_type, make: Box::new(make) }
    }

    /// Answers a request for what is at `path` below the page's own.
    pub(super) fn answer(&self, method: &Method, path: &str) -> Response<LocalBody> {
        if !path.is_empty() {
            return plain(StatusCode::NOT_FOUND);
        }
        let text = match *method {
            Method::GET => (self.make)(),
            Method::HEAD => String::new(),
            _ => return plain(StatusCode::METHOD_NOT_ALLOWED),
        };
        let mut response = Response::new(LocalBody::text(text));
        response.headers_mut().insert(CONTENT_TYPE, self.content_type.clone());
        response
    }
}
