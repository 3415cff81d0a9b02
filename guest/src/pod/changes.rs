//! Followers of the pod's labels and annotations.

use std::time::Duration;

use super::{Error, Snapshot};
use crate::bindings::attache::pod::metadata as wit;
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::io::poll::{self, Pollable};

/// Starts to follow the pod's labels and annotations.
///
/// The first snapshot is the current one, so no change is lost between a [`snapshot`](super::snapshot) and this call.
///
/// ```no_run
/// use attache_guest::pod;
///
/// # fn main() -> Result<(), pod::Error> {
/// for snapshot in pod::follow() {
///     let snapshot = snapshot?;
///     println!("log level: {}", snapshot.annotation("log-level").unwrap_or("info"));
/// }
/// # Ok(())
/// # }
/// ```
pub fn follow() -> Changes {
    let changes = wit::follow();
    let ready = changes.subscribe();
    Changes { ready, changes }
}

/// A follower of the pod's labels and annotations, which returns only the newest snapshot; made by [`follow`].
///
/// A slow reader misses intermediate snapshots, and never the last one. The iterator never ends: `next` blocks in the
/// host, without using CPU, until there is a new snapshot. Each failed update is returned once as an error. After an
/// error, the follower can be used as before.
#[derive(Debug)]
pub struct Changes {
    // Declared, and so dropped, before the resource that it is a child of: the host traps on the other order.
    ready: Pollable,
    changes: wit::Changes,
}

impl Changes {
    /// Returns the newest snapshot if this follower has not returned it yet, or else `None`. Never blocks.
    ///
    /// # Errors
    ///
    /// Fails if the newest update of the projected files could not be read.
    pub fn newest(&self) -> Result<Option<Snapshot>, Error> {
        Ok(self.changes.next()?.map(Snapshot::from))
    }

    /// Waits for a new snapshot, for at most `patience`. Returns `None` if there was none in that time.
    ///
    /// # Errors
    ///
    /// Fails if an update of the projected files could not be read.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # use attache_guest::pod;
    /// # fn main() -> Result<(), pod::Error> {
    /// let changes = pod::follow();
    /// loop {
    ///     if let Some(snapshot) = changes.newest_within(Duration::from_secs(30))? {
    ///         println!("{} labels", snapshot.labels.len());
    ///     }
    ///     println!("still here");
    /// }
    /// # }
    /// ```
    pub fn newest_within(&self, patience: Duration) -> Result<Option<Snapshot>, Error> {
        let nanoseconds = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        let deadline = monotonic_clock::subscribe_duration(nanoseconds);
        loop {
            if let Some(snapshot) = self.newest()? {
                return Ok(Some(snapshot));
            }
            if deadline.ready() {
                return Ok(None);
            }
            poll::poll(&[&self.ready, &deadline]);
        }
    }
}

impl Iterator for Changes {
    type Item = Result<Snapshot, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(found) = self.newest().transpose() {
                return Some(found);
            }
            self.ready.block();
        }
    }
}
