//! Tunnels: a local connection joined to one to the API server, after both have left HTTP.
//!
//! Threat: sessions that are never used and never end. Each direction has one small buffer. After one side has closed
//! its direction, the other one may go on while bytes come. Silence, the grant's deadline and the server's stop end
//! both.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

use crate::ambassador::upgrade::Switched;
use crate::gate::Permit;
use crate::policy::Limit;
use crate::serving::take_over;

/// The buffer of one direction, in bytes: one record of TLS.
const BUFFER: usize = 16 << 10;

/// The longest silence of both sides: the kubelet's limit for a session (`streamingConnectionIdleTimeout`).
const IDLE: Duration = Duration::from_hours(4);

/// The longest silence of both sides after one of them has closed its direction.
const HALF_CLOSED: Duration = Duration::from_mins(1);

/// The longest time for the end of HTTP on both connections after the 101, and for the end of the connections.
const ORDERLY_WITHIN: Duration = Duration::from_secs(5);

/// The reason why the proxy ended a session.
#[derive(Debug, Error)]
enum Ended {
    #[error("neither side has sent anything for {} minutes", .0.as_secs() / 60)]
    Idle(Duration),
    #[error("the connection broke off")]
    BrokenOff(#[from] io::Error),
    #[error("the proxy stops")]
    Stopped,
    #[error("the deadline has passed")]
    Deadline,
}

/// Forwards bytes in both directions until both sides have closed theirs, or until `stop` returns.
pub(super) async fn run(switched: Switched, stop: impl Future<Output = ()>) {
    let Switched { client, server, permit, ends, room } = switched;
    let _room = room;
    let activity = Arc::new(Activity::new());
    let mut record = Record { permit, activity: Arc::clone(&activity) };
    let Some((ahead, client, server)) = opened(client, server).await else { return };
    let mut client = Noted { stream: client, activity: Arc::clone(&activity), side: Side::Client };
    let mut server = Noted { stream: TokioIo::new(server), activity: Arc::clone(&activity), side: Side::Server };
    let ends = async {
        match ends {
            Some(ends) => sleep_until(ends.into()).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        biased;
        () = stop => Err(Ended::Stopped),
        () = ends => Err(Ended::Deadline),
        bound = activity.silence() => Err(Ended::Idle(bound)),
        joined = join(&ahead, &mut client, &mut server) => joined.map_err(Ended::from),
    };
    match ended {
        Err(Ended::Deadline) => record.permit.record_limit(Limit::Deadline),
        Err(why) => record.permit.record_error(&why),
        Ok(()) => return,
    }
    // Each side gets an orderly end, within a bound.
    let told = async { tokio::join!(client.stream.shutdown(), server.stream.shutdown()) };
    let _ = timeout(ORDERLY_WITHIN, told).await;
}

/// Waits until HTTP is over on both connections. Returns them, and the bytes that the client has sent already.
async fn opened(
    client: OnUpgrade,
    server: OnUpgrade,
) -> Option<(Bytes, impl AsyncRead + AsyncWrite + Send + Unpin, Upgraded)> {
    let both = async { tokio::try_join!(client, server) };
    let (client, server) = timeout(ORDERLY_WITHIN, both).await.ok()?.ok()?;
    let (ahead, client) = take_over(client)?;
    Some((ahead, client, server))
}

async fn join(
    ahead: &[u8],
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &mut Noted<impl AsyncRead + AsyncWrite + Unpin>,
) -> io::Result<()> {
    if !ahead.is_empty() {
        server.activity.passed(Side::Client, ahead.len());
        server.write_all(ahead).await?;
    }
    server.flush().await?;
    copy_bidirectional_with_sizes(client, server, BUFFER, BUFFER).await?;
    Ok(())
}

/// The permit of a session. It gets the byte counts at every end of the session.
struct Record {
    permit: Permit,
    activity: Arc<Activity>,
}

impl Drop for Record {
    fn drop(&mut self) {
        self.permit.record_bytes(self.activity.from_server.load(Ordering::Relaxed));
        self.permit.record_sent(self.activity.from_client.load(Ordering::Relaxed));
    }
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

/// The byte counts of a session, and the time of its last byte.
struct Activity {
    began: Instant,
    /// The time of the last byte, in milliseconds since the beginning.
    last: AtomicU64,
    from_client: AtomicU64,
    from_server: AtomicU64,
    half_closed: AtomicBool,
    closing: Notify,
}

impl Activity {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
            from_client: AtomicU64::new(0),
            from_server: AtomicU64::new(0),
            half_closed: AtomicBool::new(false),
            closing: Notify::new(),
        }
    }

    fn passed(&self, from: Side, bytes: usize) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
        let counter = match from {
            Side::Client => &self.from_client,
            Side::Server => &self.from_server,
        };
        counter.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn closed(&self) {
        if !self.half_closed.swap(true, Ordering::AcqRel) {
            self.closing.notify_one();
        }
    }

    /// Returns when both sides have been silent for too long, with the bound that was exceeded.
    async fn silence(&self) -> Duration {
        loop {
            let bound = if self.half_closed.load(Ordering::Acquire) { HALF_CLOSED } else { IDLE };
            let silent_since = self.began + Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = silent_since + bound;
            if Instant::now() >= end {
                return bound;
            }
            tokio::select! {
                () = sleep_until(end) => {}
                () = self.closing.notified() => {}
            }
        }
    }
}

/// One side of a session, whose bytes are counted.
struct Noted<S> {
    stream: S,
    activity: Arc<Activity>,
    side: Side,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = pin!(&mut self.stream).poll_read(cx, buffer);
        if matches!(read, Poll::Ready(Ok(()))) {
            match buffer.filled().len().saturating_sub(before) {
                0 => self.activity.closed(),
                bytes => self.activity.passed(self.side, bytes),
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        pin!(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.stream).poll_shutdown(cx)
    }
}
