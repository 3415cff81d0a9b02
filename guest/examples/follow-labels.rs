//! Prints the pod's labels and annotations, again after each change. A blank line ends each snapshot.
//!
//! ```text
//! follow-labels [--count N]     exits after N snapshots; without it, runs until it is stopped
//! ```
//!
//! The example waits on the host's pollable, so it uses no CPU between two changes.

use std::io::{self, Write};
use std::process::ExitCode;

use attache_guest::pod::{self, Snapshot};

fn main() -> ExitCode {
    let count = match count(std::env::args().skip(1)) {
        Ok(count) => count,
        Err(text) => {
            eprintln!("follow-labels: {text}\nusage: follow-labels [--count N]");
            return ExitCode::FAILURE;
        }
    };
    match follow(count, &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("follow-labels: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of snapshots to print, from the arguments.
fn count(mut arguments: impl Iterator<Item = String>) -> Result<usize, String> {
    let Some(flag) = arguments.next() else {
        return Ok(usize::MAX);
    };
    match (flag.as_str(), arguments.next(), arguments.next()) {
        ("--count", Some(number), None) => number.parse().map_err(|_| format!("`{number}` is not a number")),
        ("--count", None, _) => Err("--count needs a number".into()),
        _ => Err(format!("unexpected argument `{flag}`")),
    }
}

fn follow(count: usize, out: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
    for snapshot in pod::follow().take(count) {
        print(&snapshot?, out)?;
    }
    Ok(())
}

fn print(snapshot: &Snapshot, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "revision {}", snapshot.revision)?;
    for (key, value) in &snapshot.labels {
        writeln!(out, "  label      {key}={}", value.escape_debug())?;
    }
    for (key, value) in &snapshot.annotations {
        writeln!(out, "  annotation {key}={}", value.escape_debug())?;
    }
    writeln!(out)?;
    // The reader of a pipe then sees each snapshot at once.
    out.flush()
}
