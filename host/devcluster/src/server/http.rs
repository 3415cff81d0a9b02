//! The listener: TLS, one task for each connection, and two ends. One breaks all connections; the other delivers all
//! open answers first.

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

/// The longest time of a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The largest number of connections; more wait in the listener's queue. A thousand watches over HTTP/1.1 take one
/// each.
const CONNECTIONS: usize = 4096;

/// The streams of one HTTP/2 connection, so that a thousand watches fit into one.
const STREAMS: u32 = 2000;

/// The time for which a leaving server still answers connected clients: kubectl asks whether an object is gone only
/// after the answer to its deletion.
const LINGER: Duration = Duration::from_secs(2);

/// The longest time for the delivery of the last answers and events.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The longest time that a server takes to leave.
pub(crate) const LEAVE: Duration = LINGER.saturating_add(LAST_WORDS);

/// The phases of a server's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The server accepts connections.
    Serving,
    /// The server answers connected clients for a moment.
    Leaving,
    /// Watches deliver their last events and end; open requests are still answered.
    Ending,
    /// All connections break.
    Broken,
}

impl Phase {
    /// Returns whether streams are to end.
    pub(crate) fn ends_streams(self) -> bool {
        matches!(self, Self::Ending | Self::Broken)
    }
}

/// Accepts connections until the phase changes, then closes all of them in the way of the new phase.
pub(crate) async fn serve(api: Arc<Api>, listener: TcpListener, phase: watch::Sender<Phase>) {
    let listener =
        Listener { api, socket: listener, room: Arc::new(Semaphore::new(CONNECTIONS)), phase: phase.subscribe() };
    let mut connections = JoinSet::new();
    let mut changed = phase.subscribe();
    tokio::select! {
        () = listener.take(&mut connections) => {}
        _ = changed.wait_for(|phase| *phase != Phase::Serving) => {}
    }
    // Copied, because the channel is locked while its value is borrowed.
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
    /// Accepts connections without end.
    async fn take(&self, connections: &mut JoinSet<()>) {
        loop {
            tokio::select! {
                taken = self.accept() => self.start(taken, connections),
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// Accepts connections until there are none left.
    async fn take_while_connected(&self, connections: &mut JoinSet<()>) {
        while !connections.is_empty() {
            tokio::select! {
                taken = self.accept() => self.start(taken, connections),
                _ = connections.join_next() => {}
            }
        }
    }

    /// Returns the next connection, once there is room for it.
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
    // Without a sender there is no server.
    _ = phase.wait_for(|phase| phase.ends_streams()).await;
}
