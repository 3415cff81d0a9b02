//! A file as the body of an answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

/// The bytes of a file that are read at a time.
const PIECE: usize = 16 << 10;

/// A file that is read as it is sent, up to the announced length.
pub(super) struct FileBody {
    file: File,
    left: u64,
    piece: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl FileBody {
    /// `length` is in bytes. A file that has become shorter ends in an error. `room` is released at the end.
    pub(super) fn new(file: File, length: u64, room: OwnedSemaphorePermit) -> Self {
        Self { file, left: length, piece: Vec::new(), _room: room }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let this = &mut *self;
        this.piece.resize(PIECE.min(usize::try_from(this.left).unwrap_or(PIECE)), 0);
        let mut buffer = ReadBuf::new(&mut this.piece);
        ready!(Pin::new(&mut this.file).poll_read(cx, &mut buffer))?;
        let read = Bytes::copy_from_slice(buffer.filled());
        if read.is_empty() {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.left = this.left.saturating_sub(u64::try_from(read.len()).unwrap_or(u64::MAX));
        Poll::Ready(Some(Ok(Frame::data(read))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
