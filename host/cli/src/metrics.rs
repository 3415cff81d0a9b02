//! `--metrics ADDRESS`: counters for a scraper such as Prometheus.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use attache::cluster::ApiClient;
use attache::serving::{Listener, Server, from_fn};
use attache::telemetry::{Audit, Metrics};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::stderr::say;

/// The content type of the text that [`encode`] writes: OpenMetrics 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The path of the metrics, by Prometheus's convention.
const PATH: &str = "/metrics";

/// The address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct At {
    host: String,
    port: u16,
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parts.ok_or("an address and a port are written as 127.0.0.1:9464 or [::]:9464")?;
        // As in Go, an empty host means all addresses of this machine.
        let host = if host.is_empty() { "::" } else { host };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl At {
    /// Listens on this address.
    pub(crate) async fn listen(&self) -> std::io::Result<Listener> {
        Listener::tcp(&self.host, self.port, Duration::ZERO).await
    }
}

/// The counters and the listener that serves them. Without an address nothing is counted.
pub(crate) struct Scraped(Option<(Listener, Registry)>);

impl Scraped {
    /// Listens on the address. An unusable address is reported before a guest is compiled.
    pub(crate) async fn listen(at: Option<&At>) -> anyhow::Result<Self> {
        let Some(At { host, port }) = at else { return Ok(Self(None)) };
        let listening = Listener::tcp(host, *port, Duration::ZERO).await;
        let listener = listening.with_context(|| format!("cannot listen on --metrics {host}, port {port}"))?;
        Ok(Self(Some((listener, Registry::default()))))
    }

    /// Counts all events that go to `audit`.
    pub(crate) fn over(&mut self, audit: Arc<dyn Audit>) -> Arc<dyn Audit> {
        match &mut self.0 {
            Some((_, registry)) => Arc::new(Metrics::new(audit, registry)),
            None => audit,
        }
    }

    /// Adds counters of this client's watches.
    pub(crate) fn watches(&mut self, cluster: &ApiClient) {
        if let Some((_, registry)) = &mut self.0 {
            cluster.register_metrics(registry);
        }
    }

    /// Answers scrapers from now on, in a task that ends with the process.
    pub(crate) fn serve(self) -> anyhow::Result<()> {
        let Some((listener, registry)) = self.0 else { return Ok(()) };
        say!("Metrics at http://{listener}{PATH}");
        let registry = Arc::new(registry);
        let handler = from_fn(move |request: Request<Incoming>| {
            let response = answer(&registry, request.method(), request.uri().path());
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let server = Server::new().serve(listener, handler);
        tokio::spawn(server.run(std::future::pending(), Duration::ZERO));
        Ok(())
    }
}

/// Returns the counters for a request to [`PATH`], and an error for any other.
fn answer(registry: &Registry, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let status = match *method {
        _ if path.strip_suffix('/').unwrap_or(path) != PATH => StatusCode::NOT_FOUND,
        Method::GET | Method::HEAD => StatusCode::OK,
        _ => StatusCode::METHOD_NOT_ALLOWED,
    };
    let mut text = String::new();
    if status == StatusCode::OK && method == Method::GET {
        // Writing into a string does not fail.
        let _ = encode(&mut text, registry);
    } else if status != StatusCode::OK {
        text = format!("{}\n", status.canonical_reason().unwrap_or_default());
    }
    let content_type = if status == StatusCode::OK { OPEN_METRICS } else { "text/plain; charset=utf-8" };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::At;

    #[test]
    fn an_address_has_a_port() {
        let at = |text: &str| text.parse::<At>().ok().map(|At { host, port }| (host, port));
        assert_eq!(at("127.0.0.1:9464"), Some(("127.0.0.1".into(), 9464)));
        assert_eq!(at("[::1]:0"), Some(("[::1]".into(), 0)));
        assert_eq!(at(":9464"), Some(("::".into(), 9464)));
        for text in ["9464", "127.0.0.1", "localhost:", "localhost:99999", ""] {
            assert_eq!(at(text), None, "{text}");
        }
    }
}
