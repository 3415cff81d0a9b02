//! The admin endpoint of a host that keeps extensions: health, metrics, statuses, and a page for operators.
//!
//! Threat: a page that shows untrusted text as markup, or a listener that discloses secrets. All text is escaped, and
//! no response has a token, a value of `env` or a body. Bind the listener to loopback or to a Unix socket: each client
//! that reaches it can read the paths and destinations of denied requests.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde::Serialize;

use super::collector::Collector;
use super::decisions::{Decided, Decisions};
use super::page;
use super::status::{State, Status};
use super::supervisor::Supervisor;

/// The content type of the text of [`encode`]: OpenMetrics 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The content security policy of the page. The page loads nothing, and no other page may embed it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";

/// The admin endpoint: `/livez`, `/readyz`, `/metrics`, `/extensions`, and a page for operators at `/`.
///
/// ```no_run
/// use attache::serving::{Listener, Server};
/// use attache::service::{Admin, Decisions, Supervisor};
/// use prometheus_client::registry::Registry;
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// # async fn example(supervisor: Supervisor, decisions: Arc<Decisions>) -> std::io::Result<()> {
/// let admin = Admin::new(supervisor, decisions, Registry::default());
/// let listener = Listener::tcp("127.0.0.1", 9465, Duration::ZERO).await?;
/// Server::new().serve(listener, admin.handler()).run(std::future::pending(), Duration::ZERO).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    supervisor: Supervisor,
    decisions: Arc<Decisions>,
    registry: Registry,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("supervisor", &self.inner.supervisor).finish_non_exhaustive()
    }
}

/// One extension in the response of `/extensions`.
#[derive(Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    pub(super) status: Status,
    #[serde(flatten)]
    pub(super) decided: Decided,
}

impl Admin {
    /// Makes the admin endpoint of a supervisor. The registry may have metrics already; the metrics of extensions and
    /// of the process are added.
    pub fn new(supervisor: Supervisor, decisions: Arc<Decisions>, mut registry: Registry) -> Self {
        registry.register_collector(Box::new(Collector::new(supervisor.clone())));
        Self { inner: Arc::new(Inner { supervisor, decisions, registry }) }
    }

    /// Returns the handler for a [`Server`](crate::serving::Server).
    pub fn handler(
        &self,
    ) -> impl tower_service::Service<
        Request<Incoming>,
        Response = Response<Full<Bytes>>,
        Error = Infallible,
        Future = impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + Send + use<>,
    > + Clone
    + Send
    + Sync
    + use<> {
        let admin = self.clone();
        crate::serving::from_fn(move |request: Request<Incoming>| {
            let admin = admin.clone();
            async move { Ok::<_, Infallible>(admin.answer(request.method(), request.uri().path(), request.uri().query())) }
        })
    }

    /// Returns the response to one request.
    fn answer(&self, method: &Method, path: &str, query: Option<&str>) -> Response<Full<Bytes>> {
        let known = matches!(path, "/" | "/livez" | "/readyz" | "/metrics" | "/extensions");
        if !known {
            return text(StatusCode::NOT_FOUND, "there is /livez, /readyz, /metrics, /extensions and /\n".to_owned());
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered\n".to_owned());
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/livez" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => {
                self.ready(query.is_some_and(|query| query.split('&').any(|part| part.starts_with("verbose"))))
            }
            "/metrics" => self.metrics(),
            "/extensions" => self.extensions(),
            _ => self.page(),
        }
    }

    /// Returns the response of `/readyz`. A host is ready when no extension is in the state `Loading` and the host is
    /// not stopping. A failed extension does not make the host unready.
    fn ready(&self, verbose: bool) -> Response<Full<Bytes>> {
        let statuses = self.inner.supervisor.statuses();
        let loading = statuses.iter().any(|status| status.state == State::Loading);
        let ready = !loading && !self.inner.supervisor.is_stopping();
        let mut words = String::new();
        if verbose {
            for Status { name, state, reason, .. } in &statuses {
                let sign = if matches!(state, State::Failed | State::Loading) { '-' } else { '+' };
                // Writing into a string does not fail.
                let _ = writeln!(words, "[{sign}]{name} {state}: {reason}");
            }
        }
        words.push_str(if ready { "ok\n" } else { "not ready\n" });
        text(if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, words)
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        let mut words = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut words, &self.inner.registry);
        typed(StatusCode::OK, words, OPEN_METRICS)
    }

    fn shown(&self) -> Vec<Shown> {
        let shown = |status: Status| Shown { decided: self.inner.decisions.of(&status.name), status };
        self.inner.supervisor.statuses().into_iter().map(shown).collect()
    }

    fn extensions(&self) -> Response<Full<Bytes>> {
        let words = serde_json::to_string(&self.shown()).unwrap_or_default();
        typed(StatusCode::OK, words, "application/json")
    }

    fn page(&self) -> Response<Full<Bytes>> {
        let mut response = typed(StatusCode::OK, page::render(&self.shown()), "text/html; charset=utf-8");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        response
    }
}

fn text(status: StatusCode, words: String) -> Response<Full<Bytes>> {
    typed(status, words, "text/plain; charset=utf-8")
}

fn typed(status: StatusCode, words: String, content_type: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(words)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
