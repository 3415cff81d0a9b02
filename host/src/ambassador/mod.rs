//! HTTP answered on behalf of the API server, as by an ambassador container. TLS, token and policy stay with the host.
//!
//! A guest (through `wasi:http`) or a sibling container (through a local socket) sends plain HTTP. Each request goes to
//! [`Ambassador::answer`], and all requests take one way:
//!
//! ```text
//! headers are checked ── ApiRequest::parse ── Gate::admit ── Permit ── ApiClient::send ── API server
//! ```
//!
//! Threats, and the defence against each:
//!
//! - A request is judged as one thing and handled as another. The target is written anew from what was judged, and the
//!   guest's bytes are never sent. The content type of a patch is judged too.
//! - Headers change the identity of the caller. They are refused (see `headers`), and only a few others are forwarded
//!   (see [`ForwardedHeaders`]).
//! - A token belongs to another caller. The answer is 401, with a record.
//! - A body has no end. It is cut at the permit's limits and never kept whole.
//! - A redirect carries a token away. The caller gets the redirect as it is, and the ambassador never follows it.
//!
//! # Answers
//! Every request is answered, either with the server's own answer, streamed, or with a Kubernetes `Status` in JSON that
//! says why there is none. Headers of the server's connection are left out.
//!
//! | code | reason | when |
//! | --- | --- | --- |
//! | 101 | | the connection of a [`local`] client changes to WebSocket or SPDY |
//! | 400 | `BadRequest` | the request has two readings or none; two `Authorization` headers; its body broke off |
//! | 401 | `Unauthorized` | the request carries a token that this ambassador does not accept |
//! | 403 | `Forbidden` | the grant does not allow it (the missing rule is in the message), or a header names a user |
//! | 405 | `MethodNotAllowed` | a method that the API does not know |
//! | 408 | `Timeout` | the body did not come in time |
//! | 413, 414, 431 | `RequestEntityTooLarge` | body, target or headers are too large |
//! | 429 | `TooManyRequests` | the grant's rate, concurrent requests or watches are exhausted; with `Retry-After` |
//! | 501 | `NotImplemented` | the request asks for an upgrade that is not forwarded |
//! | 502 | `BadGateway` | the server's answer is larger than the grant allows, or makes no sense |
//! | 503 | `ServiceUnavailable` | the server cannot be reached, or there is none |
//! | 504 | `Timeout` | the server did not answer in time (a minute; [`Channel::Proxy`] waits as long as its client) |
//!
//! # Streams
//! Watches and followed logs are forwarded piece by piece until their reader drops the body. They have no limit on
//! bytes and no deadline of the ambassador. The other logs, and the answers of a pod, a service or a node by `proxy`,
//! have no deadline either. The API server sets none, and does not send even the head for the log of a silent
//! container. The reader ends them: a guest at the deadline of its run, a sibling by closing its connection. Until then
//! a watch holds one of the grant's `watches`, and any other request one of its `inFlight`.
//!
//! Bodies of requests up to 256 KiB are read before anything is sent, so that a request can be sent again after a 429.
//! Larger bodies are forwarded as they come. Requests of [`Channel::Proxy`] are sent once and their answers forwarded
//! as they come, because the proxy's clients have retry rules of their own. Of their bodies 64 KiB are read ahead.

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

/// The type in which errors of bodies are boxed.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer. It holds the request's slot among the concurrent requests until it ends or is dropped.
/// Dropping it ends the request at the server.
pub type AnswerBody = UnsyncBoxBody<Bytes, ClusterError>;

/// Returns a body that the host wrote.
fn own_body(text: impl Into<Bytes>) -> AnswerBody {
    Full::new(text.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The ambassador of one caller, under the grant of one gate. Cheap to clone.
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
    /// Makes an ambassador that forwards the requests that `gate` admits. Without an API server each admitted request
    /// gets a 503.
    pub fn new(way: Channel, gate: Gate, cluster: Option<ApiClient>) -> Self {
        Self { way, gate, cluster, tokens: None }
    }

    /// Sets the API server.
    #[must_use]
    pub fn with_cluster(mut self, cluster: ApiClient) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Accepts requests with one of these bearer tokens too. Without this, a request with any `Authorization` is
    /// refused.
    ///
    /// A request without a token is answered either way, because the channel identifies its caller.
    #[must_use]
    pub fn with_tokens(mut self, tokens: ScopedTokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Bounds every wait for the server by `ends`; see [`Gate::until`].
    #[must_use]
    pub fn until(self, ends: Instant) -> Self {
        Self { gate: self.gate.until(ends), ..self }
    }

    /// Returns the gate that judges the requests.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Answers one request.
    ///
    /// The request's URI must be in origin form: a path and perhaps a query. The caller checks and removes scheme and
    /// authority. Dropping the future or the answer's body ends the request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<AnswerBody>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let read = read(request.method(), request.uri());
        self.answer_read(request, read).await
    }

    /// Answers a request whose target [`read`] has read already.
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
        let cluster =
            self.cluster.as_ref().ok_or(RequestError::NotConnected).inspect_err(|why| permit.record_error(why))?;
        let limit = permit.request_limit();
        let read_ahead = if self.way == Channel::Proxy { PROXY_READ_AHEAD } else { READ_AHEAD };
        let upload = Upload::of(body, limit, read_ahead, cluster.deadline()).await;
        if let Err(UploadFault::TooLarge(_)) = upload {
            permit.record_limit(Limit::RequestBytes);
        }
        let upload = upload.inspect_err(|fault| permit.record_error(fault))?;
        let overrun = upload.overrun();
        let sent = cluster.send(permit, self.payload(head, upload)).await;
        match sent {
            Ok(response) => Ok(response.map(BodyExt::boxed_unsync)),
            // The server's connection broke off because the body was too large.
            Err(_) if overrun.happened() => {
                self.gate.report_limit(Limit::RequestBytes);
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
            wait_for_backend: true,
            as_it_comes: self.way == Channel::Proxy,
            ..Payload::none()
        };
        upload.into_payload(payload)
    }

    /// Checks the token of a request, if it has one.
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

    /// Returns the request, or records that it could not be read.
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

/// Reads the target of a request. The judgement, the choice of a grant and the request that is sent all use this one
/// reading.
fn read(method: &Method, uri: &Uri) -> Result<ApiRequest, InvalidRequest> {
    ApiRequest::parse(method, &target(method, uri))
}

/// Returns the target of the request line. A URI in absolute or authority form stays as it is, for
/// [`ApiRequest::parse`] to refuse.
fn target<'a>(method: &Method, uri: &'a Uri) -> Cow<'a, str> {
    if uri.scheme().is_some() || uri.authority().is_some() || *method == Method::CONNECT {
        return uri.to_string().into();
    }
    uri.path_and_query().map_or("/", PathAndQuery::as_str).into()
}
