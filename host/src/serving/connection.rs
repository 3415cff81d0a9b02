//! One connection: TLS, the choice of protocol, and the facts that a handler may ask for.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::Poll;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use tokio::io::AsyncReadExt;
use tokio::net::unix::UCred;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::heads::{Head, Heads};
use super::linger::Lingering;
use super::listen::Protocols;
use super::stream::{Socket, Stream};
use super::tls::{self, Tls};
use super::{BoxError, HEAD_WITHIN, IDLE, http1, http2};
use crate::telemetry::{Sampled, chain};

/// The bytes with which a client of HTTP/2 begins.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The log lines about connections that ended early, throttled.
static ENDED_EARLY: LazyLock<Sampled> = LazyLock::new(Sampled::lines);

/// The client's end of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Peer {
    /// The address of a TCP client.
    Tcp(SocketAddr),
    /// The process that connected to a Unix socket, where the system names it.
    Unix(Option<UCred>),
}

/// The connection by which a request came. A handler finds it in the extensions of each request.
///
/// ```
/// # use attache::serving::Connection;
/// # use http::Request;
/// /// Returns the server name that the client asked for in TLS.
/// fn server_name<B>(request: &Request<B>) -> Option<&str> {
///     request.extensions().get::<Connection>()?.server_name()
/// }
/// ```
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

/// A future that runs when HTTP is over.
type After = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Inner {
    peer: Peer,
    listener: Arc<str>,
    tls: bool,
    server_name: Option<String>,
    stopping: CancellationToken,
    after: Mutex<Option<After>>,
}

impl Connection {
    /// Returns the client's end.
    pub fn peer(&self) -> &Peer {
        &self.0.peer
    }

    /// Returns the listener's address and port, or the path of its socket, as [`Listener`](super::Listener) displays
    /// it.
    pub fn listener(&self) -> &str {
        &self.0.listener
    }

    /// Returns whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.tls
    }

    /// Returns the server name that the client sent in TLS (SNI).
    pub fn server_name(&self) -> Option<&str> {
        self.0.server_name.as_deref()
    }

    /// Returns a token that is cancelled when the server stops. Bodies without an end of their own should end then.
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Runs `future` in the connection's task once HTTP/1.1 is over on it, as after a 101. The connection counts as
    /// open until the future ends, and the server cuts the future after its grace. A second call replaces the first.
    pub fn after_http(&self, future: impl Future<Output = ()> + Send + 'static) {
        *self.0.after.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(future));
    }

    fn take_after(&self) -> Option<After> {
        self.0.after.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { peer, listener, server_name, .. } = &*self.0;
        let mut shown = f.debug_struct("Connection");
        shown.field("peer", peer).field("listener", listener).field("server_name", server_name).finish_non_exhaustive()
    }
}

/// The state that all connections of one listener share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) name: Arc<str>,
    pub(super) protocols: Protocols,
    pub(super) heads: Arc<Heads>,
    /// The room for requests of HTTP/2.
    pub(super) streams: Arc<Semaphore>,
    pub(super) stopping: CancellationToken,
}

/// Serves one connection until it is over.
pub(super) async fn serve<S, B>(socket: Socket, peer: Peer, shared: Shared, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let head = Head::first(Arc::clone(&shared.heads));
    let opened = tokio::select! {
        opened = open(socket, &shared.protocols) => opened,
        () = must_close(&head) => return,
        () = shared.stopping.cancelled() => return,
    };
    let Opened { stream, ahead, http2, server_name } = match opened {
        Ok(opened) => opened,
        Err(error) => return log_early_end(&error),
    };
    let facts = Inner {
        peer,
        listener: Arc::clone(&shared.name),
        tls: matches!(stream, Either::Right(_)),
        server_name,
        stopping: shared.stopping.clone(),
        after: Mutex::new(None),
    };
    let connection = Connection(Arc::new(facts));
    let stream = Lingering::new(stream, ahead, shared.stopping.clone());
    let ended = if http2 {
        http2::serve(stream, head, connection.clone(), Arc::clone(&shared.streams), service).await
    } else {
        http1::serve(stream, head, connection.clone(), service).await
    };
    if let Err(error) = ended {
        log_early_end(&error);
    }
    if let Some(after) = connection.take_after() {
        after.await;
    }
}

fn log_early_end(error: &(dyn std::error::Error + 'static)) {
    if let Some(untold) = ENDED_EARLY.note() {
        tracing::debug!(error = %chain(error), untold, "a local connection ended early");
    }
}

/// Returns when the connection has to go, to make room for another.
async fn must_close(head: &Head) {
    let closed = |cx: &mut std::task::Context<'_>| match head.waits() {
        Some((ticket, _)) if head.poll_waits(ticket, cx.waker()) == Poll::Ready(false) => Poll::Ready(()),
        _ => Poll::Pending,
    };
    poll_fn(closed).await;
}

/// A connection whose protocol is known.
struct Opened {
    stream: Stream,
    /// The bytes that were read to know the protocol.
    ahead: Bytes,
    http2: bool,
    server_name: Option<String>,
}

async fn open(mut socket: Socket, protocols: &Protocols) -> io::Result<Opened> {
    if let Some(tls) = &protocols.tls {
        let stream = handshake(socket, tls, protocols.http2).await?;
        let session = stream.get_ref().1;
        let server_name = session.server_name().map(str::to_owned);
        let http2 = protocols.http2 && session.alpn_protocol() == Some(tls::HTTP2);
        return Ok(Opened { stream: Either::Right(Box::new(stream)), ahead: Bytes::new(), http2, server_name });
    }
    let ahead = if protocols.http2 { read_preface(&mut socket).await? } else { Bytes::new() };
    let http2 = ahead.as_ref() == PREFACE;
    Ok(Opened { stream: Either::Left(socket), ahead, http2, server_name: None })
}

async fn handshake(socket: Socket, tls: &Tls, http2: bool) -> io::Result<TlsStream<Socket>> {
    let accepting = TlsAcceptor::from(tls.config(http2)).accept(socket);
    timeout(HEAD_WITHIN, accepting).await.map_err(|_| late("the TLS handshake was not complete in time"))?
}

/// Reads as much as tells HTTP/2 from HTTP/1.1.
async fn read_preface(socket: &mut Socket) -> io::Result<Bytes> {
    let mut bytes = [0; PREFACE.len()];
    let idle = |_| late("no request came in time");
    let mut length = timeout(IDLE, socket.read(&mut bytes)).await.map_err(idle)??;
    let rest = async {
        while let (read, left @ [_, ..]) = bytes.split_at_mut(length)
            && PREFACE.starts_with(read)
        {
            match socket.read(left).await? {
                0 => break,
                more => length = length.saturating_add(more),
            }
        }
        Ok::<_, io::Error>(())
    };
    timeout(HEAD_WITHIN, rest).await.map_err(|_| late("the head of a request did not come in time"))??;
    Ok(Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default()))
}

fn late(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}
