//! HTTP on local sockets: listeners, bounds on clients, and a graceful stop, for any handler.
//!
//! A [`Listener`] accepts connections over TCP or a Unix socket. A [`Server`] joins each listener to a handler, which
//! is a [`tower_service::Service`] or an async closure ([`from_fn`]). Each connection is a task of its own. A handler
//! finds the [`Connection`] of a request in the request's extensions.
//!
//! Threat: clients that are not authenticated yet and hold connections, buffers or half a request. The bounds are:
//!
//! | resource | bound |
//! | --- | --- |
//! | connections | a number for each listener; where it is reached, the connection that has waited longest is closed |
//! | a head that has begun | 10 s, and 96 KiB (HTTP/2: 32 KiB) |
//! | heads that have begun, together | 4 MiB |
//! | a connection without a request | 2 min (HTTP/2: at most 4 min) |
//! | a TLS handshake | 10 s |
//! | requests of one HTTP/2 connection | 100 |
//! | requests of all HTTP/2 connections | the number of connections; beyond it the answer is 503 |
//! | resets of one HTTP/2 connection that are not handled yet | 20, then the connection is closed |
//!
//! Nothing is buffered on the way: a frame of an answer is written as soon as the handler's body yields it. A client
//! that does not read stalls its own answer alone.
//!
//! ```
//! use attache::serving::{Connection, Listener, Server, from_fn};
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use hyper::body::Incoming;
//! use std::convert::Infallible;
//! use std::time::Duration;
//! use tokio_util::sync::CancellationToken;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let greet = from_fn(|request: Request<Incoming>| async move {
//!     let peer = request.extensions().get::<Connection>().map(|connection| connection.peer().clone());
//!     Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("hello, {peer:?}")))))
//! });
//! let listener = Listener::tcp("127.0.0.1", 0, Duration::ZERO).await?.http2(true);
//! let stop = CancellationToken::new();
//! let server = Server::new().serve(listener, greet);
//! let running = tokio::spawn(server.run(stop.clone().cancelled_owned(), Duration::from_secs(10)));
//! // …later: no more connections, and ten seconds for the requests in progress.
//! stop.cancel();
//! assert_eq!(running.await?.cut, 0);
//! # Ok(())
//! # }
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | `listen`, `stream`, `tls` | sockets, the bytes of a connection, the configuration of TLS |
//! | `connection` | one connection: its protocol, and the facts for handlers |
//! | `http1`, `http2` | the two protocols, with their bounds |
//! | `heads`, `counted`, `framing` | HTTP/1.1 read message by message, and the budget of heads |
//! | `linger` | the end of a connection |
//! | `handler` | closures as services, and the bodies of answers |

mod connection;
mod counted;
mod framing;
mod handler;
mod heads;
mod http1;
mod http2;
mod linger;
mod listen;
mod stream;
mod tls;

pub use connection::{Connection, Peer};
pub use framing::HadFragment;
pub use handler::{FromFn, from_fn};
pub use http1::{asks_for_upgrade, take_over};
pub use listen::Listener;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use connection::Shared;
use heads::Heads;
use stream::Socket;

/// The type in which errors of handlers and bodies are boxed.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The default number of connections. Each takes some 20 KiB.
const CONNECTIONS: usize = 1024;

/// The most bytes of all heads together that have begun and are not complete. A head has one or two KiB, so this is
/// more than all well-behaved connections send together. Each counted byte takes up to three in buffers that grow.
const HEAD_BYTES: usize = 4 << 20;

/// The interval at which one waiting connection is closed while there is no room for another.
const CROWDED: Duration = Duration::from_millis(100);

/// The longest time that a connection may be without a request. Go's clients close an idle connection after 90 s. A
/// server that waits longer than its clients never closes a connection on which a request is about to arrive.
const IDLE: Duration = Duration::from_mins(2);

/// The longest time from the first byte of a head to its last, and for a TLS handshake. A client has all of the head
/// before it connects.
const HEAD_WITHIN: Duration = Duration::from_secs(10);

/// The pause after the system could not accept a connection, such as for want of file descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// The result of [`Server::run`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stopped {
    /// The number of connections that were cut because they did not end within the grace.
    pub cut: usize,
}

/// An HTTP server on any number of listeners. The [module](self) has an example.
pub struct Server {
    served: Vec<(Listener, Serve)>,
    connections: usize,
}

/// Serves one connection of a listener.
type Serve = Box<dyn Fn(Socket, Peer, Shared) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl Default for Server {
    fn default() -> Self {
        Self { served: Vec::new(), connections: CONNECTIONS }
    }
}

impl Server {
    /// Returns a server without listeners.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a listener and its handler.
    ///
    /// The handler is cloned for each request. Dropping the server, or a client that closes its connection or resets
    /// its stream, drops the future of the call. Where the handler fails, HTTP/1.1 closes the connection and HTTP/2
    /// resets the stream. The request's extensions hold a [`Connection`], and [`HadFragment`] where the target had a
    /// fragment.
    #[must_use]
    pub fn serve<S, B>(mut self, listener: Listener, service: S) -> Self
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let serve: Serve =
            Box::new(move |socket, peer, shared| Box::pin(connection::serve(socket, peer, shared, service.clone())));
        self.served.push((listener, serve));
        self
    }

    /// Sets the maximum number of connections (1024 by default), of which each listener has an equal share. Further
    /// connections wait in the system's queue.
    ///
    /// A listener without room closes its connections without a request, the one that has waited longest first. A crowd
    /// at one listener never takes room from another.
    #[must_use]
    pub fn connections(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// Returns the listeners.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.served.iter().map(|(listener, _)| listener)
    }

    /// Serves until `stop` returns. Then the listeners are closed, connections without a request are closed,
    /// [`Connection::stopping`] is cancelled, and requests in progress have `grace` to finish. What remains is cut.
    pub async fn run(self, stop: impl Future<Output = ()>, grace: Duration) -> Stopped {
        let stopping = CancellationToken::new();
        let listeners = self.open(&stopping);
        let mut connections = JoinSet::new();
        accept_until(stop, &listeners, &mut connections).await;
        drop(listeners);
        stopping.cancel();
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = timeout(grace, all).await;
        let cut = connections.len();
        connections.shutdown().await;
        Stopped { cut }
    }

    /// Returns the listeners, each with its share of all bounds.
    fn open(self, stopping: &CancellationToken) -> Vec<OpenListener> {
        let number = self.served.len().max(1);
        let share = |of: usize| of.checked_div(number).unwrap_or_default().max(1);
        let connections = share(self.connections);
        let open = |(listener, serve): (Listener, Serve)| {
            let shared = Shared {
                name: listener.to_string().into(),
                protocols: listener.protocols().clone(),
                // The largest head always fits.
                heads: Heads::new(share(HEAD_BYTES).max(http1::MAX_READ_BUFFER)),
                streams: Arc::new(Semaphore::new(connections)),
                stopping: stopping.clone(),
            };
            OpenListener { listener, serve, room: Arc::new(Semaphore::new(connections)), shared }
        };
        self.served.into_iter().map(open).collect()
    }
}

/// A listener, and the room that is left for its connections.
struct OpenListener {
    listener: Listener,
    serve: Serve,
    room: Arc<Semaphore>,
    shared: Shared,
}

impl OpenListener {
    fn is_full(&self) -> bool {
        self.room.available_permits() == 0
    }

    fn start(&self, socket: Socket, peer: Peer, connections: &mut JoinSet<()>) {
        let taken = Arc::clone(&self.room).try_acquire_owned();
        // The next connection has room if any connection only waits.
        if self.is_full() {
            self.shared.heads.close_oldest();
        }
        let connection = (self.serve)(socket, peer, self.shared.clone());
        connections.spawn(async move {
            let _taken = taken;
            connection.await;
        });
    }
}

/// Accepts connections until `stop` returns.
async fn accept_until(stop: impl Future<Output = ()>, listeners: &[OpenListener], connections: &mut JoinSet<()>) {
    let mut crowded = interval(CROWDED);
    crowded.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = pin!(stop);
    let mut first = 0;
    loop {
        let with_room = listeners.iter().filter(|listener| !listener.is_full());
        let (before, from) = (with_room.clone().take(first), with_room.skip(first));
        let open = from.chain(before).map(|listener| (&listener.listener, listener));
        tokio::select! {
            biased;
            () = &mut stop => return,
            Some(_) = connections.join_next() => {}
            _ = crowded.tick(), if listeners.iter().any(OpenListener::is_full) => {
                listeners.iter().filter(|listener| listener.is_full()).for_each(|listener| listener.shared.heads.close_oldest());
            }
            accepted = listen::accept(open) => match accepted {
                Ok((socket, peer, listener)) => {
                    first = (first + 1) % listeners.len().max(1);
                    listener.start(socket, peer, connections);
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    sleep(BREATH).await;
                }
            },
        }
    }
}
