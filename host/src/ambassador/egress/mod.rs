//! Requests to destinations other than the API server, as named in a grant's `egress`.
//!
//! Threats, and the defence against each:
//!
//! - A destination is not granted. It is compared whole, before any look-up.
//! - A granted name leads elsewhere (see `address`). The connection goes to the address that was checked, without a
//!   second look-up.
//! - A server is not the name's. TLS checks it with the system's roots, and there is no way round TLS.
//! - A redirect leads elsewhere. The guest gets it, and its next request is judged anew.
//! - A body has no end, in either direction. It is cut.
//! - The host has proxy settings and credentials. Nothing reads them here.
//!
//! Each request has a connection of its own, so a connection never carries data of two extensions.

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

/// The default time for look-up and connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The default time for the head of an answer. The deadline of a run is mostly sooner.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);

/// The largest number of concurrent look-ups of one extension: a quarter of the resolver's. A look-up holds its slot
/// for as long as the resolver waits, even if its caller is gone.
const LOOK_UPS: usize = 4;

/// The largest head of an answer, in bytes.
const MAX_HEAD: usize = 64 << 10;

/// The settings of connections to granted destinations.
pub struct EgressSettings {
    /// The resolver of names.
    pub resolver: Arc<dyn Resolve>,
    /// PEM certificates that are trusted besides the system's, such as those of a company's own authority.
    /// (`SSL_CERT_FILE` and `SSL_CERT_DIR` replace the system's.)
    pub extra_roots: Vec<u8>,
}

impl Default for EgressSettings {
    /// The system's resolver, and its roots alone.
    fn default() -> Self {
        Self { resolver: Arc::new(SystemResolver::default()), extra_roots: Vec::new() }
    }
}

/// The connections to granted destinations, for all extensions of a host. Cheap to clone.
#[derive(Clone)]
pub struct EgressClient(Arc<Connector>);

impl EgressClient {
    /// Makes a client. Roots are read when they are first needed.
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

/// The times for the steps of one request. `None` is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Patience {
    /// The time for look-up, connection and TLS together. Default 10 s.
    pub connect: Option<Duration>,
    /// The time from then to the head of the answer. Default 60 s.
    pub answer: Option<Duration>,
}

/// The requests of one extension to the destinations of its grant. Cheap to clone. Clones share the slots for look-ups.
#[derive(Clone, Debug)]
pub struct Egress {
    way: Channel,
    gate: Gate,
    client: EgressClient,
    shield: Arc<Shield>,
    look_ups: Arc<Semaphore>,
}

impl Egress {
    /// Makes an egress for the requests that `gate` admits. No name may lead to the addresses of `shielded`, the API
    /// server's own names.
    pub fn new(way: Channel, gate: Gate, client: EgressClient, shielded: Vec<Destination>) -> Self {
        let shield = Arc::new(Shield { names: shielded, ..Shield::default() });
        Self { way, gate, client, shield, look_ups: Arc::new(Semaphore::new(LOOK_UPS)) }
    }

    /// Sets the client.
    #[must_use]
    pub fn with_client(self, client: EgressClient) -> Self {
        Self { client, ..self }
    }

    /// Sets the shielded names of the API server.
    #[must_use]
    pub fn shielding(self, shielded: &[Destination]) -> Self {
        let shield = Shield { names: shielded.into(), ..Shield::clone(&self.shield) };
        Self { shield: Arc::new(shield), ..self }
    }

    /// Shields the addresses in this pod's status too. Those of this machine's interfaces are always shielded, and read
    /// before each connection.
    #[must_use]
    pub fn shielding_pod(self, addresses: &[IpAddr]) -> Self {
        let shield = Shield { pod: addresses.into(), ..Shield::clone(&self.shield) };
        Self { shield: Arc::new(shield), ..self }
    }

    /// Shields the addresses at which this client has found the API server too.
    #[must_use]
    pub fn shielding_peers(self, cluster: ApiClient) -> Self {
        let shield = Shield { cluster: Some(cluster), ..Shield::clone(&self.shield) };
        Self { shield: Arc::new(shield), ..self }
    }

    /// Sends a request to `destination` and returns the head of the answer. The body streams, and fails at the grant's
    /// `responseBytes`. Dropping the future or the body ends the request.
    ///
    /// Of the request's URI only path and query count.
    ///
    /// # Errors
    /// Returns an [`EgressError`]. Refusals and failures to connect are recorded.
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
                permit.record_denial(&error.to_string());
            }
            Err(EgressError::BodyTooLarge(_)) => permit.record_limit(Limit::RequestBytes),
            Err(error) => permit.record_error(error),
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
        // The failure reaches the wait for the answer, or its body.
        let connection = Connection(tokio::spawn(async { drop(driver.await) }).abort_handle());
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut request = request.map(|body| Limited::new(body, limit));
        cut.bound(&mut request);
        let answered = timeout(patience.answer.unwrap_or(ANSWER_WITHIN), sender.send_request(request)).await;
        let response = answered.map_err(late("answer"))?.map_err(broken)?;
        permit.record_status(response.status().as_u16());
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

/// Distinguishes a body that the host cut from a connection that ended.
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
