//! The ambassador for sibling containers: a local socket that speaks plain HTTP/1.1, as `kubectl proxy` does, under
//! grants.
//!
//! A [`Listener`](crate::serving::Listener) accepts connections. A [`Site`] is the handler behind it, with an
//! [`Ambassador`](super::Ambassador) for each path prefix. The channel identifies the caller. It is a socket, which
//! file permissions and mounts keep to one container, or a prefix, which separates callers that trust each other. Each
//! has the grant, the limits and the records of its own gate.
//!
//! ```no_run
//! use attache::ambassador::Ambassador;
//! use attache::ambassador::local::{Filter, FilterSettings, Site};
//! use attache::serving::{Listener, Server};
//! # async fn f(ambassador: Ambassador) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! let site = Site::builder().filter(Filter::new(&FilterSettings::default())?).api("/", ambassador)?.build();
//! let listener = Listener::tcp("127.0.0.1", 8001, Duration::ZERO).await?;
//! let server = Server::new().serve(listener, site);
//! server.run(async { drop(tokio::signal::ctrl_c().await) }, Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing is buffered on the way: a piece of an answer is written as soon as it has come. A client that does not read
//! stalls its own answer alone.

mod body;
mod file_body;
mod files;
mod filter;
mod paths;
mod site;
mod tunnel;

pub use body::{LocalBody, LocalBodyError};
pub use filter::{ACCEPT_HOSTS, ACCEPT_PATHS, Filter, FilterError, FilterSettings, REJECT_METHODS, REJECT_PATHS};
pub use site::{SESSIONS, Site, SiteBuilder, SiteError};

use http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderValue, Response, StatusCode};

/// Returns an answer that is only its status, as Go's `http.Error` writes it.
fn plain(status: StatusCode) -> Response<LocalBody> {
    explained(status, status.canonical_reason().unwrap_or_default())
}

/// Returns an answer that is its status and a line of text.
fn explained(status: StatusCode, why: &str) -> Response<LocalBody> {
    let mut response = Response::new(body::text(format!("{why}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// Returns a redirect to another path of the site, as Go's `ServeMux` and `FileServer` do.
fn moved(to: &str) -> Response<LocalBody> {
    let Ok(location) = HeaderValue::try_from(to) else { return plain(StatusCode::NOT_FOUND) };
    let mut response = plain(StatusCode::MOVED_PERMANENTLY);
    response.headers_mut().insert(LOCATION, location);
    response
}
