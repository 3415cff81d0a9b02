//! The state of one guest's `wasi:http`, and the destinations of its requests.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use http::uri::{Authority, PathAndQuery};
use http::{Request, Response, Uri};
use http_body_util::BodyExt;
use tokio::time::timeout;
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks};

use super::error::{of_cluster, of_egress};
use super::timed_body::TimedBody;
use crate::ambassador::egress::{Egress, EgressClient, EgressError, Patience};
use crate::ambassador::{Ambassador, ScopedTokens, ServerNames};
use crate::capability::ctx::PodCtxView;
use crate::cluster::ApiClient;
use crate::gate::{Channel, Gate};
use crate::policy::{Destination, DestinationError};
use crate::telemetry::{Decision, Sampled, chain};

/// The largest piece that a guest may write to a request's body at once, in bytes. The host holds two such pieces for
/// each unsent body, and a guest may have as many bodies as requests. wasmtime's own default of 1 MiB would allow 256
/// MiB.
const CHUNK: usize = 64 << 10;

/// The log lines about failed requests of all guests together, throttled.
static FAILED: LazyLock<Sampled> = LazyLock::new(Sampled::lines);

/// The answer to one request, and the work that goes on for its body: none, here.
type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

impl<'a> PodCtxView<'a> {
    /// Returns the view on which wasmtime's `wasi:http` works, for an embedder that also serves HTTP with a guest
    /// (`new_incoming_request`).
    pub fn into_http(self) -> WasiHttpCtxView<'a> {
        let HttpCtx { outgoing, wasi } = &mut self.ctx.http;
        WasiHttpCtxView { hooks: outgoing, table: self.table, ctx: wasi }
    }
}

/// The state of one guest's `wasi:http`.
#[derive(Clone, Debug)]
pub(in crate::capability) struct HttpCtx {
    outgoing: Outgoing,
    wasi: WasiHttpCtx,
}

/// The destinations of a guest's requests.
#[derive(Clone, Debug)]
struct Outgoing {
    ambassador: Ambassador,
    egress: Egress,
    names: Arc<ServerNames>,
}

impl HttpCtx {
    pub(in crate::capability) fn new(gate: Gate) -> Self {
        let mut wasi = WasiHttpCtx::new();
        wasi.set_field_size_limit(usize::try_from(gate.grant().limits.header_bytes).unwrap_or(usize::MAX));
        let names = Arc::<ServerNames>::default();
        let egress = Egress::new(Channel::WasiHttp, gate.clone(), EgressClient::default(), names.shielded());
        let ambassador = Ambassador::new(Channel::WasiHttp, gate, None);
        Self { outgoing: Outgoing { ambassador, egress, names }, wasi }
    }

    pub(in crate::capability) fn set_cluster(&mut self, cluster: ApiClient) {
        self.rename(|names| names.with_endpoint(cluster.endpoint()));
        self.outgoing.egress = self.outgoing.egress.clone().shielding_peers(cluster.clone());
        self.outgoing.ambassador = self.outgoing.ambassador.clone().with_cluster(cluster);
    }

    pub(in crate::capability) fn until(&mut self, ends: Instant) {
        self.outgoing.ambassador = self.outgoing.ambassador.clone().until(ends);
    }

    pub(in crate::capability) fn set_tokens(&mut self, tokens: ScopedTokens) {
        self.outgoing.ambassador = self.outgoing.ambassador.clone().with_tokens(tokens);
    }

    pub(in crate::capability) fn set_pod(&mut self, addresses: &[IpAddr]) {
        self.outgoing.egress = self.outgoing.egress.clone().shielding_pod(addresses);
    }

    pub(in crate::capability) fn set_egress(&mut self, client: EgressClient) {
        self.outgoing.egress = self.outgoing.egress.clone().with_client(client);
    }

    pub(in crate::capability) fn rename(&mut self, rename: impl FnOnce(ServerNames) -> ServerNames) {
        let names = rename(ServerNames::clone(&self.outgoing.names));
        self.outgoing.egress = self.outgoing.egress.clone().shielding(&names.shielded());
        self.outgoing.names = Arc::new(names);
    }
}

impl Outgoing {
    async fn send(self, request: Request<WasiBody>, options: RequestOptions) -> Sent {
        let destination = match destination(request.uri()) {
            Ok(destination) => destination,
            Err(why) => return Err(self.refuse(&request, why)),
        };
        let body = if self.names.contain(&destination) {
            self.ask_server(request, options).await?
        } else {
            self.go_out(&destination, request, options).await?
        };
        Ok((body, Box::new(async { Ok(()) })))
    }

    async fn ask_server(
        &self,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        let answering = self.ambassador.answer(in_origin_form(request));
        let answer = within(options.first_byte_timeout, answering).await.ok_or(Error::ConnectionReadTimeout)?;
        let timed = |body| TimedBody::new(body, options.between_bytes_timeout, of_cluster).boxed_unsync();
        Ok(answer.map(timed))
    }

    async fn go_out(
        &self,
        destination: &Destination,
        request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        let patience = Patience { connect: options.connect_timeout, answer: options.first_byte_timeout };
        let answer = self.egress.send(destination, request, patience).await.map_err(|error| {
            // The gate's own refusals are in the audit.
            if !matches!(error, EgressError::Gate(_))
                && let Some(untold) = FAILED.note()
            {
                let (extension, error) = (self.ambassador.gate().extension(), chain(&error));
                tracing::debug!(extension, %error, untold, "egress failed");
            }
            of_egress(error)
        })?;
        let timed = |body| TimedBody::new(body, options.between_bytes_timeout, of_egress).boxed_unsync();
        Ok(answer.map(timed))
    }

    /// Records a request whose URI is no destination.
    fn refuse(&self, request: &Request<WasiBody>, why: DestinationError) -> Error {
        let (gate, target) = (self.ambassador.gate(), request.uri().to_string());
        let refused = gate.refuse(Channel::WasiHttp, request.method(), &target, Decision::Denied, &why.to_string());
        refused.map_or_else(|throttled| of_egress(throttled.into()), |()| of_egress(why.into()))
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        // The guest's use of the answer needs no work here.
        drop(processed);
        Box::new(self.clone().send(request, options.unwrap_or_default()))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    // The defaults of these log a line for each error of a guest.
    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> ErrorCode {
        ErrorCode::HttpProtocolError
    }

    fn p2_error_from_connect(&mut self, _: &io::Error) -> ErrorCode {
        ErrorCode::ConnectionRefused
    }

    fn p2_error_from_tls(&mut self, _: &io::Error) -> ErrorCode {
        ErrorCode::TlsProtocolError
    }
}

/// Returns scheme, host and port of a request. Fails if they have several readings.
fn destination(uri: &Uri) -> Result<Destination, DestinationError> {
    let authority = uri.authority().ok_or(DestinationError::Host)?;
    if authority.as_str().contains('@') {
        return Err(DestinationError::Rest);
    }
    Destination::of(uri.scheme_str().unwrap_or_default(), authority.host(), port(authority)?)
}

/// Returns the port, if one is named. The crate `http` reads `host:` and `host:99999` as without a port, which would
/// silently become the default.
fn port(authority: &Authority) -> Result<Option<u16>, DestinationError> {
    let named = authority.as_str().len() > authority.host().len();
    match authority.port_u16() {
        None if named => Err(DestinationError::Port),
        port => Ok(port),
    }
}

fn in_origin_form<B>(mut request: Request<B>) -> Request<B> {
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(target.unwrap_or_else(|| PathAndQuery::from_static("/")));
    request
}

async fn within<F: Future>(span: Option<Duration>, future: F) -> Option<F::Output> {
    match span {
        Some(span) => timeout(span, future).await.ok(),
        None => Some(future.await),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(uri: &str) -> Result<String, DestinationError> {
        destination(&uri.parse().unwrap()).map(|destination| destination.to_string())
    }

    #[test]
    fn a_destination_has_one_reading() {
        assert_eq!(read("https://Kubernetes/api").unwrap(), "https://kubernetes");
        assert_eq!(read("http://[::1]:8001/").unwrap(), "http://[::1]:8001");
        for uri in [
            "https://user@kubernetes/",
            "https://kubernetes@evil.example/",
            "https://kubernetes:/",
            "https://kubernetes:0/",
            "https://kubernetes:99999/",
            "https://kubernetes./",
            "https://127.1/",
            "/api",
        ] {
            assert!(read(uri).is_err(), "{uri}");
        }
    }
}
