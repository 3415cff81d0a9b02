//! Components, loaded with the grant that they run under.
//!
//! A [`Runtime`] holds what all extensions of a process share: the engine, the pod that it runs in, the connection to
//! the API server. [`Runtime::load`] judges a component against its grant before anything of it runs, and compiles it
//! once. An [`Extension`] is then called as often as wanted, each call in an instance of its own that nothing outlives.

mod buffered;
mod compiled;
mod draft;
mod imports;
mod inspect;
mod lines;
mod load;
mod mounts;
mod needs;
mod output;
mod run;
mod run_error;
mod runtime;
mod scoped;
mod source;
mod state;

pub use buffered::BufferedOutput;
pub use compiled::Precompiled;
pub use imports::{Import, Standing};
pub use inspect::{Export, Inspection};
pub use load::{Extension, LoadError};
pub use mounts::MountError;
pub use run::{Invocation, Outcome};
pub use run_error::RunError;
pub use runtime::{Runtime, RuntimeBuilder, RuntimeError};
pub use scoped::TokenRotation;
pub use source::MAX_COMPONENT;
