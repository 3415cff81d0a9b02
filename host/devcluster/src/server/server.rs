//! The listener: TLS, one task for a connection, and two ends: one that waits for nobody, and one that pays what it
//! owes.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::model::identity::Identity;
use crate::server::api::Api;

/// How long a client may take to say hello.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connections at a time; more wait in the listener's queue. A thousand watchers over HTTP/1.1 take one each.
const CONNECTIONS: usize = 4096;

/// Streams that one HTTP/2 connection may hold, so that a thousand watches fit into one.
const STREAMS: u32 = 2000;

/// The time for which a leaving server still answers connected clients: kubectl asks whether an object is gone only
/// after the answer to its deletion.
const LINGER: Duration = Duration::from_secs(2);

/// The longest time that the last answers and events may take on their way to the clients.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The longest that a server takes to leave.
pub(crate) const LEAVE: Duration = LINGER.saturating_add(LAST_WORDS);

/// The course of a server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It serves.
    Serving,
    /// It serves those who are connected, for a moment.
    Leaving,
    /// Watches tell what has happened and end; what is asked is still answered.
    Ending,
    /// All connections break off.
    Broken,
}

impl Phase {
    /// Returns whether streams are to end.
    pub(crate) fn ends_streams(self) -> bool {
        matches!(self, Self::Ending | Self::Broken)
    }
}

/// Takes connections until the phase changes; then lets go of all of them, in the way that the phase says.
pub(crate) async fn serve(api: Arc<Api>, listener: TcpListener, phase: watch::Sender<Phase>) {
    let listener =
        Listener { api, socket: listener, room: Arc::new(Semaphore::new(CONNECTIONS)), phase: phase.subscribe() };
    let mut connections = JoinSet::new();
    let mut changed = phase.subscribe();
    tokio::select! {
        () = listener.take(&mut connections) => {}
        _ = changed.wait_for(|phase| *phase != Phase::Serving) => {}
    }
    // Copied: the channel is locked while it is looked at.
    let now = *changed.borrow();
    if now != Phase::Leaving {
        return;
    }
    let linger = tokio::time::sleep(LINGER);
    tokio::select! {
        () = listener.take_while_connected(&mut connections) => {}
        () = linger => {}
        _ = changed.wait_for(|phase| *phase == Phase::Broken) => return,
    }
    drop(listener);
    phase.send_if_modified(|phase| {
        let leaving = *phase == Phase::Leaving;
        if leaving {
            *phase = Phase::Ending;
        }
        leaving
    });
    let all = async { while connections.join_next().await.is_some() {} };
    tokio::select! {
        _ = tokio::time::timeout(LAST_WORDS, all) => {}
        _ = changed.wait_for(|phase| *phase == Phase::Broken) => {}
    }
}

struct Listener {
    api: Arc<Api>,
    socket: TcpListener,
    room: Arc<Semaphore>,
    phase: watch::Receiver<Phase>,
}

impl Listener {
    /// Takes connections for ever.
    async fn take(&self, connections: &mut JoinSet<()>) {
        loop {
            tokio::select! {
                taken = self.accept() => self.start(taken, connections),
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Takes connections until there are none left.
    async fn take_while_connected(&self, connections: &mut JoinSet<()>) {
        while !connections.is_empty() {
            tokio::select! {
                taken = self.accept() => self.start(taken, connections),
                _ = connections.join_next() => {}
            }
        }
    }

    /// The next connection, once there is room for it.
    async fn accept(&self) -> Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
        let place = Arc::clone(&self.room).acquire_owned().await.ok()?;
        let (stream, peer) = self.socket.accept().await.ok()?;
        Some((place, stream, peer))
    }

    fn start(&self, taken: Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)>, connections: &mut JoinSet<()>) {
        let Some((place, stream, peer)) = taken else { return };
        let (api, phase) = (Arc::clone(&self.api), self.phase.clone());
        connections.spawn(async move {
            let _place = place;
            let (mut reset, mut broken) = (api.faults.reset_signal(), phase.clone());
            tokio::select! {
                () = connection(api, stream, peer, phase) => {}
                _ = broken.wait_for(|phase| *phase == Phase::Broken) => {}
                _ = reset.changed() => {}
            }
        });
    }
}

async fn connection(api: Arc<Api>, stream: TcpStream, peer: SocketAddr, phase: watch::Receiver<Phase>) {
    _ = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(api.tls());
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a client's handshake failed"),
        Err(_) => return tracing::debug!(%peer, "a client did not finish its handshake"),
    };
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let shown: Option<Arc<Identity>> = certificate.and_then(|certificate| api.identify(certificate)).map(Arc::new);
    let http2 = session.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let (api, shown) = (Arc::clone(&api), shown.clone());
        async move { api.answer(shown, request).await }
    });
    let io = TokioIo::new(stream);
    let ended = if http2 {
        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
        let mut serving = pin!(server.serve_connection(io, service));
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = ending(phase) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    } else {
        let mut server = hyper::server::conn::http1::Builder::new();
        let mut serving = pin!(server.timer(TokioTimer::new()).serve_connection(io, service));
        tokio::select! {
            ended = serving.as_mut() => ended,
            () = ending(phase) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}

/// Waits until the server ends.
async fn ending(mut phase: watch::Receiver<Phase>) {
    // Without a sender there is no server any more.
    _ = phase.wait_for(|phase| phase.ends_streams()).await;
}
