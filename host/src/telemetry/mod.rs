//! Audit, metrics and tracing.

mod audit;
mod chain;
mod json_lines;
mod limit;
mod log_throttle;
#[cfg(feature = "metrics")]
mod metrics;
mod recording;
mod sampled;

pub use audit::{Audit, AuditRecord, AuditedResource, Channel, Decision, MAX_TEXT, NoAudit, ToTracing};
pub use chain::{chain, legible, legible_line};
pub use json_lines::JsonLines;
pub use limit::LimitRecord;
pub(crate) use log_throttle::LogThrottle;
#[cfg(feature = "metrics")]
pub use metrics::{MAX_EXTENSIONS, Metrics, OTHER};
pub use recording::Recording;
pub(crate) use sampled::Sampled;

pub use attache_base::untrusted::{legible_json, legible_name};
