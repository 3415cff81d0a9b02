//! Listeners on TCP ports and Unix sockets.

use std::fmt;
use std::fs::Metadata;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::process::umask;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_util::either::Either;

use super::connection::Peer;
use super::stream::Socket;
use super::tls::Tls;

/// A socket that accepts connections. The file of a Unix socket is removed when the listener is dropped.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    protocols: Protocols,
}

/// The protocols of a listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Protocols {
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) http2: bool,
}

#[derive(Debug)]
enum Kind {
    Tcp { listener: TcpListener, keepalive: Duration },
    Unix { listener: UnixListener, path: PathBuf, file: Option<(u64, u64)> },
}

impl Listener {
    /// Listens on a TCP port of an address or a host name. Port 0 is any free port. A `keepalive` other than zero
    /// probes connections that have been silent for that long.
    ///
    /// # Errors
    /// Fails if the name has no address, or if the system refuses the port.
    pub async fn tcp(host: &str, port: u16, keepalive: Duration) -> io::Result<Self> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        Ok(Self::of(Kind::Tcp { listener: TcpListener::bind((bare, port)).await?, keepalive }))
    }

    /// Listens on a Unix socket, whose file gets the permission bits `mode`. A stale socket at `path`, as a killed
    /// process leaves it, is replaced.
    ///
    /// # Errors
    /// Fails with [`io::ErrorKind::AddrInUse`] if another process listens there, or if the file there is no socket.
    /// Fails with another error if the folder is not writable, or if the socket's owner does not let this process in.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        remove_stale(path)?;
        // The file is made with its mode. A later change by name may change another process's file.
        let before = umask(rustix::fs::Mode::from_raw_mode(!mode & 0o777));
        let listener = UnixListener::bind(path);
        umask(before);
        let listener = listener?;
        let file = std::fs::symlink_metadata(path).ok().map(identity);
        Ok(Self::of(Kind::Unix { listener, path: path.to_owned(), file }))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, protocols: Protocols::default() }
    }

    /// Speaks TLS, with the configuration that `current` returns when a client connects. So a renewed certificate is
    /// used as soon as `current` returns another `Arc`. `current` must not block.
    ///
    /// The listener sets ALPN itself, by [`Listener::http2`], in place of the configuration's own `alpn_protocols`.
    ///
    /// ```no_run
    /// use attache::serving::Listener;
    /// use rustls::ServerConfig;
    /// use std::sync::{Arc, RwLock};
    ///
    /// # fn f(listener: Listener, config: Arc<ServerConfig>) {
    /// let current = Arc::new(RwLock::new(config));
    /// let listener = listener.tls({
    ///     let current = Arc::clone(&current);
    ///     move || Arc::clone(&current.read().unwrap())
    /// });
    /// # }
    /// ```
    #[must_use]
    pub fn tls(mut self, current: impl Fn() -> Arc<ServerConfig> + Send + Sync + 'static) -> Self {
        self.protocols.tls = Some(Arc::new(Tls::new(current)));
        self
    }

    /// Speaks HTTP/2 too (off by default): with ALPN over TLS, with prior knowledge (h2c) without.
    ///
    /// A fragment in the target of an HTTP/2 request is cut off without [`HadFragment`](super::HadFragment), so a
    /// handler that judges targets must stay with HTTP/1.1.
    #[must_use]
    pub fn http2(mut self, http2: bool) -> Self {
        self.protocols.http2 = http2;
        self
    }

    pub(super) fn protocols(&self) -> &Protocols {
        &self.protocols
    }

    /// Returns the address of a TCP listener.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp { listener, .. } => listener.local_addr().ok(),
            Kind::Unix { .. } => None,
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Socket, Peer)>> {
        match &self.kind {
            Kind::Tcp { listener, keepalive } => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                prepare(&stream, *keepalive)?;
                Poll::Ready(Ok((Either::Left(stream), Peer::Tcp(peer))))
            }
            Kind::Unix { listener, .. } => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                let peer = Peer::Unix(stream.peer_cred().ok());
                Poll::Ready(Ok((Either::Right(stream), peer)))
            }
        }
    }
}

/// Removes the socket at `path` if no process listens on it.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !std::fs::metadata(path).is_ok_and(|target| target.file_type().is_socket()) {
        return Ok(());
    }
    match knock(path) {
        Err(Errno::CONNREFUSED) => {}
        // The error for a full queue of connections: the listening process is busy.
        Ok(()) | Err(Errno::AGAIN) => {
            let why = "another process listens on it: end that process first, or choose another socket";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        Err(other) => return Err(other.into()),
    }
    // Only the socket that was tried is removed. Another process may have bound a new one since.
    let now = std::fs::symlink_metadata(path).ok().map(identity);
    if now == Some(identity(found)) { std::fs::remove_file(path) } else { Ok(()) }
}

/// Connects to a Unix socket and closes the connection, without waiting.
fn knock(path: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

fn prepare(stream: &TcpStream, keepalive: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if !keepalive.is_zero() {
        sockopt::set_socket_keepalive(stream, true)?;
        // The system counts whole seconds, at least one.
        sockopt::set_tcp_keepidle(stream, keepalive.max(Duration::from_secs(1)))?;
    }
    Ok(())
}

/// Accepts the next connection of any of these listeners. The listeners are polled in this order, so the caller begins
/// with another one each time.
pub(super) async fn accept<'a, T>(
    listeners: impl Iterator<Item = (&'a Listener, T)> + Clone,
) -> io::Result<(Socket, Peer, T)> {
    let any = |cx: &mut Context<'_>| {
        for (listener, of) in listeners.clone() {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted.map(|(socket, peer)| (socket, peer, of)));
            }
        }
        Poll::Pending
    };
    poll_fn(any).await
}

/// Returns the identity of a file on this machine.
fn identity(file: Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl fmt::Display for Listener {
    /// Writes address and port, or the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::Tcp { listener, .. } => match listener.local_addr() {
                Ok(address) => write!(f, "{address}"),
                Err(_) => f.write_str("an unknown address"),
            },
            Kind::Unix { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let Kind::Unix { path, file, .. } = &self.kind else { return };
        // Another process that listens there by now keeps the file.
        if std::fs::symlink_metadata(path).ok().map(identity) == *file {
            let _ = std::fs::remove_file(path);
        }
    }
}
