//! One value that is read from files again and again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::CredentialsError;
use super::cached::Cached;

/// Reads a value: gets the reading's number and the last good value.
type Read<T> = Box<dyn Fn(u64, Option<&Arc<T>>) -> Result<Arc<T>, CredentialsError> + Send + Sync>;

/// Where a value comes from, and its last good reading.
pub(super) struct Source<T: ?Sized> {
    cached: Mutex<Cached<T>>,
    read: Read<T>,
    files: Vec<PathBuf>,
}

impl<T: ?Sized> Source<T> {
    /// A value of these files; of none where it was given.
    pub(super) fn of(
        files: Vec<PathBuf>,
        read: impl Fn(u64, Option<&Arc<T>>) -> Result<Arc<T>, CredentialsError> + Send + Sync + 'static,
    ) -> Self {
        Self { cached: Mutex::default(), read: Box::new(read), files }
    }

    /// The value, read again when it is due.
    pub(super) fn get(&self, now: Instant) -> Result<Arc<T>, CredentialsError> {
        self.lock().get(now, &self.read)
    }

    /// Has the next user read the files again.
    pub(super) fn expire(&self, now: Instant) {
        self.lock().expire(now);
    }

    /// Forgets the reading with this number.
    pub(super) fn drop_order(&self, order: u64) {
        self.lock().drop_order(order);
    }

    /// The files that are read.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// A panic elsewhere leaves the cache whole, so the lock's poison means nothing here.
    fn lock(&self) -> MutexGuard<'_, Cached<T>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
