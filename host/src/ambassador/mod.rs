//! Answers HTTP for the API server, as an ambassador container does: TLS, token and policy stay on the host's side.
//!
//! Whoever speaks plain HTTP (a guest through `wasi:http`, a sibling container through a local socket) hands each
//! request to [`Ambassador::answer`] and passes on what comes back. In between there is one way for all:
//!
//! ```text
//! headers are checked ── ApiRequest::parse ── Gate::admit ── Permit ── Cluster::send ── API server
//! ```
//!
//! Threats, and what stops each: a request that is judged as one thing and acted on as another (the target is written
//! anew from what was judged, the guest's bytes are never sent; what its content type makes of a patch is judged too);
//! headers that change who asks (refused, see `headers`; of all others only a few are passed on, see [`ForwardedHeaders`]); a
//! token that is not the asker's (401, and recorded); bodies without an end (cut at the permit's limits, never kept
//! whole); a redirect that carries a token away (handed to the asker as it is, never followed).
//!
//! # What comes back
//! An answer always: the server's own, streamed, with the headers left out that belong to one connection; or a
//! Kubernetes `Status` in JSON that says why the server was not asked or could not answer.
//!
//! | code | reason | when |
//! | --- | --- | --- |
//! | 101 | | the connection of a [`local`] client changes to WebSocket or SPDY |
//! | 400 | `BadRequest` | the request has two readings or none; two `Authorization` headers; its body broke off |
//! | 401 | `Unauthorized` | it carries a token that this ambassador does not take |
//! | 403 | `Forbidden` | the grant does not allow it (the message has the rule that would), or a header says who asks |
//! | 405 | `MethodNotAllowed` | a method that the API does not know |
//! | 408 | `Timeout` | the body did not come in time |
//! | 413, 414, 431 | `RequestEntityTooLarge` | body, target or headers are too large |
//! | 429 | `TooManyRequests` | the grant's rate, its requests under way or its watches are spent; with `Retry-After` |
//! | 501 | `NotImplemented` | it asks for an upgrade that is not passed on |
//! | 502 | `BadGateway` | the server's answer is larger than the grant allows, or makes no sense |
//! | 503 | `ServiceUnavailable` | the server cannot be reached, or there is none |
//! | 504 | `Timeout` | the server did not answer in time (a minute; [`Channel::Proxy`] waits as long as its client) |
//!
//! # Streams
//! A watch and a log that is followed are passed on piece by piece, and go on until their reader drops the body: no
//! limit on their bytes, no deadline of the ambassador's. Nor is there one for any log and for what a pod, a service or
//! a node answers by `proxy`: the API server sets them none, and of a silent container's log not even the head comes.
//! Whoever reads them ends them: a guest's run at its own deadline, a sibling by closing its connection. For as long as
//! it goes on, a watch holds one of the grant's `watches` places, and any other one of its `inFlight` places.
//!
//! A request's body of up to 256 KiB is read before anything is sent, so that a server that says 429 is asked again; a
//! larger one is passed on as it comes. Requests of [`Channel::Proxy`] are made once, and their answers handed back as they
//! come: its clients have rules of their own for what to ask again, and when. Of their bodies 64 KiB are read ahead.

pub mod egress;
mod headers;
pub mod local;
mod names;
mod request_error;
mod token;
mod upgrade;
mod upload;

pub use headers::HeaderFault;
pub use names::ServerNames;
pub use request_error::RequestError;
pub use token::ScopedTokens;

use std::borrow::Cow;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};

use crate::cluster::{ApiClient, ClusterError, ForwardedHeaders, Payload};
use crate::gate::{Channel, Gate};
use crate::policy::{ApiRequest, InvalidRequest, Limit};
use crate::serving::asks_for_upgrade;
use crate::telemetry::Decision;
use upgrade::Slot;
use upload::{PROXY_READ_AHEAD, READ_AHEAD, Upload, UploadFault};

/// What a body's own failure is boxed as.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer. It holds the request's slot among those in progress until it ends or is dropped; dropping it
/// ends the request at the server.
pub type AnswerBody = UnsyncBoxBody<Bytes, ClusterError>;

/// Returns a body of our own.
fn own_body(text: impl Into<Bytes>) -> AnswerBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Answers the requests of one asker, under the grant of one gate. Cheap to clone.
///
/// ```no_run
/// use attache::ambassador::Ambassador;
/// use attache::gate::Channel;
/// # async fn f(gate: attache::gate::Gate, cluster: attache::cluster::ApiClient) {
/// let ambassador = Ambassador::new(Channel::Proxy, gate, Some(cluster));
/// let request = http::Request::get("/api/v1/namespaces/demo/pods").body(http_body_util::Empty::<bytes::Bytes>::new());
/// let answer = ambassador.answer(request.unwrap()).await;
/// assert_eq!(answer.status(), 200);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Ambassador {
    way: Channel,
    gate: Gate,
    cluster: Option<ApiClient>,
    tokens: Option<ScopedTokens>,
}

impl Ambassador {
    /// Answers what `gate` lets through from this API server; without one every request that is let through gets a 503.
    pub fn new(way: Channel, gate: Gate, cluster: Option<ApiClient>) -> Self {
        Self { way, gate, cluster, tokens: None }
    }

    /// Answers from this API server.
    #[must_use]
    pub fn with_cluster(mut self, cluster: ApiClient) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Takes requests with a bearer token of these too. Without this a request with any `Authorization` is refused.
    ///
    /// A request without a token is answered either way: who asks is known by the way it came.
    #[must_use]
    pub fn with_tokens(mut self, tokens: ScopedTokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Waits for no server beyond `ends`; see [`Gate::until`].
    #[must_use]
    pub fn until(self, ends: Instant) -> Self {
        Self { gate: self.gate.until(ends), ..self }
    }

    /// The gate that judges the requests.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Answers one request, whatever it is.
    ///
    /// Its URI has to be in origin form: a path and perhaps a query. Scheme and authority, if a guest or a client named
    /// any, are for the caller to check and to take off. Dropping the future, or the answer's body, ends the request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<AnswerBody>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let read = read(request.method(), request.uri());
        self.answer_read(request, read).await
    }

    /// Answers a request whose target has been read already, by [`read`].
    async fn answer_read<B>(
        &self,
        request: Request<B>,
        read: Result<ApiRequest, InvalidRequest>,
    ) -> Response<AnswerBody>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (head, body) = request.into_parts();
        let answered = match head.extensions.get::<Slot>() {
            Some(slot) if asks_for_upgrade(&head.headers) => self.upgrade(&head, slot, read).await,
            _ => self.pass(&head, body, read).await,
        };
        match answered {
            Ok(response) => response,
            Err(refused) => {
                refused.log(&self.gate);
                refused.into_response(&head.method)
            }
        }
    }

    async fn pass<B>(
        &self,
        head: &Parts,
        body: B,
        read: Result<ApiRequest, InvalidRequest>,
    ) -> Result<Response<AnswerBody>, RequestError>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let target = target(&head.method, &head.uri);
        headers::check(&head.headers).map_err(|fault| self.refuse(head, &target, fault))?;
        self.authorize(head, &target)?;
        let request = self.understood(head, &target, read)?;
        let content_type = headers::content_type(&head.headers);
        let mut permit = self.gate.admit(self.way, request.with_content_type(content_type.as_ref()))?;
        let cluster = self.cluster.as_ref().ok_or(RequestError::NotConnected).inspect_err(|why| permit.failed(why))?;
        let limit = permit.request_limit();
        let read_ahead = if self.way == Channel::Proxy { PROXY_READ_AHEAD } else { READ_AHEAD };
        let upload = Upload::of(body, limit, read_ahead, cluster.deadline()).await;
        if let Err(UploadFault::TooLarge(_)) = upload {
            permit.reached(Limit::RequestBytes);
        }
        let upload = upload.inspect_err(|fault| permit.failed(fault))?;
        let overrun = upload.overrun();
        let sent = cluster.send(permit, self.payload(head, upload)).await;
        match sent {
            Ok(response) => Ok(response.map(BodyExt::boxed_unsync)),
            // The body that grew too large is why the server's connection was broken off.
            Err(_) if overrun.happened() => {
                self.gate.reached(Limit::RequestBytes);
                Err(RequestError::BodyTooLarge(limit))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn payload(&self, head: &Parts, upload: Upload) -> Payload {
        let passed_on = match self.way {
            Channel::Proxy => ForwardedHeaders::of(&head.headers).with_agent(&head.headers),
            Channel::Api | Channel::WasiHttp | Channel::Host => ForwardedHeaders::of(&head.headers),
        };
        let payload = Payload {
            accept: headers::accept(&head.headers),
            content_type: headers::content_type(&head.headers),
            passed_on,
            patient: true,
            as_it_comes: self.way == Channel::Proxy,
            ..Payload::none()
        };
        upload.into_payload(payload)
    }

    /// Returns whether the request says that somebody else asks.
    fn authorize(&self, head: &Parts, target: &str) -> Result<(), RequestError> {
        let Some(presented) = headers::bearer(&head.headers).map_err(|fault| self.refuse(head, target, fault))? else {
            return Ok(());
        };
        if self.tokens.as_ref().is_some_and(|tokens| tokens.take(presented)) {
            return Ok(());
        }
        let refused = if self.tokens.is_some() { RequestError::Unauthorized } else { RequestError::NoCredentials };
        self.gate.refuse(self.way, &head.method, target, Decision::Unauthorized, &refused.to_string())?;
        Err(refused)
    }

    /// The request as it was read, or the record that nobody could read it.
    fn understood(
        &self,
        head: &Parts,
        target: &str,
        read: Result<ApiRequest, InvalidRequest>,
    ) -> Result<ApiRequest, RequestError> {
        read.map_err(|why| {
            self.gate.refuse_invalid(self.way, &head.method, target, &why);
            RequestError::Invalid(why)
        })
    }

    fn refuse(&self, head: &Parts, target: &str, fault: HeaderFault) -> RequestError {
        let verdict = match fault {
            HeaderFault::BearerProtocol => Decision::Unauthorized,
            _ => Decision::Invalid,
        };
        match self.gate.refuse(self.way, &head.method, target, verdict, &fault.to_string()) {
            Ok(()) => RequestError::Header(fault),
            Err(throttled) => throttled.into(),
        }
    }
}

/// Reads what a request asks for. What is judged, what chooses a grant and what is sent all come from this one reading.
fn read(method: &Method, uri: &Uri) -> Result<ApiRequest, InvalidRequest> {
    ApiRequest::parse(method, &target(method, uri))
}

/// What the request line asked for. A URI in absolute or authority form is kept as such, for [`ApiRequest::parse`] to
/// refuse.
fn target<'a>(method: &Method, uri: &'a Uri) -> Cow<'a, str> {
    if uri.scheme().is_some() || uri.authority().is_some() || *method == Method::CONNECT {
        return uri.to_string().into();
    }
    uri.path_and_query().map_or("/", PathAndQuery::as_str).into()
}
