//! The ambassador for sibling containers: a local socket that speaks plain HTTP/1.1, as `kubectl proxy` does, under
//! grants.
//!
//! A [`Listener`] takes connections, a [`Site`] says what is behind it: an [`Ambassador`](super::Ambassador) for each
//! path prefix. A caller is known by the way it comes: by the socket, which file permissions and mounts keep to one
//! container, or by the prefix, which tells callers apart that do not mean to be taken for each other. Each has the
//! grant, the limits and the records of its own gate.
//!
//! ```no_run
//! use attache::ambassador::Ambassador;
//! use attache::ambassador::local::{Filter, FilterSettings, Listener, LocalServer, Site};
//! # async fn f(ambassador: Ambassador) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//!
//! let site = Site::builder().filter(Filter::new(&FilterSettings::default())?).api("/", ambassador)?.build();
//! let listener = Listener::tcp("127.0.0.1", 8001, Duration::ZERO).await?;
//! let server = LocalServer::new().serve(listener, site);
//! server.run(async { drop(tokio::signal::ctrl_c().await) }, Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing is buffered on the way: a piece of an answer is written as soon as it has come. A client that does not read
//! holds up its own answer and nobody else's.

mod body;
mod counted;
mod file_body;
mod files;
mod filter;
mod framing;
mod heads;
mod linger;
mod listen;
mod page;
mod site;
mod tunnel;

pub use body::{LocalBody, LocalBodyError};
pub use filter::{ACCEPT_HOSTS, ACCEPT_PATHS, Filter, FilterError, FilterSettings, REJECT_METHODS, REJECT_PATHS};
pub use listen::Listener;
pub use site::{Site, SiteBuilder, SiteError};

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::headers;
use super::upgrade::Slot;
use crate::telemetry::{Sampled, chain};
use body::Held;
use counted::Counted;
use framing::HadFragment;
use heads::{Head, Heads};
use linger::Lingering;

/// Of connections that ended early, those that were told of.
static ENDED_EARLY: LazyLock<Sampled> = LazyLock::new(Sampled::lines);

/// How many connections there may be together by default. Each takes some 20 KiB.
const CONNECTIONS: usize = 1024;

/// The most bytes of all heads together that have begun and are not complete. A head has one or two KiB, so this is
/// more than all connections send together that mean no harm; each counted byte takes up to three in buffers that grow.
const HEAD_BYTES: usize = 4 << 20;

/// The most connections together that have left HTTP for another protocol. Each takes some 100 KiB: the buffers of both
/// directions, and those of TLS.
const TUNNELS: usize = 128;

/// How often one waiting connection is closed where there is no room for another.
const CROWDED: Duration = Duration::from_millis(100);

/// How long a connection may be without a request. Go's clients drop an idle connection after 90 s; who closes later
/// than they do never closes on a request that is just coming.
const IDLE: Duration = Duration::from_mins(2);

/// How much is buffered of what a client sends, in bytes: the largest head of a request, with the largest target (63
/// KiB) and all headers (32 KiB).
const MAX_READ_BUFFER: usize = 96 << 10;

/// The pause after the system had no connection to give, such as for want of file descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// Tells streams to end. Clones hear the same call.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// One that is never called, for a [`Site`] without a server of ours.
    pub fn never() -> Self {
        Self(watch::channel(false).1)
    }

    fn is_called(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns when it is called; not at all, when nobody can call it any more.
    async fn called(mut self) {
        if self.0.wait_for(|called| *called).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// How a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopped {
    /// Connections that were cut because they did not end in time.
    pub cut: usize,
}

/// Serves sites on sockets.
pub struct LocalServer {
    places: Vec<(Listener, Site)>,
    connections: usize,
}

impl Default for LocalServer {
    fn default() -> Self {
        Self { places: Vec::new(), connections: CONNECTIONS }
    }
}

impl LocalServer {
    /// A server without sockets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Serves a site on one more socket.
    #[must_use]
    pub fn serve(mut self, listener: Listener, site: Site) -> Self {
        self.places.push((listener, site));
        self
    }

    /// Takes so many connections at most (1024 by default), each socket an equal share; more wait in the system's
    /// queue. Where a socket has no room left, its connections without a request are closed, beginning with the one
    /// that has waited longest. A crowd at one socket never takes room from another.
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// The sockets.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.places.iter().map(|(listener, _)| listener)
    }

    /// Serves until `stop` returns. Then no more connections are taken, idle ones are closed, streams without an end
    /// are ended, and requests under way get `grace` to finish.
    pub async fn run(self, stop: impl Future<Output = ()>, grace: Duration) -> Stopped {
        let (stopping, stopped) = watch::channel(false);
        let places = self.into_places(Stop(stopped));
        let mut connections = JoinSet::new();
        let mut crowded = interval(CROWDED);
        crowded.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = pin!(stop);
        let mut first = 0;
        loop {
            let with_room = places.iter().filter(|place| !place.is_full());
            let (before, from) = (with_room.clone().take(first), with_room.skip(first));
            let open = from.chain(before).map(|place| (&place.listener, place));
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = connections.join_next() => {}
                _ = crowded.tick(), if places.iter().any(Place::is_full) => {
                    places.iter().filter(|place| place.is_full()).for_each(|place| place.served.heads.close_oldest());
                }
                accepted = listen::accept(open) => match accepted {
                    Ok((stream, place)) => {
                        first = (first + 1) % places.len().max(1);
                        let (taken, served) = (Arc::clone(&place.room).try_acquire_owned(), place.served.clone());
                        // There is room for the next one, if anybody only waits.
                        if place.is_full() {
                            place.served.heads.close_oldest();
                        }
                        connections.spawn(async move {
                            let _taken = taken;
                            connection(stream, served).await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot take a connection");
                        sleep(BREATH).await;
                    }
                },
            }
        }
        drop(places);
        let _ = stopping.send(true);
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(grace, all).await;
        let cut = connections.len();
        connections.shutdown().await;
        Stopped { cut }
    }

    /// The sockets, each with its share of what there is.
    fn into_places(self, stop: Stop) -> Vec<Place> {
        let number = self.places.len().max(1);
        let share = |of: usize| of.checked_div(number).unwrap_or_default().max(1);
        let place = |(listener, site)| {
            // The largest head always fits.
            let heads = Heads::new(share(HEAD_BYTES).max(MAX_READ_BUFFER));
            let tunnels = Arc::new(Semaphore::new(share(TUNNELS)));
            let room = Arc::new(Semaphore::new(share(self.connections)));
            Place { listener, room, served: Served { site, heads, tunnels, stop: stop.clone() } }
        };
        self.places.into_iter().map(place).collect()
    }
}

/// A socket, and the room that is left for its connections.
struct Place {
    listener: Listener,
    room: Arc<Semaphore>,
    served: Served,
}

impl Place {
    fn is_full(&self) -> bool {
        self.room.available_permits() == 0
    }
}

/// What the connections of one socket share.
#[derive(Clone)]
struct Served {
    site: Site,
    heads: Arc<Heads>,
    tunnels: Arc<Semaphore>,
    stop: Stop,
}

async fn connection(stream: listen::Stream, served: Served) {
    let (stop, slot) = (served.stop.clone(), Slot::new(Arc::clone(&served.tunnels)));
    http(stream, served, slot.clone()).await;
    if let Some(switched) = slot.take() {
        tunnel::run(switched, stop.called()).await;
    }
}

/// Serves HTTP until the connection is over, or has changed to the protocol in the slot.
async fn http(stream: listen::Stream, served: Served, slot: Slot) {
    let stop = served.stop.clone();
    let head = Head::first(Arc::clone(&served.heads));
    let stream = Counted::new(Lingering::new(stream, stop.clone()), head.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let length = request.body().size_hint().exact();
        let (answering, served) = (head.arrived(length), served.clone());
        if answering.had_fragment() {
            request.extensions_mut().insert(HadFragment);
        }
        request.extensions_mut().insert(slot.clone());
        async move {
            let upgrade = headers::ask_for_upgrade(request.headers());
            let mut response = served.site.answer(request, &served.stop).await;
            // What follows may be meant for the other protocol, and is not read as requests. Behind a body of unknown
            // length no request line is known for one.
            if (upgrade || length.is_none()) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| Held::new(body, answering)))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(MAX_READ_BUFFER).title_case_headers(true);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.called() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended
        && let Some(untold) = ENDED_EARLY.note()
    {
        tracing::debug!(error = %chain(&error), untold, "a local connection ended early");
    }
}

/// An answer that is only its status, as Go's `http.Error` writes it.
fn plain(status: StatusCode) -> Response<LocalBody> {
    explained(status, status.canonical_reason().unwrap_or_default())
}

/// An answer that is its status and a line of text.
fn explained(status: StatusCode, why: &str) -> Response<LocalBody> {
    let mut response = Response::new(LocalBody::text(format!("{why}\n")));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// An answer that sends its asker to another path of the same site, as Go's `ServeMux` and `FileServer` do.
fn moved(to: &str) -> Response<LocalBody> {
    let Ok(location) = HeaderValue::try_from(to) else { return plain(StatusCode::NOT_FOUND) };
    let mut response = plain(StatusCode::MOVED_PERMANENTLY);
    response.headers_mut().insert(LOCATION, location);
    response
}
