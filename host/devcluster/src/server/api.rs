//! One request from its first byte to its answer: authentication, authorization, the type, and the operation.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::watch;

use crate::access::pki::Pki;
use crate::access::rbac::{Act, Authorizer};
use crate::model::catalogue::Catalogue;
use crate::model::identity::Identity;
use crate::model::resources::Type;
use crate::model::status::ApiError;
use crate::model::store::Store;
use crate::server::authentication::Authentication;
use crate::server::discovery::Discovery;
use crate::server::faults::{Fault, Faults};
use crate::server::http::Phase;
use crate::wire::answer::{Accept, Answer, Body, BrokenOff};
use crate::wire::request::{Query, RequestInfo, ResourcePath};

/// The largest body that a real server reads.
pub(crate) const BODY_LIMIT: u64 = 3 * 1024 * 1024;

/// The part of a larger body that is read and dropped before the answer, in bytes.
const BODY_DRAINED: u64 = 4 * BODY_LIMIT;

/// The longest time in which a client sends a body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Settings of the server's behaviour.
#[derive(Debug, Clone)]
pub(crate) struct Behaviour {
    /// The period of bookmarks on a watch that asks for them.
    pub(crate) bookmarks: Duration,
    /// The time that a deleted pod takes to stop, at most its grace period.
    pub(crate) pod_stop: Duration,
}

/// The API server.
pub(crate) struct Api {
    pub(crate) store: Store,
    pub(crate) catalogue: Catalogue,
    pub(crate) authorizer: Authorizer,
    pub(crate) authentication: Authentication,
    pub(crate) pki: RwLock<Pki>,
    pub(crate) faults: Faults,
    pub(crate) discovery: Mutex<Option<Arc<Discovery>>>,
    pub(crate) behaviour: Behaviour,
    /// `HOST:PORT`, as in discovery.
    pub(crate) address: String,
    /// The phase of the server's life, by which streams end.
    pub(crate) phase: RwLock<watch::Receiver<Phase>>,
}

/// A parsed request on a resource.
pub(crate) struct Call<'a> {
    pub(crate) client: &'a Identity,
    pub(crate) verb: &'static str,
    pub(crate) of: Arc<Type>,
    pub(crate) at: &'a ResourcePath,
    pub(crate) query: &'a Query,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) accept: Accept,
    pub(crate) body: Bytes,
}

impl Call<'_> {
    /// Returns the key of the object in the path.
    pub(crate) fn key(&self) -> String {
        crate::model::object::key(self.namespace(), &self.at.name)
    }

    /// Returns the namespace of the object; empty for a namespace itself.
    pub(crate) fn namespace(&self) -> &str {
        if self.of.namespaced { &self.at.namespace } else { "" }
    }

    /// Returns whether nothing is to be stored.
    pub(crate) fn dry_run(&self) -> bool {
        self.query.get("dryRun") == "All"
    }

    /// Returns the manager's name for the client's fields.
    pub(crate) fn manager(&self) -> String {
        let given = self.query.get("fieldManager");
        if !given.is_empty() {
            return given.to_owned();
        }
        let agent = self.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        agent.split('/').next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned()
    }
}

impl Api {
    /// Returns the TLS settings of the listener at this moment.
    pub(crate) fn tls(&self) -> Arc<rustls::ServerConfig> {
        self.pki.read().unwrap_or_else(PoisonError::into_inner).tls()
    }

    /// Returns the identity of a client certificate.
    pub(crate) fn identify(&self, certificate: &rustls_pki_types::CertificateDer<'_>) -> Option<Identity> {
        self.pki.read().unwrap_or_else(PoisonError::into_inner).identify(certificate)
    }

    /// Returns the reason why `client` may act, or `None` if the act is denied.
    pub(crate) fn allows(&self, client: &Identity, act: &Act<'_>) -> Option<String> {
        self.authorizer.allows(&self.store, &self.catalogue, client, act)
    }

    /// Answers one request. The error breaks the connection.
    pub(crate) async fn answer(
        self: Arc<Self>,
        shown: Option<Arc<Identity>>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, BrokenOff> {
        let fault = self.faults.take(request.uri().path());
        match &fault {
            Some(Fault::Reset) => return Err(BrokenOff),
            Some(Fault::Latency(time)) => tokio::time::sleep(*time).await,
            _ => {}
        }
        let (head, body) = request.into_parts();
        let mut body = Some(body);
        let answer = match fault.and_then(|fault| fault.error()) {
            Some(error) => error.into(),
            None => self.handle(shown, &head, &mut body).await.unwrap_or_else(Answer::from),
        };
        if let Some(body) = body.filter(|body| !body.is_end_stream()) {
            // An HTTP/2 stream whose body nobody reads is reset, and its answer with it.
            discard(body).await;
        }
        let mut response = answer.response();
        if head.method == Method::HEAD {
            response = without_body(response);
        }
        if let Ok(id) = HeaderValue::from_str(&crate::model::fresh::new_uid()) {
            response.headers_mut().insert(HeaderName::from_static("audit-id"), id);
        }
        Ok(response)
    }

    async fn handle(
        self: &Arc<Self>,
        shown: Option<Arc<Identity>>,
        head: &http::request::Parts,
        body: &mut Option<Incoming>,
    ) -> Result<Answer, ApiError> {
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let info = RequestInfo::parse(&head.method, head.uri.path(), &query);
        let client = self.authenticate(&head.headers, shown)?;
        let named = info.named_by(&query);
        let act = match &named {
            Some(at) => Act::Resource { verb: info.verb, at },
            None => Act::of(&info),
        };
        if self.allows(&client, &act).is_none() {
            return Err(act.forbidden(&client));
        }
        let pretty = if query.has("pretty") { Some(query.flag("pretty")) } else { None };
        let Some(at) = &info.resource else {
            return self.plain(&head.method, &info.path, &query, &head.headers);
        };
        let Some(of) = self.catalogue.find(&at.group, &at.version, &at.plural) else {
            return Err(self.unknown(at));
        };
        if at.namespace.is_empty() && of.namespaced && (!at.name.is_empty() || info.verb == "create") {
            return Err(ApiError::no_such_resource());
        }
        offers(&of, at, &head.method, info.verb)?;
        let accept = match at.subresource.as_str() {
            "log" | "proxy" => Accept::parse(&HeaderMap::new(), pretty)?,
            _ => Accept::parse(&head.headers, pretty)?,
        };
        let body = match body.take_if(|_| head.method != Method::GET) {
            Some(body) => read_body(body).await?,
            None => Bytes::new(),
        };
        let of_call = Arc::clone(&of);
        let call =
            Call { client: &client, verb: info.verb, of, at, query: &query, headers: &head.headers, accept, body };
        Ok(crate::wire::show::warned(&of_call, self.dispatch(call)?))
    }

    fn dispatch(self: &Arc<Self>, call: Call<'_>) -> Result<Answer, ApiError> {
        crate::server::body::check_options(&call)?;
        if !call.of.stored() {
            return self.review(&call);
        }
        match (call.at.subresource.as_str(), call.verb) {
            ("", "get") => self.get(&call),
            ("", "list") => self.list(&call),
            ("", "watch") => self.watch(&call),
            ("", "create") => self.create(&call),
            ("" | "status" | "finalize" | "resize" | "ephemeralcontainers" | "approval", "update") => {
                self.update(&call)
            }
            ("" | "status" | "resize" | "ephemeralcontainers" | "approval", "patch") => self.patch(&call),
            ("", "delete") => self.delete(&call),
            ("", "deletecollection") => self.delete_collection(&call),
            ("status" | "resize" | "ephemeralcontainers" | "approval", "get") => self.get(&call),
            (name, _) => self.subresource(&call, name),
        }
    }

    /// Returns the error for a type that is not served.
    fn unknown(&self, at: &ResourcePath) -> ApiError {
        if self.catalogue.serves(&at.group, &at.version) {
            return ApiError::no_such_resource();
        }
        ApiError::no_page()
    }
}

/// Fails with 405 for a verb that the type or subresource does not have.
fn offers(of: &Type, at: &ResourcePath, method: &Method, verb: &str) -> Result<(), ApiError> {
    let verbs = if at.subresource.is_empty() {
        &of.verbs
    } else {
        &of.subresource(&at.subresource).ok_or_else(ApiError::no_such_resource)?.verbs
    };
    // A create has no name in its path, unless it creates a subresource.
    let misplaced = match *method {
        Method::HEAD => true,
        Method::POST => !at.name.is_empty() && at.subresource.is_empty(),
        Method::PUT | Method::PATCH => at.name.is_empty(),
        _ => false,
    };
    if misplaced || !verbs.iter().any(|one| one == verb) {
        return Err(ApiError::method_not_allowed());
    }
    Ok(())
}

/// Reads on to the end of an unwanted body, up to [`BODY_DRAINED`].
async fn discard(mut body: Incoming) {
    let read = async {
        let mut total: u64 = 0;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            total = total.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            if total > BODY_DRAINED {
                break;
            }
        }
    };
    _ = tokio::time::timeout(BODY_TIME, read).await;
}

/// Returns the answer to a HEAD, with the length of the missing body.
fn without_body(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let nothing = http_body_util::Empty::new().map_err(|never: std::convert::Infallible| match never {});
    Response::from_parts(head, nothing.boxed_unsync())
}

/// Reads the whole body. Fails if it is too large or too slow.
async fn read_body(mut body: Incoming) -> Result<Bytes, ApiError> {
    let read = async {
        let mut whole = BytesMut::new();
        let mut total: u64 = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| ApiError::bad_request("the body of the request broke off"))?;
            let Ok(data) = frame.into_data() else { continue };
            total = total.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
            // A body that is too large is read on a while, so that a client that is still sending sees the answer.
            if total <= BODY_LIMIT {
                whole.extend_from_slice(&data);
            } else if total > BODY_DRAINED {
                break;
            }
        }
        if total > BODY_LIMIT { Err(too_large()) } else { Ok(whole.freeze()) }
    };
    let late = ApiError::new(408, "Timeout", "the body of the request did not come in time");
    tokio::time::timeout(BODY_TIME, read).await.unwrap_or(Err(late))
}

fn too_large() -> ApiError {
    let message = format!("Request entity too large: limit is {BODY_LIMIT}");
    let mut error = ApiError::new(413, "RequestEntityTooLarge", message);
    error.close = true;
    error
}
