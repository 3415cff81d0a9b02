//! One value, read again from its files.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::CredentialsError;
use super::cached::Cached;

/// A function that reads a value. It gets the number of the read and the last good value.
type Read<T> = Box<dyn Fn(u64, Option<&Arc<T>>) -> Result<Arc<T>, CredentialsError> + Send + Sync>;

/// The files of a value, and the last good value.
pub(super) struct Source<T: ?Sized> {
    cached: Mutex<Cached<T>>,
    read: Read<T>,
    files: Vec<PathBuf>,
}

impl<T: ?Sized> Source<T> {
    /// Makes the source of a value from these files, or from none if the value was given.
    pub(super) fn of(
        files: Vec<PathBuf>,
        read: impl Fn(u64, Option<&Arc<T>>) -> Result<Arc<T>, CredentialsError> + Send + Sync + 'static,
    ) -> Self {
        Self { cached: Mutex::default(), read: Box::new(read), files }
    }

    /// Returns the value, read again when it is due.
    pub(super) fn get(&self, now: Instant) -> Result<Arc<T>, CredentialsError> {
        self.lock().get(now, &self.read)
    }

    /// Makes the next use read the files again.
    pub(super) fn expire(&self, now: Instant) {
        self.lock().expire(now);
    }

    /// Drops the value of the read with this number.
    pub(super) fn drop_order(&self, order: u64) {
        self.lock().drop_order(order);
    }

    /// Returns the files.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Locks the cache. A panic leaves it whole, so poison is ignored.
    fn lock(&self) -> MutexGuard<'_, Cached<T>> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
