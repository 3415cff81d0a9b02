//! The open files of a guest.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{InputStream, Pollable, StreamError, StreamResult};

use super::error::ErrorCode;

/// The largest sum of the bytes of one guest's open files, each file counted once. A guest keeps the old files of a
/// changed volume open. Without a bound it could collect all versions. The bound is the size that is kept of one
/// volume, a thousand times what most pods project.
pub const MAX_OPEN_BYTES: usize = crate::volume::MAX_VOLUME;

/// The open files of one guest by the address of their bytes, with the number of their handles and their size.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(Mutex<HashMap<usize, (usize, usize)>>);

impl OpenFiles {
    fn lock(&self) -> MutexGuard<'_, HashMap<usize, (usize, usize)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file, if there is room for it.
    pub(super) fn open(self: &Arc<Self>, data: Bytes) -> Result<Arc<OpenFile>, ErrorCode> {
        let mut held = self.lock();
        let key = data.as_ptr().addr();
        if !held.contains_key(&key) {
            let sum: usize = held.values().map(|(_, length)| length).sum();
            if sum.saturating_add(data.len()) > MAX_OPEN_BYTES {
                return Err(ErrorCode::InsufficientMemory);
            }
        }
        held.entry(key).or_insert((0, data.len())).0 += 1;
        Ok(Arc::new(OpenFile { data, files: Arc::clone(self) }))
    }
}

/// An open file. Its descriptor and its streams share it.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) data: Bytes,
    files: Arc<OpenFiles>,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        let key = self.data.as_ptr().addr();
        let mut held = self.files.lock();
        if let Some((times, _)) = held.get_mut(&key) {
            *times = times.saturating_sub(1);
            if *times == 0 {
                held.remove(&key);
            }
        }
    }
}

/// The most bytes that one read returns, as in wasmtime-wasi.
pub(super) const MAX_READ: usize = 64 << 10;

/// Returns at most `length` bytes of a file, from an offset on.
pub(super) fn slice(data: &Bytes, offset: u64, length: usize) -> Bytes {
    let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
    let end = begin.saturating_add(length).min(data.len());
    data.slice(begin..end)
}

/// A stream over a file. It owns only an offset.
pub(super) struct FileStream {
    file: Arc<OpenFile>,
    offset: u64,
}

impl FileStream {
    pub(super) fn new(file: Arc<OpenFile>, offset: u64) -> Self {
        Self { file, offset }
    }
}

#[async_trait]
impl Pollable for FileStream {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for FileStream {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let read = slice(&self.file.data, self.offset, size.min(MAX_READ));
        if read.is_empty() && size > 0 {
            return Err(StreamError::Closed);
        }
        self.offset = self.offset.saturating_add(read.len() as u64);
        Ok(read)
    }

    fn skip(&mut self, count: usize) -> StreamResult<usize> {
        self.read(count).map(|read| read.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_file_counts_once_however_often_it_is_open_and_no_more_once_it_is_closed() {
        let files = Arc::new(OpenFiles::default());
        let half = || Bytes::from(vec![0; MAX_OPEN_BYTES / 2]);
        let (one, other) = (half(), half());
        let mut open: Vec<_> = (0..10).map(|_| files.open(one.clone()).unwrap()).collect();
        open.push(files.open(other).unwrap());
        assert_eq!(files.open(Bytes::from(vec![0; 1])).unwrap_err(), ErrorCode::InsufficientMemory);
        open.drain(1..10);
        assert!(files.open(Bytes::from(vec![0; 1])).is_err(), "one of ten is still open");
        open.remove(0);
        assert!(files.open(Bytes::from(vec![0; 1])).is_ok());
    }

    #[test]
    fn a_stream_ends_where_the_file_ends() {
        let files = Arc::new(OpenFiles::default());
        let mut stream = FileStream::new(files.open(Bytes::from_static(b"abc")).unwrap(), 1);
        assert_eq!(stream.read(0).unwrap(), "");
        assert_eq!(stream.read(1).unwrap(), "b");
        assert_eq!(stream.skip(usize::MAX).unwrap(), 1);
        assert!(matches!(stream.read(1), Err(StreamError::Closed)));
        assert!(FileStream::new(files.open(Bytes::from_static(b"abc")).unwrap(), u64::MAX).read(1).is_err());
    }
}
