//! One request and its answer: the token, the tries, the deadline.
//!
//! Threats: a guest's headers that change who asks (only those of [`Payload`] are sent), a token that is sent in the
//! clear (never without TLS), a redirect that carries it away (never followed), and an answer without an end (cut by
//! the permit's limit and the deadline).

use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH, USER_AGENT};
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout_at};

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

/// Who we say we are. API servers pretty-print for the names of curl and kubectl, so it must not begin like those.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("attache/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// When an answer without an end has to be whole: not within the life of any pod.
const NO_END: Duration = Duration::from_hours(24 * 365);

/// Headers that belong to one connection (RFC 9110 section 7.6.1), or that would store something at the receiver.
const NOT_PASSED_ON: [HeaderName; 7] = [
    http::header::CONNECTION,
    http::header::TRANSFER_ENCODING,
    http::header::UPGRADE,
    http::header::TRAILER,
    http::header::PROXY_AUTHENTICATE,
    http::header::SET_COOKIE,
    HeaderName::from_static("keep-alive"),
];

/// What every try of one request sends.
struct Outgoing<'a> {
    method: &'a Method,
    uri: Uri,
    payload: Payload,
    if_none_match: Option<HeaderValue>,
    /// Whether a 401 is the API server's own.
    judged_here: bool,
}

/// An answer whose head has come.
pub(super) struct Opened {
    pub(super) head: Parts,
    inner: Incoming,
    /// When its body has to be whole, and how long after the start of the request its head had to be there.
    whole_by: Instant,
    after: Duration,
}

impl ApiClient {
    /// Sends what the permit allows and hands back the answer, whatever its status, as soon as its head is there. Its
    /// body streams and ends with an error at [`Permit::response_limit`] and at the deadline. A watch or a log that is
    /// followed goes on until it is dropped, unless the payload names a deadline; for the head of a log see
    /// [`Payload::patient`].
    ///
    /// 429 and 503 with `Retry-After`, and where nothing is changed any 5xx with it, are obeyed within the deadline and
    /// the run of whoever asks ([`Permit::ends`]); a wait beyond it is not begun, and the refusal handed back. A 401
    /// drops the token that was sent, and the request is made once more if there is another: the API server
    /// authenticates first, so nothing was done. Only a request that changes something behind `proxy`, where a 401 may
    /// be somebody else's, or whose body is streamed, is not.
    ///
    /// Of all this only the new token after a 401 holds for [`Payload::as_it_comes`]. Dropping the future or the body
    /// ends the request.
    ///
    /// # Errors
    /// When there is no token, no connection, or no answer in time, and when the answer announces more bytes than
    /// the permit allows.
    pub async fn send(&self, permit: Permit, payload: Payload) -> Result<Response<AnswerBody>, ClusterError> {
        self.exchange(permit, payload, None).await
    }

    /// As [`ApiClient::send`], with the body read whole, and any status but 2xx made an error.
    ///
    /// # Errors
    /// As [`ApiClient::send`]; also [`ClusterError::Refused`], and [`ClusterError::TooLarge`] for a longer body.
    pub async fn fetch(&self, permit: Permit, payload: Payload) -> Result<Answer, ClusterError> {
        let (head, body) = self.send(permit, payload).await?.into_parts();
        answer(head.status, body).await
    }

    /// As [`ApiClient::send`]; with `if_none_match` the server may answer 304 where nothing has changed.
    pub(in crate::cluster) async fn exchange(
        &self,
        mut permit: Permit,
        payload: Payload,
        if_none_match: Option<HeaderValue>,
    ) -> Result<Response<AnswerBody>, ClusterError> {
        let opened = self.opened(&mut permit, payload, if_none_match).await;
        let opened = opened.and_then(|opened| match opened.head.status {
            StatusCode::SWITCHING_PROTOCOLS => Err(Unavailable::Switched { address: self.address().to_owned() }.into()),
            _ => Ok(opened),
        });
        Ok(self.kept(opened.inspect_err(|error| permit.failed(error))?, permit))
    }

    /// The answer as it is handed on.
    pub(super) fn kept(&self, opened: Opened, permit: Permit) -> Response<AnswerBody> {
        let Opened { mut head, inner, whole_by, after } = opened;
        drop_hop_by_hop(&mut head.headers);
        Response::from_parts(head, AnswerBody::new(inner, permit, whole_by, after, self.address().to_owned()))
    }

    /// Sends, and waits for the head of the answer.
    pub(super) async fn opened(
        &self,
        permit: &mut Permit,
        payload: Payload,
        if_none_match: Option<HeaderValue>,
    ) -> Result<Opened, ClusterError> {
        let began = Instant::now();
        let deadline = payload.deadline.or_else(|| began.checked_add(self.deadline())).unwrap_or(began);
        let no_end = began.checked_add(NO_END).unwrap_or(deadline);
        let (head_by, whole_by) = match payload.deadline {
            None if payload.as_it_comes => (no_end, no_end),
            None if payload.patient && permit.request().is_relayed() => (no_end, no_end),
            None if permit.request().is_stream() => (deadline, no_end),
            _ => (deadline, deadline),
        };
        // Who asks is ended by whoever runs it; here it only decides which waits are worth beginning.
        let asked_until = permit.ends().map_or(deadline, |ends| Instant::from_std(ends).min(deadline));
        let after = head_by.saturating_duration_since(began);
        if payload.body.len() as u64 > permit.request_limit() {
            permit.reached(Limit::RequestBytes);
            return Err(ClusterError::BodyTooLarge(permit.request_limit()));
        }
        let uri = self.endpoint().uri(permit.request().target())?;
        let is_head = permit.request().method() == Method::HEAD;
        let answered_here = is_answered_here(permit.request());
        let tries = match payload.stream {
            None if answered_here => Tries::new(!permit.request().is_mutating(), asked_until).renewable(),
            None => Tries::new(!permit.request().is_mutating(), asked_until),
            Some(_) => Tries::once(asked_until),
        };
        let tries = if payload.as_it_comes { tries.handed_back() } else { tries };
        let judged_here = answered_here || permit.request().resource().is_none();
        let outgoing = Outgoing { method: permit.request().method(), uri, payload, if_none_match, judged_here };
        let answered = timeout_at(head_by, self.answered(&outgoing, tries)).await;
        let late = |_| Unavailable::Deadline { address: self.address().to_owned(), step: "answer", after };
        let (head, inner) = answered.map_err(late)??.into_parts();
        permit.answered(head.status.as_u16());
        // The length of an answer to HEAD is that of a body which does not come.
        if !is_head && announced(&head.headers) > permit.response_limit() && head.status.is_success() {
            permit.reached(Limit::ResponseBytes);
            return Err(ClusterError::TooLarge(permit.response_limit()));
        }
        Ok(Opened { head, inner, whole_by, after })
    }

    /// Tries until there is an answer to hand on.
    async fn answered(&self, outgoing: &Outgoing<'_>, mut tries: Tries) -> Result<Response<Incoming>, ClusterError> {
        loop {
            let transport = self.transport();
            let token = self.token()?;
            let wait = match self.once(outgoing, &transport, token.as_deref()).await {
                Ok(response) if response.status() == StatusCode::UNAUTHORIZED => {
                    if !self.has_others(token, &transport) || !tries.after_unauthorized() {
                        if outgoing.judged_here {
                            self.tell_refused_token();
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
                // The handshake failed, so nothing was sent, and whatever it was may be sent again.
                Err(Unavailable::Certificate { .. }) if self.renewed_certificates(&transport) => Duration::ZERO,
                // Nothing was taken in, but the beginning of a body that streams is gone.
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

    async fn once(
        &self,
        outgoing: &Outgoing<'_>,
        transport: &Arc<Transport>,
        token: Option<&Token>,
    ) -> Result<Response<Incoming>, Unavailable> {
        let sent = transport.send(outgoing.request(token)).await;
        sent.map_err(|error| Unavailable::from_chain(&error, Stage::of(&error), self.address(), &self.roots_origin()))
    }

    /// Drops the credentials that a server did not take. Returns whether the files have others by now.
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
        headers.insert(USER_AGENT, AGENT);
        self.payload.passed_on.write(headers);
        headers.insert(ACCEPT, self.payload.accept.clone().unwrap_or(JSON));
        insert_some(headers, CONTENT_TYPE, self.payload.content_type.clone());
        insert_some(headers, IF_NONE_MATCH, self.if_none_match.clone());
        insert_some(headers, AUTHORIZATION, token.and_then(bearer));
        self.payload.upgrade.iter().for_each(|upgrade| upgrade.write(headers));
        request
    }
}

/// Returns whether the API server answers by itself, and hands the request on to no pod, service or node.
fn is_answered_here(request: &ApiRequest) -> bool {
    request.resource().is_some_and(|at| request.verb() != "proxy" && at.subresource.as_deref() != Some("proxy"))
}

/// Removes what belongs to one connection: the names of [`NOT_PASSED_ON`], and those that `Connection` lists.
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

/// The header of a token, kept out of every `Debug`. A [`Token`] is visible ASCII, so this always is one.
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
    // That the server refused is known and counts, even where its reason got lost.
    let refusal = read.map_or_else(|_| ServerStatus::without_body(status), |bytes| ServerStatus::read(status, bytes));
    Err(ClusterError::Refused(Box::new(refusal)))
}

fn announced(headers: &HeaderMap) -> u64 {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Where the system gives no random bits, callers wait equally long, which is no worse than no jitter.
fn random() -> u32 {
    getrandom::u32().unwrap_or_default()
}
