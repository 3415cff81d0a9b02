//! A small client of the API server: one request per connection, with a deadline and a bound on each answer.
//!
//! The kubelet sends a dozen requests in its life, so a connection pool would be idle. Only its one watch stays open.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest time for an answer, connecting included.
const ANSWER: Duration = Duration::from_secs(15);

/// The largest answer that is read, in bytes. An object has at most some 1.5 MiB, and so has an event of a watch.
pub(super) const MAX_ANSWER: usize = 8 << 20;

/// An error of a request to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server's URL is invalid.
    #[error("{0} is not the URL of an API server")]
    Url(String),
    /// The server's CA cannot be used.
    #[error("the API server's CA certificate cannot be used")]
    Authority(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The client certificate cannot be used.
    #[error("the client certificate cannot be used with its key")]
    Certificate(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection could not be made.
    #[error("cannot connect to the API server at {0}")]
    Connect(String, #[source] std::io::Error),
    /// The exchange broke off.
    #[error("the exchange with the API server broke off")]
    Exchange(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// There was no answer in time.
    #[error("the API server did not answer within {} s", ANSWER.as_secs())]
    Deadline,
    /// The answer is not JSON.
    #[error("the API server's answer is not JSON")]
    Json(#[from] serde_json::Error),
    /// The server refused the request.
    #[error("the API server answered {code}: {message}")]
    Refused {
        /// The HTTP status.
        code: StatusCode,
        /// The server's message.
        message: String,
    },
}

impl ClientError {
    /// Returns whether the server reports that there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == StatusCode::NOT_FOUND)
    }

    /// Returns whether the object is gone or has been replaced: deleted, changed, or made anew.
    pub(super) fn is_about_another(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if matches!(*code, StatusCode::NOT_FOUND | StatusCode::CONFLICT))
    }

    fn exchange(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Exchange(error.into())
    }
}

/// The location of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    tls: bool,
    /// The path in front of every request's path.
    prefix: String,
}

impl Address {
    /// Parses `https://host:port`, or `http://…` for a proxy on the same machine.
    fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        // An IPv6 address has brackets in a URL only.
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Some(Self { host, port: uri.port_u16().unwrap_or(if tls { 443 } else { 80 }), tls, prefix })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A method with its body.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call<'a> {
    Get,
    Post(&'a Value),
    MergePatch(&'a Value),
    /// The body is a `DeleteOptions`.
    Delete(&'a Value),
}

/// The client; cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    address: Address,
    identity: IdentitySource,
}

/// Credentials for the API server, and the CA that its certificate is verified with.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct ClientIdentity {
    /// The CA certificates to trust, as PEM.
    pub ca_pem: String,
    /// The bearer token; empty for none.
    pub token: String,
    /// A client certificate and its key, as PEM.
    pub certificate: Option<(String, String)>,
    /// The name that the server's certificate is verified against, in place of the one in the URL.
    pub server_name: Option<String>,
}

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token and the key must not get into a log.
        out.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}

/// A source of credentials. It is called for each connection, since a cluster may change its CA, and tokens and
/// certificates expire.
pub(super) type IdentitySource = Arc<dyn Fn() -> ClientIdentity + Send + Sync>;

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token must not get into a log.
        out.debug_struct("Client").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Client {
    pub(super) fn new(url: &str, identity: IdentitySource) -> Result<Self, ClientError> {
        let address = Address::parse(url).ok_or_else(|| ClientError::Url(url.into()))?;
        Ok(Self { address, identity })
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Sends a request and reads the whole object of the answer.
    pub(super) async fn object(&self, path: &str, call: Call<'_>) -> Result<Value, ClientError> {
        let whole = async {
            let response = self.exchange(path, call).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(ClientError::Exchange)?;
            answer(status, &body.to_bytes())
        };
        tokio::time::timeout(ANSWER, whole).await.map_err(|_| ClientError::Deadline)?
    }

    /// Returns the object, or nothing if the server has none.
    pub(super) async fn find(&self, path: &str) -> Result<Option<Value>, ClientError> {
        match self.object(path, Call::Get).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends a request for a stream. The deadline is for the answer's head alone.
    pub(super) async fn stream(&self, path: &str) -> Result<Incoming, ClientError> {
        let response = tokio::time::timeout(ANSWER, self.exchange(path, Call::Get)).await;
        let response = response.map_err(|_| ClientError::Deadline)??;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
        let body = tokio::time::timeout(ANSWER, body).await.map_err(|_| ClientError::Deadline)?;
        Err(refusal(status, &body.map_err(ClientError::Exchange)?.to_bytes()))
    }

    async fn exchange(&self, path: &str, call: Call<'_>) -> Result<Response<Incoming>, ClientError> {
        let failed = |error| ClientError::Connect(self.address.authority(), error);
        let tcp = TcpStream::connect((self.address.host.as_str(), self.address.port)).await.map_err(failed)?;
        let identity = (self.identity)();
        let request = self.request(path, call, &identity.token)?;
        if !self.address.tls {
            return exchange_over(tcp, request).await;
        }
        let name = identity.server_name.clone().unwrap_or_else(|| self.address.host.clone());
        let name = ServerName::try_from(name).map_err(ClientError::exchange)?;
        let tls = connector(&identity)?.connect(name, tcp).await.map_err(failed)?;
        exchange_over(tls, request).await
    }

    fn request(&self, path: &str, call: Call<'_>, token: &str) -> Result<Request<Full<Bytes>>, ClientError> {
        let (method, kind, body) = match call {
            Call::Get => (Method::GET, None, Bytes::new()),
            Call::Post(object) => (Method::POST, Some("application/json"), object.to_string().into()),
            Call::Delete(options) => (Method::DELETE, Some("application/json"), options.to_string().into()),
            Call::MergePatch(patch) => (Method::PATCH, Some("application/merge-patch+json"), patch.to_string().into()),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.address.prefix))
            .header(header::HOST, self.address.authority())
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "attache-kubelet");
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        request.body(Full::new(body)).map_err(ClientError::exchange)
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>();
    certificates.map_err(|error| ClientError::Authority(error.into()))
}

fn connector(identity: &ClientIdentity) -> Result<TlsConnector, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&identity.ca_pem)? {
        roots.add(certificate).map_err(|error| ClientError::Authority(error.into()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Authority(error.into()))?
        .with_root_certificates(roots);
    let config = match &identity.certificate {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
            let key = key.map_err(|error| ClientError::Certificate(error.into()))?;
            let config = config.with_client_auth_cert(certificates(certificate)?, key);
            config.map_err(|error| ClientError::Certificate(error.into()))?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn exchange_over<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, ClientError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(ClientError::exchange)?;
    // The connection lives as long as the answer's body is read, and ends by itself after that.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(ClientError::exchange)
}

fn answer(status: StatusCode, body: &[u8]) -> Result<Value, ClientError> {
    if status.is_success() { Ok(serde_json::from_slice(body)?) } else { Err(refusal(status, body)) }
}

fn refusal(code: StatusCode, body: &[u8]) -> ClientError {
    let status: Option<Value> = serde_json::from_slice(body).ok();
    let message = status.as_ref().and_then(|status| status.get("message")).and_then(Value::as_str);
    let message = message.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned);
    ClientError::Refused { code, message }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{Address, ClientError, refusal};

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        let table = [
            ("https://127.0.0.1:6443", Some(("127.0.0.1", 6443))),
            ("https://[::1]:6443/", Some(("::1", 6443))),
            ("https://kubernetes.default.svc", Some(("kubernetes.default.svc", 443))),
            ("http://localhost", Some(("localhost", 80))),
            ("ftp://localhost", None),
            ("localhost:80", None),
            ("", None),
        ];
        for (url, expected) in table {
            let address = Address::parse(url);
            assert_eq!(address.as_ref().map(|address| (address.host.as_str(), address.port)), expected, "{url}");
        }
        assert_eq!(Address::parse("https://[::1]:1").unwrap().authority(), "[::1]:1");
    }

    #[test]
    fn a_refusal_says_what_the_server_said() {
        let said = |body: &str| refusal(http::StatusCode::NOT_FOUND, body.as_bytes()).to_string();
        assert_eq!(
            said(r#"{"message": "pods \"x\" not found"}"#),
            "the API server answered 404 Not Found: pods \"x\" not found"
        );
        assert_eq!(said("404 page not found\n"), "the API server answered 404 Not Found: 404 page not found");
        assert!(refusal(http::StatusCode::NOT_FOUND, b"").is_not_found());
        assert!(matches!(
            super::Client::new("x", std::sync::Arc::new(super::ClientIdentity::default)),
            Err(ClientError::Url(_))
        ));
    }
}
