//! One value of a file, read again when it is due.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::CredentialsError;

/// How long a reading is good for, as in client-go: half of what a kubelet leaves between writing a token anew and the
/// end of the old one.
const PERIOD: Duration = Duration::from_mins(1);

/// How long before the end of [`PERIOD`] the file is read again, as in client-go.
const LEEWAY: Duration = Duration::from_secs(10);

/// The last good reading, and when it has to be made again.
pub(super) struct Cached<T: ?Sized> {
    kept: Option<Kept<T>>,
    /// Readings so far. A token carries its number, so that a 401 drops that reading and no later one.
    order: u64,
    /// Whether the newest attempt failed: a run of failures is logged once.
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
    /// The value, read by `read` when it is due. `read` gets the reading's number and the last good value.
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

    /// Has the next user read again; the last good value stays in use should that fail.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some(kept) = self.kept.as_mut() {
            kept.due = now;
        }
    }

    /// Forgets the reading with this number; a later one stays.
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
