//! The last denied requests of each extension, and the counts of its allowed and denied requests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::telemetry::{Audit, AuditRecord, Channel, Decision, LimitRecord};

/// The number of denials that are kept for each extension.
const KEPT: usize = 8;

/// The largest number of extensions whose decisions are kept. Decisions of more extensions are only in the audit log.
const MAX_EXTENSIONS: usize = 20_000;

/// One denied request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Denial {
    /// The time of the decision.
    pub at: Timestamp,
    /// The verb, followed by the destination, if any, and the path.
    pub request: String,
    /// The reason, with the rule that would allow the request.
    pub reason: String,
}

/// The decisions on one extension's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Decided {
    /// Requests that were allowed.
    pub allowed: u64,
    /// Requests that were refused by the grant, by a rate or another limit, or because they were not valid.
    pub denied: u64,
    /// The last denials by the grant, newest first, at most eight.
    pub denials: VecDeque<Denial>,
}

/// An [`Audit`] that counts decisions, keeps the last denials, and passes each record on.
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
    /// Makes an empty record of decisions. Each audit record is passed on to `next`.
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
