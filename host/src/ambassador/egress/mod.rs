//! Requests to places outside the API server, as far as a grant's `egress` names them.
//!
//! Threats, and what stops each: a destination that is not granted (compared whole, before anything is looked up); a
//! granted name that leads elsewhere (see `address`; what was checked is what is connected to, there is no second
//! look-up); a server that is not the name's (TLS with the system's roots, and no way round it); a redirect (handed to
//! the guest, whose next request is judged anew); bodies without an end in either direction (cut); the host's own proxy
//! settings and credentials (nothing reads them here).
//!
//! Each request has a connection of its own, so that nothing of one extension is left on a connection for another.

mod address;
mod body;
mod connect;
mod error;
mod shield;

pub use body::EgressBody;
pub use connect::{Resolve, SystemResolver};
pub use error::EgressError;

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::BoxError;
use super::headers;
use crate::cluster::{ApiClient, Cut, Cuttable};
use crate::gate::{Channel, EgressPermit, Gate};
use crate::policy::{Destination, Limit};
use body::Connection;
use connect::Connector;
use shield::Shield;

/// How long the look-up and the connection may take where the guest names no time.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How long the head of an answer may take where the guest names no time. A run's own deadline is mostly sooner.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);

/// How many look-ups of one extension run at once: a quarter of the resolver's. One whose answer does not come holds
/// its place for as long as the resolver waits, though nobody else may any more.
const LOOK_UPS: usize = 4;

/// How large one head of an answer may be, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// What connections outward are made with.
pub struct EgressSettings {
    /// What looks names up.
    pub resolver: Arc<dyn Resolve>,
    /// PEM certificates that are trusted besides the system's (which `SSL_CERT_FILE` and `SSL_CERT_DIR` replace): those
    /// of a company's own authority, say.
    pub extra_roots: Vec<u8>,
}

impl Default for EgressSettings {
    /// The system's resolver, and its roots alone.
    fn default() -> Self {
        Self { resolver: Arc::new(SystemResolver::default()), extra_roots: Vec::new() }
    }
}

/// Makes connections outward, for all extensions of a host. Cheap to clone.
#[derive(Clone)]
pub struct EgressClient(Arc<Connector>);

impl EgressClient {
    /// A client of these settings. Roots are read when they are first needed.
    pub fn new(settings: EgressSettings) -> Self {
        Self(Arc::new(Connector::new(settings.resolver, settings.extra_roots)))
    }
}

impl Default for EgressClient {
    fn default() -> Self {
        Self::new(EgressSettings::default())
    }
}

impl fmt::Debug for EgressClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EgressClient")
    }
}

/// How long the steps of one request may take; `None` takes a default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// Look-up, connection and TLS together. Default 10 s.
    pub connect: Option<Duration>,
    /// From then to the head of the answer. Default 60 s.
    pub answer: Option<Duration>,
}

/// The requests of one extension to the destinations of its grant. Cheap to clone; clones share the places for
/// look-ups.
#[derive(Clone, Debug)]
pub struct Egress {
    way: Channel,
    gate: Gate,
    client: EgressClient,
    shield: Arc<Shield>,
    look_ups: Arc<Semaphore>,
}

impl Egress {
    /// Sends what `gate` lets through. No name may lead to where `shielded`, the API server's own names, lead.
    pub fn new(way: Channel, gate: Gate, client: EgressClient, shielded: Vec<Destination>) -> Self {
        let shield = Arc::new(Shield { names: shielded, ..Shield::default() });
        Self { way, gate, client, shield, look_ups: Arc::new(Semaphore::new(LOOK_UPS)) }
    }

    /// Sends with this client.
    #[must_use]
    pub fn with_client(self, client: EgressClient) -> Self {
        Self { client, ..self }
    }

    /// Shields these names of the API server in place of others.
    #[must_use]
    pub fn shielding(self, shielded: &[Destination]) -> Self {
        let shield = Shield { names: shielded.into(), ..Shield::clone(&self.shield) };
        Self { shield: Arc::new(shield), ..self }
    }

    /// Shields the addresses of this pod too, as its status has them. Those of this machine's interfaces always are:
    /// looked at before each connection.
    #[must_use]
    pub fn shielding_pod(self, addresses: &[IpAddr]) -> Self {
        let shield = Shield { pod: addresses.into(), ..Shield::clone(&self.shield) };
        Self { shield: Arc::new(shield), ..self }
    }

    /// Shields the addresses too at which this client has found the API server.
    #[must_use]
    pub fn shielding_peers(self, cluster: ApiClient) -> Self {
        let shield = Shield { cluster: Some(cluster), ..Shield::clone(&self.shield) };
        Self { shield: Arc::new(shield), ..self }
    }

    /// Sends a request to `destination` and hands back the head of the answer, whatever it is; its body streams, and
    /// ends with an error at the grant's `responseBytes`. Dropping the future, or the body, ends the request.
    ///
    /// Of the request's URI only path and query count.
    ///
    /// # Errors
    /// [`EgressError`]. Refusals are recorded, and so are failures to connect.
    pub async fn send<B>(
        &self,
        destination: &Destination,
        request: Request<B>,
        patience: Patience,
    ) -> Result<Response<EgressBody>, EgressError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let request = in_origin_form(request);
        let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let mut permit = self.gate.admit_egress(self.way, request.method(), destination, target)?;
        let sent = self.exchange(destination, request, patience, &mut permit).await;
        match &sent {
            Err(error @ (EgressError::Prohibited { .. } | EgressError::Header(_))) => {
                permit.refused(&error.to_string());
            }
            Err(EgressError::BodyTooLarge(_)) => permit.reached(Limit::RequestBytes),
            Err(error) => permit.failed(error),
            Ok(_) => {}
        }
        let (response, connection) = sent?;
        Ok(response.map(|body| EgressBody::new(body, permit, connection, destination.to_string())))
    }

    async fn exchange<B>(
        &self,
        destination: &Destination,
        request: Request<B>,
        patience: Patience,
        permit: &mut EgressPermit,
    ) -> Result<(Response<Incoming>, Connection), EgressError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        headers::check_size(request.headers())?;
        let late = |step| move |_| EgressError::Late { destination: destination.to_string(), step };
        let limit = permit.request_limit();
        let broken = |source| broken_off(destination, limit, source);
        let connecting = self.client.0.connect(destination, &self.shield, &self.look_ups);
        let stream = timeout(patience.connect.unwrap_or(CONNECT_WITHIN), connecting).await;
        let stream = stream.map_err(late("connection"))??;
        let cut = Cut::default();
        let stream = Cuttable::new(TokioIo::new(stream), cut.clone());
        let handshake = http1::Builder::new().max_buf_size(MAX_HEAD).handshake(stream);
        let (mut sender, driver) = handshake.await.map_err(broken)?;
        // Its failure comes out where the answer, or its body, is waited for.
        let connection = Connection(tokio::spawn(async { drop(driver.await) }).abort_handle());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut request = request.map(|body| Limited::new(body, limit));
        cut.bound(&mut request);
        let answered = timeout(patience.answer.unwrap_or(ANSWER_WITHIN), sender.send_request(request)).await;
        let response = answered.map_err(late("answer"))?.map_err(broken)?;
        permit.answered(response.status().as_u16());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(EgressError::Switched(destination.to_string()));
        }
        Ok((response, connection))
    }
}

fn in_origin_form<B>(mut request: Request<B>) -> Request<B> {
    let target = request.uri().path_and_query().cloned();
    *request.uri_mut() = target.map_or_else(|| Uri::from_static("/"), Uri::from);
    request
}

/// Tells a body of ours that was cut apart from a connection that ended.
fn broken_off(destination: &Destination, limit: u64, source: hyper::Error) -> EgressError {
    let mut cause = source.source();
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return EgressError::BodyTooLarge(limit);
        }
        cause = error.source();
    }
    EgressError::BrokenOff { destination: destination.to_string(), source }
}
