//! What extensions were denied last, and how many of their requests were allowed and denied.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::telemetry::{Audit, AuditRecord, Channel, Decision, LimitRecord};

/// The denials that are kept of each extension.
const KEPT: usize = 8;

/// The extensions whose decisions are kept. More are counted nowhere but in the audit.
const MAX_EXTENSIONS: usize = 20_000;

/// One request that was denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Denial {
    /// When.
    pub at: Timestamp,
    /// The verb and the path, or the destination.
    pub request: String,
    /// Why, with the rule that would allow it.
    pub reason: String,
}

/// The decisions on one extension's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Decided {
    /// Requests that were allowed.
    pub allowed: u64,
    /// Requests that were refused: by the grant, by a rate, or because they were not understood.
    pub denied: u64,
    /// The last denials by the grant, the newest first; eight at most.
    pub denials: VecDeque<Denial>,
}

/// Counts decisions and keeps the last denials, and passes each record on.
///
/// ```
/// use attache::extension::Runtime;
/// use attache::service::Decisions;
/// use attache::telemetry::NoAudit;
/// use std::sync::Arc;
///
/// let decisions = Arc::new(Decisions::new(Arc::new(NoAudit)));
/// let runtime = Runtime::builder().audit(decisions.clone());
/// assert_eq!(decisions.of("config-sync").denied, 0);
/// ```
pub struct Decisions {
    next: Arc<dyn Audit>,
    decided: Mutex<BTreeMap<String, Decided>>,
}

impl std::fmt::Debug for Decisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decisions").finish_non_exhaustive()
    }
}

impl Decisions {
    /// Counts, and passes each record on to `next`.
    pub fn new(next: Arc<dyn Audit>) -> Self {
        Self { next, decided: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Decided>> {
        self.decided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the decisions on one extension's requests.
    pub fn of(&self, extension: &str) -> Decided {
        self.lock().get(extension).cloned().unwrap_or_default()
    }

    fn keep(&self, line: &AuditRecord<'_>) {
        let mut all = self.lock();
        if !all.contains_key(line.extension) {
            if all.len() >= MAX_EXTENSIONS {
                return;
            }
            all.insert(line.extension.to_owned(), Decided::default());
        }
        let Some(decided) = all.get_mut(line.extension) else { return };
        match line.verdict {
            Decision::Begun => {}
            Decision::Allowed => decided.allowed += 1,
            verdict => {
                decided.denied += 1;
                if verdict == Decision::Denied {
                    decided.denials.truncate(KEPT - 1);
                    decided.denials.push_front(Denial::of(line));
                }
            }
        }
    }
}

impl Denial {
    fn of(line: &AuditRecord<'_>) -> Self {
        let place = line.destination.as_deref().unwrap_or_default();
        Self {
            at: line.time,
            request: format!("{} {place}{}", line.verb, line.path),
            reason: line.reason.as_deref().unwrap_or_default().to_owned(),
        }
    }
}

impl Audit for Decisions {
    fn record(&self, line: &AuditRecord<'_>) {
        if line.way != Channel::Host {
            self.keep(line);
        }
        self.next.record(line);
    }

    fn limit(&self, line: &LimitRecord<'_>) {
        self.next.limit(line);
    }

    fn unrecorded(&self, extension: &str, number: u64) {
        if let Some(decided) = self.lock().get_mut(extension) {
            decided.denied = decided.denied.saturating_add(number);
        }
        self.next.unrecorded(extension, number);
    }
}
