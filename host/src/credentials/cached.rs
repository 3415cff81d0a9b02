//! One cached value of a file, read again when it is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::CredentialsError;

/// The time for which a value is good, as in client-go. A kubelet writes a new token long before the old one expires.
const PERIOD: Duration = Duration::from_mins(1);

/// The time before the end of [`PERIOD`] at which the file is read again, as in client-go.
const LEEWAY: Duration = Duration::from_secs(10);

/// The last good value, and the time at which it has to be read again.
pub(super) struct Cached<T: ?Sized> {
    kept: Option<Kept<T>>,
    /// The number of reads. A token has the number of its read, so that a 401 drops this token and no later one.
    order: u64,
    /// True if the latest read failed: a run of failures is logged once.
    failing: bool,
}

struct Kept<T: ?Sized> {
    value: Arc<T>,
    order: u64,
    due: Instant,
}

impl<T: ?Sized> Default for Cached<T> {
    fn default() -> Self {
        Self { kept: None, order: 0, failing: false }
    }
}

impl<T: ?Sized> Cached<T> {
    /// Returns the value, read by `read` when it is due. `read` gets the number of the read and the last good value.
    pub(super) fn get(
        &mut self,
        now: Instant,
        read: impl FnOnce(u64, Option<&Arc<T>>) -> Result<Arc<T>, CredentialsError>,
    ) -> Result<Arc<T>, CredentialsError> {
        if let Some(kept) = self.kept.as_ref().filter(|kept| now < kept.due) {
            return Ok(Arc::clone(&kept.value));
        }
        self.order = self.order.saturating_add(1);
        match read(self.order, self.kept.as_ref().map(|kept| &kept.value)) {
            Ok(value) => {
                self.keep(&value, now);
                Ok(value)
            }
            Err(error) => self.last_good(error),
        }
    }

    /// Makes the next use read again. If that fails, the last good value stays in use.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some(kept) = self.kept.as_mut() {
            kept.due = now;
        }
    }

    /// Drops the value of the read with this number. A later value stays.
    pub(super) fn drop_order(&mut self, order: u64) {
        if self.kept.as_ref().is_some_and(|kept| kept.order == order) {
            self.kept = None;
        }
    }

    fn keep(&mut self, value: &Arc<T>, now: Instant) {
        self.failing = false;
        self.kept = Some(Kept {
            value: Arc::clone(value),
            order: self.order,
            due: now.checked_add(PERIOD.saturating_sub(LEEWAY)).unwrap_or(now),
        });
    }

    fn last_good(&mut self, error: CredentialsError) -> Result<Arc<T>, CredentialsError> {
        let Some(kept) = &self.kept else {
            return Err(error);
        };
        if !self.failing {
            tracing::warn!(%error, "the last good reading stays in use");
        }
        self.failing = true;
        Ok(Arc::clone(&kept.value))
    }
}
