//! A plain HTTPS client that shows the API server's answers as they are on the wire.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use attache_devcluster::DevCluster;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A client of one cluster.
pub(crate) struct Client {
    /// `HOST:PORT`.
    address: String,
    /// The name that the server's certificate is to have.
    name: String,
    ca: String,
    /// The client certificate and its key, both PEM, for requests without a token. A server checks the certificate
    /// first, and ignores the token of a client with a certificate.
    pub(crate) certificate: Option<(String, String)>,
}

/// An answer, whole.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// Returns the body as JSON, or null if the body is not JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Client {
    pub(crate) fn new(cluster: &DevCluster) -> Self {
        Self::at(&cluster.address().to_string(), Some("kubernetes.default.svc".into()), cluster.ca_pem())
    }

    /// Returns a client of the server at `HOST[:PORT]`. The server's certificate has to have `name`, or else the host's
    /// name.
    pub(crate) fn at(address: &str, name: Option<String>, ca: String) -> Self {
        let (host, port) =
            address.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).unwrap_or((address, "443"));
        let name = name.unwrap_or_else(|| host.trim_start_matches('[').trim_end_matches(']').to_owned());
        Self { address: format!("{host}:{port}"), name, ca, certificate: None }
    }

    fn tls(&self, http2: bool, certificate: Option<&(String, String)>) -> Result<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca.as_bytes()) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder.with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
                PrivateKeyDer::from_pem_slice(key.as_bytes())?,
            )?,
        };
        config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        Ok(config)
    }

    /// Sends a request over a connection of its own. Returns the answer before its body.
    pub(crate) async fn open(&self, mut request: Request<Bytes>, http2: bool) -> Result<http::Response<Incoming>> {
        let stream = TcpStream::connect(&self.address).await?;
        let certificate =
            self.certificate.as_ref().filter(|_| !request.headers().contains_key(http::header::AUTHORIZATION));
        let connector = TlsConnector::from(Arc::new(self.tls(http2, certificate)?));
        let name = ServerName::try_from(self.name.clone())?;
        let stream = TokioIo::new(connector.connect(name, stream).await?);
        let authority = &self.address;
        if http2 {
            let target = request.uri().path_and_query().context("no path")?.to_string();
            *request.uri_mut() = format!("https://{authority}{target}").parse()?;
            let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
            tokio::spawn(connection);
            return Ok(sender.send_request(request.map(Full::new)).await?);
        }
        request.headers_mut().insert(http::header::HOST, authority.parse()?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        tokio::spawn(connection);
        Ok(sender.send_request(request.map(Full::new)).await?)
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: Request<Bytes>, http2: bool) -> Result<Reply> {
        let (head, body) = self.open(request, http2).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Reply { status: head.status, headers: head.headers, body })
    }

    /// Sends JSON, or nothing, as the bearer of `token`.
    pub(crate) async fn ask(&self, token: &str, method: &str, target: &str, body: &serde_json::Value) -> Result<Reply> {
        let media = match method {
            "PATCH" if body.is_array() => "application/json-patch+json",
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        self.ask_as(token, method, target, media, body.to_string()).await
    }

    /// Sends a request with a media type of the caller's choice.
    pub(crate) async fn ask_as(
        &self,
        token: &str,
        method: &str,
        target: &str,
        media: &str,
        body: String,
    ) -> Result<Reply> {
        ensure!(target.starts_with('/'), "{target} is no path");
        let body = if method == "GET" || body == "null" { String::new() } else { body };
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("content-type", media)
            .header("user-agent", "suite/1.0");
        let request =
            if token.is_empty() { request } else { request.header("authorization", format!("Bearer {token}")) };
        self.send(request.body(body.into())?, false).await
    }
}
