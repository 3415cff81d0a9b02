//! A reader's place in the changes of one view.

use std::sync::Arc;

use tokio::sync::watch;

use super::error::PodInfoError;
use super::record::Record;
use super::view::{Snapshot, State, View};

/// Changes of labels and annotations, newest only: a slow reader misses snapshots in between, never the last one. A
/// reader needs a few words of memory, however many changes it has not read.
#[derive(Debug)]
pub struct Changes {
    receiver: watch::Receiver<State>,
    /// Holds the sender.
    _view: Arc<View>,
    /// Keeps the volume followed.
    _record: Arc<Record>,
}

impl Changes {
    pub(super) fn new(record: Arc<Record>, view: Arc<View>) -> Self {
        Self { receiver: view.subscribe(), _view: view, _record: record }
    }

    /// Returns the newest snapshot, if this reader has not had it yet; the first call returns the current one. Never
    /// blocks.
    ///
    /// After an error the next good snapshot is returned even if it equals the one before the error.
    ///
    /// # Errors
    /// When the newest reading failed; once for each failure.
    #[expect(clippy::should_implement_trait, reason = "it gives none now and something later, which no iterator does")]
    pub fn next(&mut self) -> Result<Option<Arc<Snapshot>>, PodInfoError> {
        if !self.is_ready() {
            return Ok(None);
        }
        self.receiver.borrow_and_update().snapshot().map(Some)
    }

    /// Returns whether [`Changes::next`] would return a snapshot or an error.
    pub fn is_ready(&self) -> bool {
        self.receiver.has_changed().unwrap_or(false)
    }

    /// Waits until [`Changes::next`] would return a snapshot or an error. Returns at once if it already would. Dropping
    /// the future loses nothing.
    pub async fn changed(&mut self) {
        match self.receiver.changed().await {
            Ok(()) => self.receiver.mark_changed(),
            // Not reached: this reader holds the sender. To wait is then the right answer, for nothing will change.
            Err(_) => std::future::pending().await,
        }
    }
}
