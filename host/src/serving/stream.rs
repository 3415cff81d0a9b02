//! The bytes of a connection: TCP or a Unix socket, with or without TLS.

use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

/// An accepted connection.
pub(super) type Socket = Either<TcpStream, UnixStream>;

/// A connection on which HTTP is spoken.
pub(super) type Stream = Either<Socket, Box<TlsStream<Socket>>>;
