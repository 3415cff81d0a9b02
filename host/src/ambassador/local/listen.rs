//! Where local clients connect.

use std::fmt;
use std::fs::Metadata;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use rustix::process::umask;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A socket that takes connections. A Unix socket's file is removed when it is dropped.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Tcp { listener: TcpListener, keepalive: Duration },
    Unix { listener: UnixListener, path: PathBuf, file: Option<(u64, u64)> },
}

impl Listener {
    /// Listens on a TCP port of an address or a host name; port 0 takes a free one. A `keepalive` other than zero
    /// probes connections that have been silent for that long.
    ///
    /// # Errors
    /// When the name means no address, or the system does not give the port.
    pub async fn tcp(host: &str, port: u16, keepalive: Duration) -> io::Result<Self> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        Ok(Self(Kind::Tcp { listener: TcpListener::bind((bare, port)).await?, keepalive }))
    }

    /// Listens on a Unix socket, whose file gets the permission bits `mode`. A socket at `path` on which nobody
    /// listens, as a process leaves that was killed, is replaced.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another process listens there, or when a file is there that is no socket. Any
    /// other error when the folder cannot be written to, or the socket's owner keeps this process out.
    pub fn unix(path: &Path, mode: u32) -> io::Result<Self> {
        remove_stale(path)?;
        // It is made with its mode: a name that is changed afterwards may be another file's by then.
        let before = umask(rustix::fs::Mode::from_raw_mode(!mode & 0o777));
        let listener = UnixListener::bind(path);
        umask(before);
        let listener = listener?;
        let file = std::fs::symlink_metadata(path).ok().map(identity);
        Ok(Self(Kind::Unix { listener, path: path.to_owned(), file }))
    }

    /// The address, where it is TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Tcp { listener, .. } => listener.local_addr().ok(),
            Kind::Unix { .. } => None,
        }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        match &self.0 {
            Kind::Tcp { listener, keepalive } => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                prepare(&stream, *keepalive)?;
                Poll::Ready(Ok(Stream::Tcp(stream)))
            }
            Kind::Unix { listener, .. } => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                Poll::Ready(Ok(Stream::Unix(stream)))
            }
        }
    }
}

/// Removes the socket at `path` if nobody listens on it.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !std::fs::metadata(path).is_ok_and(|target| target.file_type().is_socket()) {
        return Ok(());
    }
    match knock(path) {
        Err(Errno::CONNREFUSED) => {}
        // The name of a full queue of connections: whoever listens is busy.
        Ok(()) | Err(Errno::AGAIN) => {
            let why = "another process listens on it: end that process first, or choose another socket";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        Err(other) => return Err(other.into()),
    }
    // The socket that was tried is removed, and none that a process has bound since.
    let now = std::fs::symlink_metadata(path).ok().map(identity);
    if now == Some(identity(found)) { std::fs::remove_file(path) } else { Ok(()) }
}

/// Connects to a Unix socket and closes the connection. Never waits.
fn knock(path: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

fn prepare(stream: &TcpStream, keepalive: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if !keepalive.is_zero() {
        sockopt::set_socket_keepalive(stream, true)?;
        // The system counts whole seconds, and not less than one.
        sockopt::set_tcp_keepidle(stream, keepalive.max(Duration::from_secs(1)))?;
    }
    Ok(())
}

/// The next connection of any of these, and of which. They are asked in this order, so begin with another each time.
pub(super) async fn accept<'a, T>(
    listeners: impl Iterator<Item = (&'a Listener, T)> + Clone,
) -> io::Result<(Stream, T)> {
    let any = |cx: &mut Context<'_>| {
        for (listener, of) in listeners.clone() {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted.map(|stream| (stream, of)));
            }
        }
        Poll::Pending
    };
    poll_fn(any).await
}

/// What tells one file from all others on this machine.
fn identity(file: Metadata) -> (u64, u64) {
    (file.dev(), file.ino())
}

impl fmt::Display for Listener {
    /// Address and port, or the path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
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
        let Kind::Unix { path, file, .. } = &self.0 else { return };
        // Whoever listens there by now keeps it.
        if std::fs::symlink_metadata(path).ok().map(identity) == *file {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// One connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Calls the method of whichever stream it is.
macro_rules! either {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Self::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.poll_shutdown(cx))
    }
}
