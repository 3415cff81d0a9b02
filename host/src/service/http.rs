//! The trigger `http`: listeners, and the routing of requests to extensions.
//!
//! Extensions that name the same address share its listener. An extension with the request's host comes before an
//! extension without a host; among those, the longest prefix of the request's path wins. No connection is closed when a
//! new version takes over. A request is answered by the version that was newest when it arrived.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, plain};
use super::pool::Pool;
use super::runner::Prepare;
use super::status::Reporter;
use super::tls::Certificate;
use super::version::{ServiceError, Version};
use crate::policy::{HttpTrigger, Trigger};
use crate::serving::{Listener, Server, from_fn};

/// The interval of TCP keepalive probes to a silent client.
const KEEPALIVE: Duration = Duration::from_mins(1);

/// The longest time that a request in progress may take after its listener stops. The extension's deadline is shorter.
const GRACE: Duration = Duration::from_hours(24);

/// The mode of a Unix socket. Its owner and group may connect, such as containers of a pod that share a group.
const SOCKET_MODE: u32 = 0o660;

/// All listeners and their routes.
#[derive(Clone, Default)]
pub(super) struct Router {
    sites: Arc<Mutex<BTreeMap<String, Site>>>,
}

/// One address with its listener and routes.
struct Site {
    routes: Arc<RwLock<Vec<Route>>>,
    certificate: Option<Certificate>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// The route of one extension on an address.
#[derive(Clone)]
struct Route {
    extension: String,
    host: Option<String>,
    path: String,
    pool: Arc<Pool>,
}

impl Route {
    fn new(version: &Arc<Version>, trigger: &HttpTrigger, reporter: &Reporter, prepare: &Prepare) -> Self {
        Self {
            extension: version.definition.manifest.name.clone(),
            host: trigger.host.clone(),
            path: trigger.path.clone(),
            pool: Arc::new(Pool::new(Arc::clone(version), reporter.clone(), Arc::clone(prepare))),
        }
    }

    /// Returns whether a request with this host and path is for the extension.
    fn takes(&self, host: &str, path: &str) -> bool {
        let of_host = self.host.as_deref().is_none_or(|own| own.eq_ignore_ascii_case(host));
        let prefix = self.path.trim_end_matches('/');
        of_host && path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the rank of the route. The highest rank is tried first: routes with a host, then longer paths.
    fn rank(&self) -> (bool, usize) {
        (self.host.is_some(), self.path.trim_end_matches('/').len())
    }
}

impl Router {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn sites(&self) -> MutexGuard<'_, BTreeMap<String, Site>> {
        self.sites.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Routes requests to a version, in place of the extension's previous version.
    pub(super) async fn route(
        &self,
        version: &Arc<Version>,
        reporter: &Reporter,
        prepare: &Prepare,
    ) -> Result<(), ServiceError> {
        let Trigger::Http(trigger) = &version.definition.manifest.trigger else { return Ok(()) };
        let certificate =
            trigger.tls.as_ref().map(|directory| Certificate::read(&version.definition.folder.join(directory)));
        let certificate = certificate.transpose()?;
        let route = Route::new(version, trigger, reporter, prepare);
        if self.join(&trigger.listen, &route, certificate.as_ref())? {
            return Ok(());
        }
        let listen = trigger.listen.clone();
        let mut listener = listener(&listen).await.map_err(|source| ServiceError::Listen { listen, source })?;
        if let Some(certificate) = &certificate {
            let current = certificate.clone();
            listener = listener.tls(move || current.config());
        }
        self.open(trigger, listener.http2(true), route, certificate);
        Ok(())
    }

    /// Adds a route to an address if its listener is open already. Returns whether it is.
    fn join(&self, listen: &str, route: &Route, certificate: Option<&Certificate>) -> Result<bool, ServiceError> {
        let mut sites = self.sites();
        let Some(site) = sites.get(listen) else { return Ok(false) };
        let listen = listen.to_owned();
        if site.certificate.as_ref().map(Certificate::directory) != certificate.map(Certificate::directory) {
            return Err(ServiceError::OtherCertificate { listen });
        }
        let mut routes = site.routes.write().unwrap_or_else(PoisonError::into_inner);
        let taken = |other: &&Route| {
            other.extension != route.extension
                && other.host == route.host
                && other.rank() == route.rank()
                && other.path.trim_end_matches('/') == route.path.trim_end_matches('/')
        };
        if let Some(other) = routes.iter().find(taken) {
            return Err(ServiceError::Taken { other: other.extension.clone(), path: route.path.clone(), listen });
        }
        routes.retain(|other| other.extension != route.extension);
        routes.push(route.clone());
        routes.sort_by_key(|route| std::cmp::Reverse(route.rank()));
        drop(routes);
        self.forget_elsewhere(&mut sites, &route.extension, &listen);
        Ok(true)
    }

    fn forget_elsewhere(&self, sites: &mut BTreeMap<String, Site>, extension: &str, here: &str) {
        for (_, site) in sites.iter().filter(|(listen, _)| *listen != here) {
            site.routes.write().unwrap_or_else(PoisonError::into_inner).retain(|route| route.extension != extension);
        }
        close_empty(sites, here);
    }

    fn open(&self, trigger: &HttpTrigger, listener: Listener, route: Route, certificate: Option<Certificate>) {
        let extension = route.extension.clone();
        let routes = Arc::new(RwLock::new(vec![route]));
        let stop = CancellationToken::new();
        let served = Arc::clone(&routes);
        let handler = from_fn(move |request: Request<Incoming>| {
            let served = Arc::clone(&served);
            async move { Ok::<_, Infallible>(answer(&served, request).await) }
        });
        let server = Server::new().serve(listener, handler);
        let stopped = stop.clone().cancelled_owned();
        let task = tokio::spawn(async move {
            server.run(stopped, GRACE).await;
        });
        let site = Site { routes, certificate, stop, task };
        let mut sites = self.sites();
        sites.insert(trigger.listen.clone(), site);
        // Only now that the new address is open does the one before end.
        self.forget_elsewhere(&mut sites, &extension, &trigger.listen);
    }

    /// Removes an extension's routes. Requests in progress continue.
    pub(super) fn forget(&self, extension: &str) {
        let mut sites = self.sites();
        self.forget_elsewhere(&mut sites, extension, "");
    }

    /// Stops all listeners, and waits for requests in progress.
    pub(super) async fn drain(&self) {
        let sites = std::mem::take(&mut *self.sites());
        sites.values().for_each(|site| site.stop.cancel());
        let mut tasks = Tasks(sites.into_values().map(|site| site.task).collect());
        for task in &mut tasks.0 {
            let _ = task.await;
        }
    }
}

/// The servers of addresses that close. A drop before their end cuts the requests that are still in progress.
struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// Closes addresses without routes, except `here`.
fn close_empty(sites: &mut BTreeMap<String, Site>, here: &str) {
    sites.retain(|listen, site| {
        let empty = site.routes.read().unwrap_or_else(PoisonError::into_inner).is_empty();
        if empty && listen != here {
            site.stop.cancel();
        }
        !empty || listen == here
    });
}

async fn listener(listen: &str) -> io::Result<Listener> {
    if let Some(path) = listen.strip_prefix("unix:") {
        return Listener::unix(Path::new(path), SOCKET_MODE);
    }
    let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "an address is HOST:PORT, [IPV6]:PORT or unix:PATH");
    let (host, port) = listen.rsplit_once(':').ok_or_else(invalid)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Listener::tcp(host, port.parse().map_err(|_| invalid())?, KEEPALIVE).await
}

async fn answer(routes: &RwLock<Vec<Route>>, request: Request<Incoming>) -> Response<Answer> {
    let host = request.uri().authority().map(|authority| authority.host().to_owned()).or_else(|| {
        let host = request.headers().get(header::HOST)?.to_str().ok()?;
        Some(host.parse::<http::uri::Authority>().ok()?.host().to_owned())
    });
    let found = {
        let routes = routes.read().unwrap_or_else(PoisonError::into_inner);
        let host = host.unwrap_or_default();
        routes.iter().find(|route| route.takes(&host, request.uri().path())).map(|route| Arc::clone(&route.pool))
    };
    match found {
        Some(pool) => super::answer::answer(pool, request).await,
        None => plain(StatusCode::NOT_FOUND, "no extension serves this host and path\n"),
    }
}
