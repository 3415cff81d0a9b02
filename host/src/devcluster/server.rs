//! The listener: TLS, one task for a connection, and an end that waits for nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use super::api::Api;
use super::identity::Identity;

/// How long a client may take to say hello.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connections at a time; more wait in the listener's queue. A thousand watchers over HTTP/1.1 take one each.
const CONNECTIONS: usize = 4096;

/// Streams that one HTTP/2 connection may hold, so that a thousand watches fit into one.
const STREAMS: u32 = 2000;

/// Takes connections until `stop` says so; then lets go of all of them.
pub(crate) async fn serve(api: Arc<Api>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let Ok((stream, peer)) = accepted else { continue };
        let (api, mut stop) = (Arc::clone(&api), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            let mut reset = api.faults.reset_signal();
            tokio::select! {
                () = connection(api, stream, peer) => {}
                _ = stop.wait_for(|stop| *stop) => {}
                _ = reset.changed() => {}
            }
        });
    }
}

async fn connection(api: Arc<Api>, stream: TcpStream, peer: SocketAddr) {
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
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .serve_connection(io, service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new().timer(TokioTimer::new()).serve_connection(io, service).await
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}
