//! Audit, metrics and tracing.

mod audit;
mod chain;
mod json_lines;
mod limit;
#[cfg(feature = "metrics")]
mod metrics;
mod paced;
mod recording;
mod sampled;

pub use audit::{Audit, AuditRecord, AuditedResource, Decision, MAX_TEXT, NoAudit, ToTracing, Way};
pub use chain::{chain, legible, legible_line};
pub use json_lines::JsonLines;
pub use limit::LimitRecord;
#[cfg(feature = "metrics")]
pub use metrics::{MAX_EXTENSIONS, Metrics, OTHER};
pub(crate) use paced::Paced;
pub use recording::Recording;
pub(crate) use sampled::Sampled;

pub use attache_base::untrusted::{legible_json, legible_name};
