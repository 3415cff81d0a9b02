//! Audit, metrics and tracing.
//!
//! | file | holds |
//! | --- | --- |
//! | `audit`, `decision` | the record of a decision, and where records go |
//! | `limit` | the record of a limit that was reached |
//! | `json_lines` | records as JSON, written by a thread |
//! | `recording` | records made into a suggested grant |
//! | `metrics` | records counted for a scraper |
//! | `log_throttle`, `sampled` | repetitions in logs, throttled and counted |
//! | `chain` | errors and texts of strangers as a log can show them |

mod audit;
mod chain;
mod decision;
mod json_lines;
mod limit;
mod log_throttle;
#[cfg(feature = "metrics")]
mod metrics;
mod recording;
mod sampled;

pub(crate) use audit::audit_id;
pub use audit::{Audit, AuditRecord, AuditedResource, MAX_TEXT, NoAudit, ToTracing};
pub use chain::{chain, legible, legible_line};
pub use decision::{Channel, Decision};
pub use json_lines::JsonLines;
pub use limit::LimitRecord;
pub(crate) use log_throttle::LogThrottle;
#[cfg(feature = "metrics")]
pub use metrics::{MAX_EXTENSIONS, Metrics, OTHER};
pub use recording::Recording;
pub(crate) use sampled::Sampled;

pub use attache_base::untrusted::{legible_json, legible_name};
