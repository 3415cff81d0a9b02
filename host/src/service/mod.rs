//! Extensions that a host keeps: called by their triggers, restarted, replaced without losing a call.
//!
//! A [`Supervisor`] keeps any number of extensions in one process. Each is described by a [`Definition`]: a manifest
//! (`kind: Extension`) and the folder that its files are relative to. [`Supervisor::apply`] adds an extension or
//! replaces it: the new version is screened, compiled, linked and judged first, and only then takes over. A version
//! that cannot be loaded leaves the one before in its place.
//!
//! Threat: an extension that disturbs its neighbours by failing. What goes wrong with an extension ends in its own
//! [`Status`]: nothing here waits for an extension but its own task, and every pause and count has a bound.
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
//! | file | what it has |
//! | --- | --- |
//! | `definition.rs` | manifests and grants, read from files |
//! | `supervisor.rs` | the handle: apply, remove, drain, statuses |
//! | `status.rs` | states, reasons, counts |
//! | `version.rs` | one loaded version of an extension |
//! | `runner.rs` | the task that keeps one extension |
//! | `command.rs`, `schedule.rs`, `podinfo.rs` | triggers that call `wasi:cli/run` |
//! | `http.rs`, `answer.rs`, `pool.rs`, `router.rs` | the HTTP trigger |
//! | `stop.rs` | the stop signal on a guest's stdin |

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
