//! Audit, metrics and tracing.

mod audit;
mod chain;
mod json_lines;
mod recording;

pub use audit::{Audit, AuditRecord, AuditedResource, Decision, MAX_TEXT, NoAudit, ToTracing, Way};
pub use chain::chain;
pub use json_lines::JsonLines;
pub use recording::Recording;
