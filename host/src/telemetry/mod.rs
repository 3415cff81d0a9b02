//! Audit, metrics and tracing.

mod audit;

pub use audit::{Audit, AuditRecord, Decision, ToTracing, Way};
