//! Following the pod's labels and annotations.

use std::time::Duration;

use super::{Error, Snapshot};
use crate::bindings::attache::pod::metadata as wit;
use crate::bindings::wasi::clocks::monotonic_clock;
use crate::bindings::wasi::io::poll::{self, Pollable};

/// Starts to follow the pod's labels and annotations.
///
/// The first snapshot is the current one, so nothing is lost between a [`snapshot`](super::snapshot) and this call.
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

/// Changes of labels and annotations, newest only: a slow reader misses snapshots in between, never the last one.
///
/// As an iterator it has no end: `next` blocks in the host, at no cost, until there is a new snapshot. An error is
/// handed over once for each failed reading; going on afterwards is allowed.
#[derive(Debug)]
pub struct Changes {
    // Declared, and so dropped, before the resource that it is a child of: the host traps on the other order.
    ready: Pollable,
    changes: wit::Changes,
}

impl Changes {
    /// Returns the newest snapshot that was not seen here yet, or `None`; never blocks.
    ///
    /// # Errors
    ///
    /// The newest reading of the projected files failed.
    pub fn newest(&self) -> Result<Option<Snapshot>, Error> {
        Ok(self.changes.next()?.map(Snapshot::from))
    }

    /// Waits for a snapshot that was not seen here yet, for `patience` at most; `None` when there was none.
    ///
    /// # Errors
    ///
    /// A reading of the projected files failed.
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
