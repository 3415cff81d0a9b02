//! The records of a test's audit.

use std::sync::{Arc, Mutex};

use attache::telemetry::{Audit, AuditRecord};
use serde_json::Value;

/// Keeps every record, as the JSON that a log would get.
#[derive(Clone, Default)]
pub(crate) struct Records(Arc<Mutex<Vec<Value>>>);

impl Audit for Records {
    fn record(&self, line: &AuditRecord<'_>) {
        self.0.lock().unwrap().push(serde_json::to_value(line).unwrap());
    }
}

impl Records {
    pub(crate) fn all(&self) -> Vec<Value> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the last record.
    pub(crate) fn last(&self) -> Value {
        self.all().pop().expect("something was recorded")
    }

    pub(crate) fn audit(&self) -> Arc<dyn Audit> {
        Arc::new(self.clone())
    }
}
