//! Components, loaded with the grant that they run under.
//!
//! A [`Runtime`] holds the state that all extensions of a process share: the engine, the pod, and the connection to the
//! API server. [`Runtime::load`] judges a component against its grant before any of its code runs, and compiles it
//! once. An [`Extension`] can be called any number of times. Each call runs in an instance of its own, which ends with
//! the call.

mod bounds;
mod buffered;
mod call;
mod call_error;
mod compiled;
mod drivers;
mod imports;
mod inspect;
mod invocation;
mod lines;
mod load;
mod mounts;
mod needs;
mod output;
mod run;
mod runtime;
mod scoped;
mod session;
mod source;
mod state;
mod suggested_grant;
mod world;

pub use bounds::Usage;
pub use buffered::BufferedOutput;
pub use call::Completed;
pub use call_error::CallError;
pub use compiled::Precompiled;
pub use imports::{Import, ImportStatus};
pub use inspect::{Export, Inspection};
pub use invocation::Invocation;
pub use load::{Extension, LoadError};
pub use mounts::MountError;
pub use run::Outcome;
pub use runtime::{Runtime, RuntimeBuilder, RuntimeError};
pub use scoped::TokenRotation;
pub use session::{Session, SessionEnd, SessionSettings};
pub use source::MAX_COMPONENT;
pub use state::State;
pub use world::World;
