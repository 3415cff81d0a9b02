//! One request and its answer: the token, the tries, the deadline.
//!
//! Threats: a guest's headers that name another user (only those of [`Payload`] are sent), a token that is sent in the
//! clear (never without TLS), a redirect that carries a token away (never followed), and an answer without an end (cut
//! by the permit's limit and the deadline).

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout_at};

use super::agent::agent;
use super::body::AnswerBody;
use super::payload::{Answer, Outbound, Payload};
use super::retry::Tries;
use crate::cluster::connect::ApiClient;
use crate::cluster::error::ClusterError;
use crate::cluster::status::ServerStatus;
use crate::cluster::transport::Transport;
use crate::cluster::unavailable::{Stage, Unavailable};
use crate::credentials::Token;
use crate::gate::Permit;
use crate::policy::{ApiRequest, Limit};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The longest life of an answer without an end: longer than that of any pod.
const NO_END: Duration = Duration::from_hours(24 * 365);

/// The header by which an API server names a request in its own audit log.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// Headers that belong to one connection (RFC 9110 section 7.6.1), or that make the receiver store something.
const NOT_PASSED_ON: [HeaderName; 7] = [
    http::header::CONNECTION,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
    http::header::TRAILER,
    http::header::PROXY_AUTHENTICATE,
    http::header::SET_COOKIE,
    HeaderName::from_static("keep-alive"),
];

/// The parts that every try of one request sends.
struct Outgoing<'a> {
    method: &'a Method,
    uri: Uri,
    agent: HeaderValue,
    payload: Payload,
    if_none_match: Option<HeaderValue>,
    /// True where only the API server itself can answer 401, about the host's token.
    judged_here: bool,
}

/// An answer whose head has come.
pub(super) struct Opened {
    pub(super) head: Parts,
    inner: Incoming,
    deadlines: Deadlines,
}

/// The times by which the steps of one exchange have to be done.
#[derive(Clone, Copy)]
struct Deadlines {
    /// The head of the answer.
    head_by: Instant,
    /// The body of the answer.
    whole_by: Instant,
    /// The wait before a retry. The caller ends its run itself; this decides only whether a wait is worth beginning.
    retry_by: Instant,
    /// The span from the beginning to `head_by`, for errors.
    after: Duration,
}

impl Deadlines {
    /// Counts from now, with `default` where the payload has no deadline.
    fn of(payload: &Payload, permit: &Permit, default: Duration) -> Self {
        let began = Instant::now();
        let deadline = payload.deadline.or_else(|| began.checked_add(default)).unwrap_or(began);
        let no_end = began.checked_add(NO_END).unwrap_or(deadline);
        let (head_by, whole_by) = match payload.deadline {
            None if payload.as_it_comes => (no_end, no_end),
            None if payload.wait_for_backend && permit.request().is_relayed() => (no_end, no_end),
            None if permit.request().is_stream() => (deadline, no_end),
            _ => (deadline, deadline),
        };
        let retry_by = permit.ends().map_or(deadline, |ends| Instant::from_std(ends).min(deadline));
        Self { head_by, whole_by, retry_by, after: head_by.saturating_duration_since(began) }
    }
}

impl ApiClient {
    /// Sends the permit's request and returns the answer, whatever its status, as soon as its head is there.
    ///
    /// The body streams, and ends with an error at [`Permit::response_limit`] and at the deadline. A watch, and a log
    /// that is followed, go on until they are dropped, unless the payload has a deadline; for the head of a log see
    /// [`Payload::wait_for_backend`]. Dropping the future or the body ends the request.
    ///
    /// The request is sent again:
    /// - after 429 and 503 with `Retry-After`, and where it changes nothing after any 5xx with it, up to ten times. A
    ///   wait that would end after the deadline or the caller's run ([`Permit::ends`]) is not begun, and the refusal
    ///   returned;
    /// - after 401 once, if there is another token or client certificate. API servers authenticate first, so nothing
    ///   was done. Excepted are requests that change something behind `proxy`, where the 401 may come from another
    ///   server;
    /// - after the connection broke off once, if the request changes nothing;
    /// - after a TLS handshake that failed for a certificate on either side, if the files have another by now.
    ///
    /// A streamed body ([`Payload::stream`]) cannot be sent again, except after a handshake that failed for the
    /// server's certificate. For [`Payload::as_it_comes`] only the retries after a handshake and after 401 hold.
    ///
    /// # Errors
    /// When there is no token, no connection, or no answer in time, and when the answer announces more bytes than
    /// the permit allows.
    pub async fn send(&self, permit: Permit, payload: Payload) -> Result<Response<AnswerBody>, ClusterError> {
        self.send_conditional(permit, payload, None).await
    }

    /// Sends as [`ApiClient::send`] does, reads the whole body, and makes any status but 2xx an error.
    ///
    /// # Errors
    /// As [`ApiClient::send`]; also [`ClusterError::Refused`], and [`ClusterError::TooLarge`] for a longer body.
    pub async fn fetch(&self, permit: Permit, payload: Payload) -> Result<Answer, ClusterError> {
        let (head, body) = self.send(permit, payload).await?.into_parts();
        answer(head.status, body).await
    }

    /// Sends as [`ApiClient::send`] does; with `if_none_match` the server answers 304 if nothing has changed.
    pub(in crate::cluster) async fn send_conditional(
        &self,
        mut permit: Permit,
        payload: Payload,
        if_none_match: Option<HeaderValue>,
    ) -> Result<Response<AnswerBody>, ClusterError> {
        let opened = self.head_by_deadline(&mut permit, payload, if_none_match).await;
        let opened = opened.and_then(|opened| match opened.head.status {
            StatusCode::SWITCHING_PROTOCOLS => Err(Unavailable::Switched { address: self.address().to_owned() }.into()),
            _ => Ok(opened),
        });
        Ok(self.with_body(opened.inspect_err(|error| permit.record_error(error))?, permit))
    }

    /// Returns the answer with its body, which holds the permit.
    pub(super) fn with_body(&self, opened: Opened, permit: Permit) -> Response<AnswerBody> {
        let Opened { mut head, inner, deadlines } = opened;
        drop_hop_by_hop(&mut head.headers);
        let Deadlines { whole_by, after, .. } = deadlines;
        Response::from_parts(head, AnswerBody::new(inner, permit, whole_by, after, self.address().to_owned()))
    }

    /// Sends within the permit's limits, and waits for the head of the answer.
    pub(super) async fn head_by_deadline(
        &self,
        permit: &mut Permit,
        payload: Payload,
        if_none_match: Option<HeaderValue>,
    ) -> Result<Opened, ClusterError> {
        let deadlines = Deadlines::of(&payload, permit, self.deadline());
        if payload.body.len() as u64 > permit.request_limit() {
            permit.record_limit(Limit::RequestBytes);
            return Err(ClusterError::BodyTooLarge(permit.request_limit()));
        }
        let tries = tries(&payload, permit.request(), deadlines.retry_by);
        let outgoing = self.outgoing(permit, payload, if_none_match)?;
        let answered = timeout_at(deadlines.head_by, self.try_until_answered(&outgoing, tries)).await;
        let is_head = outgoing.method == Method::HEAD;
        let (address, after) = (self.address().to_owned(), deadlines.after);
        let late = |_| Unavailable::Deadline { address, step: "answer", after };
        let (head, inner) = answered.map_err(late)??.into_parts();
        permit.record_status(head.status.as_u16());
        if let Some(id) = head.headers.get(AUDIT_ID) {
            permit.record_audit_id(id.as_bytes());
        }
        // The length of an answer to HEAD is that of a body which does not come.
        if !is_head && announced(&head.headers) > permit.response_limit() && head.status.is_success() {
            permit.record_limit(Limit::ResponseBytes);
            return Err(ClusterError::TooLarge(permit.response_limit()));
        }
        Ok(Opened { head, inner, deadlines })
    }

    fn outgoing<'a>(
        &self,
        permit: &'a Permit,
        payload: Payload,
        if_none_match: Option<HeaderValue>,
    ) -> Result<Outgoing<'a>, ClusterError> {
        let request = permit.request();
        let uri = self.endpoint().uri(request.target())?;
        let agent = agent(permit.extension(), payload.passed_on.agent());
        let judged_here = is_answered_here(request) || request.resource().is_none();
        Ok(Outgoing { method: request.method(), uri, agent, payload, if_none_match, judged_here })
    }

    /// Tries until there is an answer to return to the caller.
    async fn try_until_answered(
        &self,
        outgoing: &Outgoing<'_>,
        mut tries: Tries,
    ) -> Result<Response<Incoming>, ClusterError> {
        loop {
            let transport = self.transport();
            let token = self.token()?;
            let wait = match self.try_once(outgoing, &transport, token.as_deref()).await {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    if !self.has_others(token, &transport) || !tries.after_unauthorized() {
                        if outgoing.judged_here {
                            self.report_refused_token();
                        }
                        return Ok(response);
                    }
                    Duration::ZERO
                }
                Ok(response) => {
                    match tries.after_answer(response.status(), response.headers(), Instant::now(), random) {
                        None => return Ok(response),
                        Some(wait) => wait,
                    }
                }
                // The handshake failed, so nothing was sent, and any request may be sent again.
                Err(Unavailable::Certificate { .. }) if self.renewed_certificates(&transport) => Duration::ZERO,
                // The server acted on nothing, but the beginning of a body that streams is gone.
                Err(Unavailable::Unshown { .. })
                    if outgoing.payload.stream.is_none() && self.renewed_certificates(&transport) =>
                {
                    Duration::ZERO
                }
                Err(why) if why.broke_off() && tries.after_breaking_off() => Duration::ZERO,
                Err(why) => return Err(why.into()),
            };
            sleep(wait).await;
        }
    }

    async fn try_once(
        &self,
        outgoing: &Outgoing<'_>,
        transport: &Arc<Transport>,
        token: Option<&Token>,
    ) -> Result<Response<Incoming>, Unavailable> {
        let sent = transport.send(outgoing.request(token)).await;
        sent.map_err(|error| Unavailable::from_chain(&error, Stage::of(&error), self.address(), &self.roots_origin()))
    }

    /// Drops the credentials that a server answered 401 to. Returns whether the files have others by now.
    fn has_others(&self, refused: Option<Arc<Token>>, transport: &Transport) -> bool {
        let Some(refused) = refused else { return self.renewed_certificates(transport) };
        self.credentials().drop_token(&refused);
        let token = self.credentials().token().ok().flatten();
        token.is_some_and(|token| token.expose() != refused.expose())
    }
}

impl Outgoing<'_> {
    fn request(&self, token: Option<&Token>) -> Request<Outbound> {
        let mut request = Request::new(self.payload.outbound());
        request.method_mut().clone_from(self.method);
        request.uri_mut().clone_from(&self.uri);
        let headers = request.headers_mut();
        self.payload.passed_on.write(headers);
        headers.insert(USER_AGENT, self.agent.clone());
        headers.insert(ACCEPT, self.payload.accept.clone().unwrap_or(JSON));
        insert_some(headers, CONTENT_TYPE, self.payload.content_type.clone());
        insert_some(headers, IF_NONE_MATCH, self.if_none_match.clone());
        insert_some(headers, AUTHORIZATION, token.and_then(bearer));
        self.payload.upgrade.iter().for_each(|upgrade| upgrade.write(headers));
        request
    }
}

/// Returns the tries that a request may have.
fn tries(payload: &Payload, request: &ApiRequest, retry_by: Instant) -> Tries {
    let tries = match payload.stream {
        None if is_answered_here(request) => Tries::new(!request.is_mutating(), retry_by).renewable(),
        None => Tries::new(!request.is_mutating(), retry_by),
        Some(_) => Tries::once(retry_by),
    };
    if payload.as_it_comes { tries.handed_back() } else { tries }
}

/// Returns whether the API server answers itself, instead of passing the request on to a pod, service or node.
fn is_answered_here(request: &ApiRequest) -> bool {
    request.resource().is_some_and(|at| request.verb() != "proxy" && at.subresource.as_deref() != Some("proxy"))
}

/// Removes the headers of one connection: those of [`NOT_PASSED_ON`], and those that `Connection` lists.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let listed = headers.get_all(http::header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let listed = listed.flat_map(|list| list.split(',')).filter_map(|name| HeaderName::try_from(name.trim()).ok());
    for name in listed.collect::<Vec<_>>().into_iter().chain(NOT_PASSED_ON) {
        headers.remove(&name);
    }
}

fn insert_some(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

/// Returns the header of a token, kept out of every `Debug`. A [`Token`] is visible ASCII, so there always is one.
fn bearer(token: &Token) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

async fn answer(status: StatusCode, body: AnswerBody) -> Result<Answer, ClusterError> {
    let read = body.collected().await;
    if status.is_success() {
        return Ok(Answer { status, bytes: read? });
    }
    // The refusal counts even where its reason got lost.
    let refusal = read.map_or_else(|_| ServerStatus::without_body(status), |bytes| ServerStatus::read(status, bytes));
    Err(ClusterError::Refused(Box::new(refusal)))
}

fn announced(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Returns random bits. Where the system has none, all callers wait equally long, which is no worse than no jitter.
fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}
