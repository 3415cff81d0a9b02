//! The cache of discovery: fetched when first needed, checked by `ETag` when stale, fetched again for an unknown name.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::header::ETAG;
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::client::{AnswerBody, Payload};
use super::connect::ApiClient;
use super::discovery::{Discovery, MissingGroup, ResourceInfo};
use super::documents::{self, Root};
use super::error::ClusterError;
use super::groups::{Asking, Part, together};
use super::resolve::ResolveError;
use super::status::ServerStatus;
use super::unavailable::Unavailable;
use crate::gate::Permit;
use crate::policy::ApiRequest;

/// The age at which discovery is checked again. A check costs two small answers (304).
const FRESH: Duration = Duration::from_mins(1);
/// The pause after a fetch for an unknown name. A guest that asks for random names in a loop costs two requests a
/// second.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(1);

/// The root documents, in the order in which their types count: the core group first.
const ROOTS: [&str; 2] = ["/api", "/apis"];

/// The cache of the server's types.
#[derive(Default)]
pub(super) struct Catalogue {
    latest: RwLock<Option<Latest>>,
    /// Locked while the server is asked, so that many callers make one request.
    fetched: Mutex<Fetched>,
    /// The number of late answers of groups so far.
    settled: watch::Sender<u64>,
}

#[derive(Clone)]
struct Latest {
    discovery: Arc<Discovery>,
    checked: Instant,
}

#[derive(Default)]
pub(super) struct Fetched {
    roots: [FetchedRoot; ROOTS.len()],
    /// True if a root is newer than `latest`, because the fetch of the other root failed.
    changed: bool,
    /// The time of the last fetch for an unknown name.
    asked_for_unknown: Option<Instant>,
    failed: Option<Failed>,
}

/// The last failure, which callers that waited meanwhile get as well. Otherwise each of them would wait in turn for a
/// server that hangs.
struct Failed {
    at: Instant,
    why: Unavailable,
}

#[derive(Default)]
struct FetchedRoot {
    etag: Option<HeaderValue>,
    parts: Vec<Part>,
}

impl Catalogue {
    fn latest(&self) -> Option<Latest> {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn checked_since(&self, when: Instant) -> Option<Arc<Discovery>> {
        self.latest().filter(|latest| latest.checked >= when).map(|latest| latest.discovery)
    }

    fn put(&self, discovery: Arc<Discovery>) {
        let latest = Latest { discovery, checked: Instant::now() };
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Some(latest);
    }

    pub(super) fn fetched(&self) -> &Mutex<Fetched> {
        &self.fetched
    }

    pub(super) fn settled(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// Puts the late answer of a group into `latest`, if there is one.
    pub(super) fn renew(&self, fetched: &Fetched) {
        if let Some(latest) = self.latest.write().unwrap_or_else(PoisonError::into_inner).as_mut() {
            latest.discovery = Arc::new(together(fetched.parts()));
        }
        self.settled.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Fetched {
    /// Makes a state of these versions alone.
    pub(super) fn of_parts(parts: Vec<Part>) -> Self {
        Self { roots: [FetchedRoot { etag: None, parts }, FetchedRoot::default()], ..Self::default() }
    }

    pub(super) fn into_parts(self) -> Vec<Part> {
        self.roots.into_iter().flat_map(|root| root.parts).collect()
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> + Clone {
        self.roots.iter().flat_map(|root| &root.parts)
    }

    pub(super) fn parts_mut(&mut self) -> impl Iterator<Item = &mut Part> {
        self.roots.iter_mut().flat_map(|root| &mut root.parts)
    }

    fn failed_since(&self, when: Instant) -> Option<Unavailable> {
        self.failed.as_ref().filter(|failed| failed.at >= when).and_then(|failed| failed.why.again())
    }
}

impl Failed {
    /// Returns the failure that waiting callers get. Refusals come at once and are not shared.
    fn by(error: &ClusterError) -> Option<Self> {
        let ClusterError::Unavailable(why) = error else { return None };
        Some(Self { at: Instant::now(), why: why.again()? })
    }
}

impl ApiClient {
    /// Returns the types that the server serves, at most a minute old.
    ///
    /// # Errors
    /// When the server has to be asked and gives no usable answer.
    pub async fn discovery(&self) -> Result<Arc<Discovery>, ClusterError> {
        let Some(oldest) = Instant::now().checked_sub(FRESH) else { return self.discovery_since(Instant::now()).await };
        match self.catalogue().checked_since(oldest) {
            Some(discovery) => Ok(discovery),
            None => self.discovery_since(oldest).await,
        }
    }

    /// Finds a type as [`Discovery::resolve`] does. For an unknown name the server is asked again, at most once a
    /// second for all callers, so that the type of a new CRD is found.
    ///
    /// # Errors
    /// [`ClusterError::Name`], and as [`ApiClient::discovery`].
    pub async fn resolve(&self, name: &str) -> Result<ResourceInfo, ClusterError> {
        let began = Instant::now();
        let known = self.discovery().await?;
        match known.resolve(name) {
            Err(ResolveError::Unknown { .. }) => {}
            Err(ResolveError::Down { .. }) => return self.resolve_of_silent(name).await,
            found => return Ok(found.cloned()?),
        }
        let newer = self.discovery_for_unknown(began).await?.unwrap_or(known);
        match newer.resolve(name) {
            Err(ResolveError::Down { .. }) => self.resolve_of_silent(name).await,
            // A group that answers late may have the type.
            Err(ResolveError::Unknown { silent, .. }) if !silent.is_empty() => {
                self.hear(|_| true, false).await;
                Ok(self.discovery().await?.resolve(name).cloned()?)
            }
            found => Ok(found.cloned()?),
        }
    }

    /// Finds a type of a group whose types are still unknown.
    async fn resolve_of_silent(&self, name: &str) -> Result<ResourceInfo, ClusterError> {
        self.hear(|missing| missing.is_named_in(name), true).await;
        Ok(self.discovery().await?.resolve(name).cloned()?)
    }

    /// Returns the type with this group, version and plural. For an unknown type the server is asked again as in
    /// [`ApiClient::resolve`].
    ///
    /// # Errors
    /// As [`ApiClient::discovery`].
    pub async fn find(&self, group: &str, version: &str, plural: &str) -> Result<Option<ResourceInfo>, ClusterError> {
        let began = Instant::now();
        let known = self.discovery().await?;
        if let Some(info) = known.find(group, version, plural) {
            return Ok(Some(info.clone()));
        }
        let is_it = |missing: &MissingGroup| missing.group == group && missing.version == version;
        if known.missing().iter().any(is_it) {
            self.hear(is_it, true).await;
            let known = self.discovery().await?;
            return match known.missing().iter().find(|missing| is_it(missing)) {
                Some(missing) => Err(missing.error(plural).into()),
                None => Ok(known.find(group, version, plural).cloned()),
            };
        }
        let newer = self.discovery_for_unknown(began).await?;
        Ok(newer.and_then(|discovery| discovery.find(group, version, plural).cloned()))
    }

    /// Asks the server, unless it was asked since `began`, or within [`UNKNOWN_PAUSE`] for another unknown name.
    async fn discovery_for_unknown(&self, began: Instant) -> Result<Option<Arc<Discovery>>, ClusterError> {
        let mut fetched = self.catalogue().fetched.lock().await;
        if let Some(newer) = self.catalogue().checked_since(began) {
            return Ok(Some(newer));
        }
        let now = Instant::now();
        if fetched.asked_for_unknown.is_some_and(|then| now.saturating_duration_since(then) < UNKNOWN_PAUSE) {
            return Ok(self.catalogue().latest().map(|latest| latest.discovery));
        }
        fetched.asked_for_unknown = Some(now);
        self.fetch_discovery(&mut fetched, began).await.map(Some)
    }

    /// Returns discovery as of `oldest` or later.
    async fn discovery_since(&self, oldest: Instant) -> Result<Arc<Discovery>, ClusterError> {
        let asked = Instant::now();
        let mut fetched = self.catalogue().fetched.lock().await;
        match self.catalogue().checked_since(oldest) {
            Some(discovery) => Ok(discovery),
            None => self.fetch_discovery(&mut fetched, asked).await,
        }
    }

    /// Asks the server, unless that has failed since `asked`.
    async fn fetch_discovery(&self, fetched: &mut Fetched, asked: Instant) -> Result<Arc<Discovery>, ClusterError> {
        if let Some(why) = fetched.failed_since(asked) {
            return Err(why.into());
        }
        let discovery = self.fetch_roots(fetched).await;
        fetched.failed = discovery.as_ref().err().and_then(Failed::by);
        discovery
    }

    async fn fetch_roots(&self, fetched: &mut Fetched) -> Result<Arc<Discovery>, ClusterError> {
        let mut missing = false;
        for (path, root) in ROOTS.into_iter().zip(&mut fetched.roots) {
            match self.fetch_root(path, root).await {
                Ok(None) => {}
                Ok(Some(newer)) => {
                    *root = newer;
                    fetched.changed = true;
                }
                // A server of custom resources alone has no core group. A group that had types still has them.
                Err(error) if !missing && root.parts.is_empty() && is_not_found(&error) => {
                    missing = true;
                }
                Err(error) => return Err(error),
            }
        }
        let discovery = match self.catalogue().latest() {
            Some(latest) if !fetched.changed => latest.discovery,
            _ => Arc::new(together(fetched.parts())),
        };
        self.catalogue().put(Arc::clone(&discovery));
        fetched.changed = false;
        Ok(discovery)
    }

    /// Reads `/api` or `/apis`; `None` if it is unchanged.
    async fn fetch_root(&self, path: &str, known: &FetchedRoot) -> Result<Option<FetchedRoot>, ClusterError> {
        let payload = Payload { accept: Some(HeaderValue::from_static(documents::ACCEPT)), ..Payload::none() };
        let (asked, etag) = (Instant::now(), known.etag.clone());
        let tagged = etag.is_some();
        let (head, body) = self.send_conditional(self.permit(path).await?, payload, etag).await?.into_parts();
        if tagged && head.status == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let bytes = granted(head.status, body, u64::MAX).await?;
        let unreadable = |source| ClusterError::Discovery { path: path.to_owned(), source };
        match Root::read(&bytes).map_err(unreadable)? {
            Root::Whole(types, stale) => {
                let stale = stale.into_iter().map(Part::stale);
                let parts = std::iter::once(Part::whole(types)).chain(stale).collect();
                Ok(Some(FetchedRoot { etag: head.headers.get(ETAG).cloned(), parts }))
            }
            // The tag of this list does not cover the types of the versions in it.
            Root::Plain(versions) => {
                let parts = self.fetch_parts(Asking::of(versions, &known.parts), asked.elapsed()).await?;
                Ok(Some(FetchedRoot { etag: None, parts }))
            }
        }
    }

    pub(super) async fn permit(&self, path: &str) -> Result<Permit, ClusterError> {
        let request = ApiRequest::parse(&Method::GET, path).map_err(ClusterError::Request)?;
        self.admitted(self.host(), request).await
    }
}

fn is_not_found(error: &ClusterError) -> bool {
    matches!(error, ClusterError::Refused(status) if status.code == StatusCode::NOT_FOUND.as_u16())
}

/// Returns the body of a 2xx answer, of at most `most` bytes.
pub(super) async fn granted(status: StatusCode, body: AnswerBody, most: u64) -> Result<bytes::Bytes, ClusterError> {
    let bytes = body.within(most).collected().await?;
    if status.is_success() {
        return Ok(bytes);
    }
    Err(ClusterError::Refused(Box::new(ServerStatus::read(status, bytes))))
}
