//! The end of the process: its exit code, and the report of a failure.

use std::io::IsTerminal;
use std::process::ExitCode;

use attache::cluster::ClusterError;
use attache::extension::{CallError, Outcome};
use attache::telemetry::{chain, legible};

use crate::api_server::may_pass;
use crate::stderr::put_page;

/// The exit code for a temporary failure: `EX_TEMPFAIL` of `sysexits.h`.
const AWAY: u8 = 75;

/// The exit code for a wrong command line, the same as clap's.
const WRONG_COMMAND_LINE: u8 = 2;

/// A command line that clap accepts, but that is wrong with any files, variables and servers: arguments contradict each
/// other or lack another one.
#[derive(Debug)]
pub(crate) struct WrongCommandLine(String);

impl WrongCommandLine {
    pub(crate) fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }

    /// Reports an error of the library about an argument.
    pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        Self(chain(error).to_string())
    }
}

impl std::fmt::Display for WrongCommandLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongCommandLine {}

/// The end of the process. The exit codes are those of `timeout` and of shells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The guest's own exit code.
    Guest(i32),
    /// A deadline or the CPU budget passed.
    Deadline,
    /// The host refused to begin.
    Refused,
    /// The API server was away, which is temporary.
    Away,
    /// The arguments contradict each other.
    WrongCommandLine,
    /// The guest trapped.
    Trapped,
    /// A signal stopped the host.
    Signal(u8),
    /// The work is done.
    Done,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Exit {
    /// Returns the process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            // As in a kernel: the low eight bits of the code.
            Self::Guest(code) => code.to_le_bytes()[0],
            Self::Deadline => 124,
            Self::Refused => 125,
            Self::Away => AWAY,
            Self::WrongCommandLine => WRONG_COMMAND_LINE,
            Self::Trapped => 126,
            Self::Signal(number) => number.saturating_add(128),
            Self::Done => 0,
        }
    }

    /// Returns the end of a process that could not start.
    pub(crate) fn before_the_start(error: &anyhow::Error) -> Self {
        if error.is::<WrongCommandLine>() {
            return Self::WrongCommandLine;
        }
        if error.downcast_ref::<ClusterError>().is_some_and(may_pass) { Self::Away } else { Self::Refused }
    }

    /// Returns the end of the process after a call, and reports an end that the guest did not choose.
    pub(crate) fn of(called: Result<Outcome, CallError>) -> Self {
        let error = match called {
            Ok(outcome) => return Self::Guest(outcome.code),
            Err(error) => error,
        };
        let exit = match &error {
            CallError::Deadline { .. } | CallError::Cpu { .. } => Self::Deadline,
            CallError::Limit { .. } | CallError::Trap(_) => Self::Trapped,
            _ => Self::Refused,
        };
        report(&error.into());
        exit
    }
}

/// Prints an error and, line by line, its causes. Only the first line starts in the column of the log and the audit:
/// the text after a line break may come from a guest.
pub(crate) fn report(error: &anyhow::Error) {
    let (bold, plain) = if std::io::stderr().is_terminal() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let mut said = legible(error);
    put_page(&format!("{bold}error:{plain} {}", said.replace('\n', "\n       ")));
    for cause in error.chain().skip(1) {
        let cause = legible(cause);
        // An outer error that contains the inner error's text needs no second line.
        if !said.contains(&cause) {
            put_page(&format!("  because: {}", cause.replace('\n', "\n           ")));
        }
        said = cause;
    }
}
