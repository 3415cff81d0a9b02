//! The arguments and streams of a call.

use std::collections::BTreeMap;

use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::cli::{StdinStream, StdoutStream};

use super::output::{Sink, inherited_stderr, inherited_stdout};

/// The arguments, variables and streams of one call.
#[derive(Default)]
pub struct Invocation {
    pub(super) arguments: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) wasi: WasiCtxBuilder,
    pub(super) stdout: Option<Sink>,
    pub(super) stderr: Option<Sink>,
}

impl Invocation {
    /// Returns a call without arguments, whose output is discarded.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds arguments; the guest's first argument is always its extension's name.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Adds variables, beside those that the grant passes on by name. A value from here overrides the value that the
    /// grant passes on.
    #[must_use]
    pub fn env(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.env.extend(variables);
        self
    }

    /// Sets the guest's stdin; by default it is at its end.
    #[must_use]
    pub fn stdin(mut self, stream: impl StdinStream + 'static) -> Self {
        self.wasi.stdin(stream);
        self
    }

    /// Sends the guest's stdout to this stream, at the rate of its grant. The stream must not block where it is called,
    /// and must bound its memory however small the pieces are: [`BufferedOutput`](super::BufferedOutput) does both.
    #[must_use]
    pub fn stdout(mut self, stream: impl StdoutStream + 'static) -> Self {
        self.stdout = Some(Sink::new(stream, false));
        self
    }

    /// Sends the guest's stdout to this stream, in whole lines that begin with the extension's name, as
    /// [`Invocation::named_stderr`] does.
    #[must_use]
    pub fn named_stdout(mut self, stream: impl StdoutStream + 'static) -> Self {
        self.stdout = Some(Sink::new(stream, true));
        self
    }

    /// Sends the guest's stderr to this stream, as [`Invocation::stdout`] does.
    #[must_use]
    pub fn stderr(mut self, stream: impl StdoutStream + 'static) -> Self {
        self.stderr = Some(Sink::new(stream, false));
        self
    }

    /// Sends the guest's stderr to this stream, as [`Invocation::stderr`] does, in whole lines. Each line begins with
    /// the extension's name, and its control characters are escaped, so that it cannot be mistaken for a line of the
    /// host's. The rate of the grant counts the lines as they are passed on.
    #[must_use]
    pub fn named_stderr(mut self, stream: impl StdoutStream + 'static) -> Self {
        self.stderr = Some(Sink::new(stream, true));
        self
    }

    /// Passes the guest's stdout on to this process's stdout.
    #[must_use]
    pub fn inherit_stdout(self) -> Self {
        self.stdout(inherited_stdout())
    }

    /// Passes the guest's stdout and stderr on to this process's, unchanged. A host whose log or audit goes to either
    /// must give the guest another stream, or use [`Invocation::named_stderr`]: a guest can print text that looks like
    /// a line of the host's.
    #[must_use]
    pub fn inherit_output(self) -> Self {
        self.inherit_stdout().stderr(inherited_stderr())
    }
}
