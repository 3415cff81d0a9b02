//! Audit, metrics and tracing.

mod audit;
mod json_lines;

pub use audit::{Audit, AuditRecord, AuditedResource, Decision, MAX_TEXT, NoAudit, ToTracing, Way};
pub use json_lines::JsonLines;
