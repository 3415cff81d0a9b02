//! Audit, metrics and tracing.

mod audit;
mod chain;
mod json_lines;
mod letters;
mod limit;
#[cfg(feature = "metrics")]
mod metrics;
mod paced;
mod recording;

pub use audit::{Audit, AuditRecord, AuditedResource, Decision, MAX_TEXT, NoAudit, ToTracing, Way};
pub use chain::{chain, legible};
pub use json_lines::JsonLines;
pub use letters::legible_name;
pub use limit::LimitRecord;
#[cfg(feature = "metrics")]
pub use metrics::{MAX_EXTENSIONS, Metrics, OTHER};
pub(crate) use paced::Paced;
pub use recording::Recording;
