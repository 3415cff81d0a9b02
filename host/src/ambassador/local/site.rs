//! What one socket serves: for each path prefix a grant of its own, and files and texts beside them.

use std::borrow::Cow;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Parts, PathAndQuery};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use thiserror::Error;

use super::body::LocalBody;
use super::files::Files;
use super::filter::Filter;
use super::page::Page;
use super::{Stop, explained, moved, plain};
use crate::ambassador::Ambassador;
use crate::gate::Way;
use crate::policy::ApiRequest;
use crate::telemetry::Decision;

/// The prefixes under which the API's own paths begin: such a prefix narrows what is served and is never taken off.
const OF_THE_API: [&str; 2] = ["/api/", "/apis/"];

/// Why a prefix cannot be served.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum SiteError {
    /// It is no path.
    #[error("the prefix {0:?} is not a path: it begins with a slash")]
    NotAPath(String),
    /// It is served already.
    #[error("the prefix {0} is served twice")]
    Twice(String),
}

/// What one socket serves. Cheap to clone.
#[derive(Clone)]
pub struct Site(Arc<Inner>);

struct Inner {
    filter: Option<Filter>,
    /// The longest prefix first.
    places: Vec<(String, Place)>,
}

enum Place {
    Api(Ambassador),
    Files(Files),
    Text(Page),
}

/// Makes a [`Site`].
#[derive(Default)]
pub struct SiteBuilder {
    filter: Option<Filter>,
    places: Vec<(String, Place)>,
}

impl SiteBuilder {
    /// Lets this filter look at each request for the API first. Without one none is looked at before its grant is asked.
    #[must_use]
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Serves the API below a path prefix, under the ambassador's grant. The prefix is taken off, unless it is itself the
    /// beginning of the API's paths (`/api/`, `/apis/apps/`).
    ///
    /// # Errors
    /// When the prefix is no path, or is taken.
    pub fn api(self, prefix: &str, ambassador: Ambassador) -> Result<Self, SiteError> {
        self.place(prefix, Place::Api(ambassador))
    }

    /// Serves the files of a folder below a path prefix. The filter does not look at requests for them.
    ///
    /// # Errors
    /// As [`SiteBuilder::api`].
    pub fn files(self, prefix: &str, folder: impl Into<PathBuf>) -> Result<Self, SiteError> {
        self.place(prefix, Place::Files(Files::new(folder.into())))
    }

    /// Serves a text that `make` makes for each request, at this path alone. The filter does not look at requests for it.
    /// `make` must not hold its caller up.
    ///
    /// # Errors
    /// As [`SiteBuilder::api`].
    pub fn text(
        self,
        path: &str,
        content_type: HeaderValue,
        make: impl Fn() -> String + Send + Sync + 'static,
    ) -> Result<Self, SiteError> {
        self.place(path, Place::Text(Page::new(content_type, make)))
    }

    fn place(mut self, prefix: &str, place: Place) -> Result<Self, SiteError> {
        if !prefix.starts_with('/') {
            return Err(SiteError::NotAPath(prefix.to_owned()));
        }
        let prefix = if prefix.ends_with('/') { prefix.to_owned() } else { format!("{prefix}/") };
        if self.places.iter().any(|(taken, _)| *taken == prefix) {
            return Err(SiteError::Twice(prefix));
        }
        self.places.push((prefix, place));
        Ok(self)
    }

    /// Makes the site.
    pub fn build(mut self) -> Site {
        self.places.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Site(Arc::new(Inner { filter: self.filter, places: self.places }))
    }
}

impl Site {
    /// Starts to make a site that serves nothing.
    pub fn builder() -> SiteBuilder {
        SiteBuilder::default()
    }

    /// Answers one request, whatever it is. A watch, or a log that is followed, ends when `stop` is called.
    pub async fn answer<B>(&self, request: Request<B>, stop: &Stop) -> Response<LocalBody>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(to) = tidied(&request) {
            return moved(&to);
        }
        match self.find(request.uri().path()) {
            None => plain(StatusCode::NOT_FOUND),
            Some((prefix, Place::Files(files))) => {
                let (whole, method) = (request.uri().path(), request.method());
                match whole.get(prefix.len()..) {
                    Some(path) => files.answer(method, whole, path).await,
                    // The prefix without its last slash.
                    None => moved(prefix),
                }
            }
            Some((prefix, Place::Text(page))) => {
                page.answer(request.method(), request.uri().path().get(prefix.len()..).unwrap_or_default())
            }
            Some((prefix, Place::Api(ambassador))) => self.ask(prefix, ambassador, request, stop).await,
        }
    }

    /// The place with the longest prefix that fits. A prefix fits without its last slash too.
    fn find(&self, path: &str) -> Option<(&str, &Place)> {
        let fits = |prefix: &str| path.starts_with(prefix) || prefix.strip_suffix('/') == Some(path);
        self.0.places.iter().find(|(prefix, _)| fits(prefix)).map(|(prefix, place)| (prefix.as_str(), place))
    }

    async fn ask<B>(
        &self,
        prefix: &str,
        ambassador: &Ambassador,
        mut request: Request<B>,
        stop: &Stop,
    ) -> Response<LocalBody>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        if let Some(uri) = without(prefix, request.uri()) {
            *request.uri_mut() = uri;
        }
        if let Some(why) = self.refuses(&request) {
            let target = request.uri().path_and_query().map_or(Cow::Borrowed("/"), |target| target.as_str().into());
            let (gate, method) = (ambassador.gate(), request.method());
            // Whether the rate was spent by it makes no difference to one that is refused anyway.
            let _ = gate.refuse(Way::Proxy, method, &target, Decision::Denied, why);
            // No colon and space: a client whose upgrade has failed reads the text as YAML, and a mapping as a `Status`
            // without a message.
            return explained(StatusCode::FORBIDDEN, &format!("Forbidden by the proxy, {why}"));
        }
        let endless = is_endless(&request);
        let answer = ambassador.answer(request).await;
        if endless { answer.map(|body| LocalBody::endless(body, stop.clone())) } else { answer.map(LocalBody::answer) }
    }

    fn refuses<B>(&self, request: &Request<B>) -> Option<&'static str> {
        let filter = self.0.filter.as_ref()?;
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let refused = filter.refuses(request.method().as_str(), request.uri().path(), host);
        refused.or_else(|| filter.refuses_page(request.headers()))
    }

    /// As a service of hyper's has it.
    pub(super) async fn serve(
        self,
        request: Request<hyper::body::Incoming>,
        stop: Stop,
    ) -> Result<Response<LocalBody>, Infallible> {
        Ok(self.answer(request, &stop).await)
    }
}

/// The URI with the prefix taken off; `None` where it stays as it is.
fn without(prefix: &str, uri: &Uri) -> Option<Uri> {
    // One that names another server is left as it is, to be refused.
    if prefix == "/" || uri.authority().is_some() || OF_THE_API.iter().any(|start| prefix.starts_with(start)) {
        return None;
    }
    let target = uri.path_and_query()?.as_str();
    let rest = target.strip_prefix(prefix).or_else(|| target.strip_prefix(prefix.trim_end_matches('/')))?;
    let mut parts = Parts::default();
    parts.path_and_query = PathAndQuery::try_from(format!("/{rest}")).ok();
    Uri::from_parts(parts).ok()
}

/// Where to ask instead, for whoever reads below a path with empty or dot segments: what clients make of a base URL with a
/// slash at its end. What would be judged is never rewritten, the client asks anew.
fn tidied<B>(request: &Request<B>) -> Option<String> {
    let uri = request.uri();
    let path = uri.path();
    if !(request.method() == Method::GET || request.method() == Method::HEAD) || uri.authority().is_some() {
        return None;
    }
    let inner = path.strip_suffix('/').unwrap_or(path).strip_prefix('/')?;
    // A browser reads a backslash as a slash: two at the beginning would name another host.
    if path.contains('\\') || inner.split('/').all(|part| !matches!(part, "" | "." | "..")) {
        return None;
    }
    let mut kept = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    let end = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("/{}{end}{query}", kept.join("/")))
}

/// Whether the answer has no end of its own. Most requests have nothing that looks like it, and are not parsed twice.
fn is_endless<B>(request: &Request<B>) -> bool {
    let target = request.uri().path_and_query().map_or("", PathAndQuery::as_str);
    // An escape may stand for any letter of the words.
    let perhaps = target.contains("watch") || target.contains("follow") || target.contains('%');
    perhaps && ApiRequest::parse(request.method(), target).is_ok_and(|request| request.is_endless())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_prefix_is_taken_off_unless_the_api_has_it_itself() {
        for (prefix, uri, left) in [
            ("/", "/api/v1/pods?limit=1", None),
            ("/custom/", "/custom/api/v1/pods?limit=1", Some("/api/v1/pods?limit=1")),
            ("/custom/", "/custom", Some("/")),
            ("/custom/", "/custom?x=1", Some("/?x=1")),
            ("/api/", "/api/v1", None),
            ("/apis/apps/", "/apis/apps/v1", None),
            ("/k8s-api/", "/k8s-api/version", Some("/version")),
            ("/a/", "/a//api", Some("//api")),
            ("/a/", "http://evil.example/a/api", None),
        ] {
            let found = without(prefix, &uri.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), left, "{prefix} {uri}");
        }
    }

    #[test]
    fn readers_are_sent_to_the_tidy_path() {
        for (target, to) in [
            ("/", None),
            ("/api/v1/pods/?limit=1", None),
            ("/api/v1/namespaces/a/services/https:s:/proxy/", None),
            ("//", Some("/")),
            ("//api/v1/pods?limit=1", Some("/api/v1/pods?limit=1")),
            ("//evil.example/", Some("/evil.example/")),
            ("/api//v1/./pods/", Some("/api/v1/pods/")),
            ("/static/../../api", Some("/api")),
            ("/..", Some("/")),
            ("//\\evil.example/", None),
        ] {
            assert_eq!(tidied(&Request::get(target).body(()).unwrap()).as_deref(), to, "{target}");
            assert_eq!(tidied(&Request::post(target).body(()).unwrap()), None, "{target}");
        }
    }

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
            assert_eq!(is_endless(&Request::get(target).body(()).unwrap()), endless, "{target}");
        }
    }

    #[test]
    fn a_prefix_is_served_once() {
        let site = || Site::builder().files("/static/", "/tmp").unwrap();
        assert_eq!(site().files("/static", "/tmp").err(), Some(SiteError::Twice("/static/".into())));
        assert_eq!(site().files("static", "/tmp").err(), Some(SiteError::NotAPath("static".into())));
    }
}
