//! A supervisor of extensions: it calls them by their triggers, restarts them, and replaces them without losing calls.
//!
//! A [`Supervisor`] keeps any number of extensions in one process. Each is described by a [`Definition`]: a manifest
//! (`kind: Extension`), its grant, and the folder that its paths are relative to. [`Supervisor::apply`] adds or
//! replaces an extension. The new version takes over only after it was screened, compiled, linked and checked against
//! its grant. If the new version cannot be loaded, the previous version stays.
//!
//! Threat: an extension that disturbs other extensions by failing. A failure changes only the extension's own
//! [`Status`], only the extension's own task waits for it, and all pauses and numbers are bounded.
//!
//! ```no_run
//! use attache::extension::Runtime;
//! use attache::service::{Definition, Supervisor};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let supervisor = Supervisor::new(Runtime::builder().build()?);
//! supervisor.apply(Definition::read("extensions/config-sync.yaml".as_ref())?).await?;
//! for status in supervisor.statuses() {
//!     println!("{}: {}", status.name, status.state);
//! }
//! supervisor.drain(std::time::Duration::from_secs(30)).await;
//! # Ok(())
//! # }
//! ```
//!
//! | file | contents |
//! | --- | --- |
//! | `definition.rs` | manifests and grants, read from files |
//! | `supervisor.rs` | the handle: apply, remove, drain, statuses |
//! | `status.rs` | states, reasons, counts |
//! | `version.rs` | one loaded version of an extension |
//! | `runner.rs` | the task that keeps one extension |
//! | `command.rs`, `schedule.rs`, `podinfo.rs` | triggers that call `wasi:cli/run` |
//! | `http.rs`, `answer.rs`, `pool.rs`, `tls.rs` | the HTTP trigger |
//! | `stop.rs`, `backoff.rs` | the stop signal of a command, and the pauses before its restarts |
//! | `sources.rs` | manifests in files and folders that are followed |
//! | `admin.rs`, `collector.rs`, `decisions.rs`, `page.rs` | the admin endpoint |

mod admin;
mod answer;
mod backoff;
mod collector;
mod command;
mod decisions;
mod definition;
mod http;
mod page;
mod podinfo;
mod pool;
mod runner;
mod schedule;
mod sources;
mod status;
mod stop;
mod supervisor;
mod tls;
mod version;

pub use admin::Admin;
pub use decisions::{Decided, Decisions, Denial};
pub use definition::{Definition, DefinitionError};
pub use sources::Sources;
pub use status::{Counts, State, Status, Transition};
pub use supervisor::{Supervisor, SupervisorBuilder};
pub use version::ServiceError;
