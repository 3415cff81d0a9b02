//! The handler of one socket: a grant for each path prefix, and files beside them.

use std::borrow::Cow;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts as Head;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::body::{LocalBody, Stoppable};
use super::files::Files;
use super::filter::{Filter, REJECTED_PATH};
use super::paths::{tidied, without};
use super::{explained, moved, plain, tunnel};
use crate::ambassador::upgrade::Slot;
use crate::ambassador::{self, Ambassador};
use crate::gate::Channel;
use crate::policy::{ApiRequest, InvalidRequest, PathPrefix};
use crate::serving::{Connection, HadFragment};
use crate::telemetry::Decision;

/// The default number of connections together that have left HTTP for another protocol. Each takes some 100 KiB: the
/// buffers of both directions, and those of TLS.
pub const SESSIONS: usize = 128;

/// The error for a prefix that cannot be served.
#[derive(Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SiteError {
    /// The prefix is no path.
    #[error("the prefix {0:?} is not a path: it begins with a slash")]
    NotAPath(String),
    /// The prefix is a path that does not separate requests.
    #[error("the prefix {prefix:?} tells no requests apart: {why}")]
    Unclear {
        /// The prefix.
        prefix: String,
        /// The fault in the prefix.
        why: InvalidRequest,
    },
    /// The prefix is served already.
    #[error("the prefix {0} is served twice")]
    Twice(String),
}

/// The handler of one socket. Cheap to clone.
#[derive(Clone)]
pub struct Site(Arc<Inner>);

struct Inner {
    filter: Option<Filter>,
    /// The room for connections that leave HTTP.
    sessions: Arc<Semaphore>,
    /// The longest prefix first.
    backends: Vec<(PathPrefix, Backend)>,
}

enum Backend {
    Api(Ambassador),
    Files(Files),
}

/// Makes a [`Site`].
pub struct SiteBuilder {
    filter: Option<Filter>,
    sessions: usize,
    backends: Vec<(PathPrefix, Backend)>,
}

impl Default for SiteBuilder {
    fn default() -> Self {
        Self { filter: None, sessions: SESSIONS, backends: Vec::new() }
    }
}

impl SiteBuilder {
    /// Checks each request for the API with this filter first. Without a filter, requests go to their grant unchecked.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Sets the maximum number of connections that have left HTTP for another protocol ([`SESSIONS`] by default).
    #[must_use]
    pub fn sessions(self, sessions: usize) -> Self {
        Self { sessions, ..self }
    }

    /// Serves the API below a path prefix, under the ambassador's grant.
    ///
    /// The prefix is removed from each path, unless it is the beginning of the API's own paths (`/api/`,
    /// `/apis/apps/`). Such a prefix holds for each request whose [subject](ApiRequest::subject) lies below it, in any
    /// spelling.
    ///
    /// # Errors
    /// Fails if the prefix is no path, has several readings, or is taken.
    pub fn api(self, prefix: &str, ambassador: Ambassador) -> Result<Self, SiteError> {
        self.backend(prefix, Backend::Api(ambassador))
    }

    /// Serves the files of a folder below a path prefix. The filter does not check requests for them.
    ///
    /// # Errors
    /// Fails as [`SiteBuilder::api`] does.
    pub fn files(self, prefix: &str, folder: impl Into<PathBuf>) -> Result<Self, SiteError> {
        self.backend(prefix, Backend::Files(Files::new(folder.into())))
    }

    fn backend(mut self, text: &str, backend: Backend) -> Result<Self, SiteError> {
        if !text.starts_with('/') {
            return Err(SiteError::NotAPath(text.to_owned()));
        }
        let unclear = |why| SiteError::Unclear { prefix: text.to_owned(), why };
        let prefix = PathPrefix::parse(text).map_err(unclear)?;
        if self.backends.iter().any(|(taken, _)| *taken == prefix) {
            return Err(SiteError::Twice(prefix.to_string()));
        }
        self.backends.push((prefix, backend));
        Ok(self)
    }

    /// Makes the site.
    pub fn build(mut self) -> Site {
        self.backends.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        let sessions = Arc::new(Semaphore::new(self.sessions));
        Site(Arc::new(Inner { filter: self.filter, sessions, backends: self.backends }))
    }
}

impl Site {
    /// Returns a builder of a site that serves nothing.
    pub fn builder() -> SiteBuilder {
        SiteBuilder::default()
    }

    /// Answers one request. A watch or a followed log ends when `stopping` is cancelled.
    pub async fn answer<B>(&self, request: Request<B>, stopping: &CancellationToken) -> Response<LocalBody>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Some((prefix, backend)) = self.find(request.uri().path()) else {
            return tidied(&request).map_or_else(|| plain(StatusCode::NOT_FOUND), |to| moved(&to));
        };
        let Backend::Api(ambassador) = backend else {
            return match tidied(&request) {
                Some(to) => moved(&to),
                None => beside(prefix, backend, &request.into_parts().0).await,
            };
        };
        let untidy = tidied(&request);
        let request = without(prefix, request);
        let read = read(&request);
        match untidy.filter(|_| read.is_err()) {
            Some(to) => moved(&to),
            None => match self.narrower(ambassador, prefix, &request, &read) {
                Some(ambassador) => self.ask(ambassador, request, read, stopping).await,
                None => plain(StatusCode::NOT_FOUND),
            },
        }
    }

    /// Returns the location with the longest prefix that fits. A prefix fits without its last slash too.
    fn find(&self, path: &str) -> Option<(&PathPrefix, &Backend)> {
        let found = self.0.backends.iter().find(|(prefix, _)| prefix.rest(path).is_some());
        let root = || self.0.backends.iter().find(|(prefix, _)| prefix.is_of_api());
        // A request may lie below a prefix of the API with which its path does not begin.
        found.or_else(root).map(|(prefix, backend)| (prefix, backend))
    }

    /// Returns the ambassador that judges a request for the API: that of the longest prefix inside the API's own paths
    /// above the request's subject, else that of the location where it came in. An unreadable request is refused, so
    /// its spelling is enough.
    fn narrower<'a, B>(
        &'a self,
        found: &'a Ambassador,
        prefix: &PathPrefix,
        request: &Request<B>,
        read: &Result<ApiRequest, InvalidRequest>,
    ) -> Option<&'a Ambassador> {
        if !prefix.is_root() && !prefix.is_of_api() {
            return Some(found);
        }
        let subject = read.as_ref().map_or_else(|_| request.uri().path().into(), ApiRequest::subject);
        let backends = self.0.backends.iter().filter(|(prefix, _)| prefix.is_of_api() || prefix.is_root());
        let below = backends.filter(|(prefix, _)| prefix.rest(&subject).is_some());
        let mut apis = below.filter_map(|(_, backend)| match backend {
            Backend::Api(ambassador) => Some(ambassador),
            Backend::Files(_) => None,
        });
        apis.next()
    }

    async fn ask<B>(
        &self,
        ambassador: &Ambassador,
        request: Request<B>,
        read: Result<ApiRequest, InvalidRequest>,
        stopping: &CancellationToken,
    ) -> Response<LocalBody>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(why) = self.refuses(&request, &read) {
            let target = request.uri().path_and_query().map_or(Cow::Borrowed("/"), |target| target.as_str().into());
            let (gate, method) = (ambassador.gate(), request.method());
            // The request is refused anyway, so it does not matter whether the rate allows the record.
            let _ = gate.refuse(Channel::Proxy, method, &target, Decision::Denied, why);
            // No colon and space: a client whose upgrade has failed reads the text as YAML, and a mapping as a `Status`
            // without a message.
            return explained(StatusCode::FORBIDDEN, &format!("Forbidden by the proxy, {why}"));
        }
        let endless = read.as_ref().is_ok_and(ApiRequest::is_stream);
        let answer = ambassador.answer_read(request, read).await;
        answer.map(|body| {
            let stoppable = |body| Stoppable::new(body, stopping.clone()).map_err(Into::into).boxed_unsync();
            if endless { stoppable(body) } else { body.map_err(Into::into).boxed_unsync() }
        })
    }

    /// Returns the filter's reason against a request. The filter checks the path that will be sent, and rejects every
    /// request below a rejected path, in any spelling.
    fn refuses<B>(&self, request: &Request<B>, read: &Result<ApiRequest, InvalidRequest>) -> Option<&'static str> {
        let filter = self.0.filter.as_ref()?;
        let mut hosts = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or("?"));
        let host = match (hosts.next(), hosts.next()) {
            (host, None) => host.unwrap_or_default(),
            // Two hosts count as none, because other readers take the other one.
            (_, Some(_)) => "?",
        };
        let path = read.as_ref().map_or_else(|_| request.uri().path(), ApiRequest::path);
        let subject = read.as_ref().is_ok_and(|read| filter.rejects(&read.subject()));
        let refused = filter.refuses(request.method().as_str(), path, host);
        refused.or(subject.then_some(REJECTED_PATH)).or_else(|| filter.refuses_page(request.headers()))
    }
}

impl<B> Service<Request<B>> for Site
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<LocalBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<LocalBody>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let site = self.clone();
        Box::pin(async move {
            let Some(connection) = request.extensions().get::<Connection>().cloned() else {
                return Ok(site.answer(request, &CancellationToken::new()).await);
            };
            let slot = Slot::new(Arc::clone(&site.0.sessions));
            request.extensions_mut().insert(slot.clone());
            let response = site.answer(request, connection.stopping()).await;
            if let Some(switched) = slot.take() {
                connection.after_http(tunnel::run(switched, connection.stopping().clone().cancelled_owned()));
            }
            Ok(response)
        })
    }
}

/// Answers from the files beside the API.
async fn beside(prefix: &PathPrefix, backend: &Backend, head: &Head) -> Response<LocalBody> {
    if head.extensions.get::<HadFragment>().is_some() {
        return plain(StatusCode::BAD_REQUEST);
    }
    let (whole, method) = (head.uri.path(), &head.method);
    let path = prefix.rest(whole).unwrap_or_default();
    match (backend, path.strip_prefix('/')) {
        (Backend::Files(files), Some(path)) => files.answer(method, whole, path).await,
        // The path is the prefix without its last slash.
        (Backend::Files(_), None) => moved(&prefix.to_string()),
        (Backend::Api(_), _) => plain(StatusCode::NOT_FOUND),
    }
}

/// Reads the target of a request. A target whose fragment was cut off is not the one that was sent.
fn read<B>(request: &Request<B>) -> Result<ApiRequest, InvalidRequest> {
    match request.extensions().get::<HadFragment>() {
        Some(HadFragment) => Err(InvalidRequest::Fragment),
        None => ambassador::read(request.method(), request.uri()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_goes_on_for_ever_is_seen() {
        for (target, endless) in [
            ("/api/v1/pods?watch=1", true),
            ("/api/v1/pods?w%61tch=true", true),
            ("/api/v1/watch/pods", true),
            ("/api/v1/pods?watch=0", false),
            ("/api/v1/namespaces/a/pods/p/log?follow=true", true),
            ("/api/v1/namespaces/a/pods/p/log", false),
            ("/api/v1/namespaces/a/configmaps/watch", false),
        ] {
            let read = read(&Request::get(target).body(()).unwrap());
            assert_eq!(read.unwrap().is_stream(), endless, "{target}");
        }
    }

    #[test]
    fn a_prefix_is_served_once() {
        let site = || Site::builder().files("/static/", "/tmp").unwrap();
        assert_eq!(site().files("/static", "/tmp").err(), Some(SiteError::Twice("/static/".into())));
        assert_eq!(site().files("static", "/tmp").err(), Some(SiteError::NotAPath("static".into())));
    }
}
