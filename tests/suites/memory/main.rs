//! The sums of `host/SECURITY.md`, "How much memory the host needs", measured: for each row a hostile guest or server
//! in a process of its own, whose resident memory may not grow by more than the row says.
//!
//! A process first runs a harmless guest, so that memory that is kept for all calls is not counted. Then its peak is
//! reset, and the attack begins. Words on the command line choose rows.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod resident;
mod rows;
mod server;

use std::process::{Command, ExitCode};

use resident::MIB;
use rows::{ROWS, Row};

/// The variable with the row of a process.
const CHOSEN: &str = "ATTACHE_TEST_MEMORY_ROW";

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(CHOSEN) {
        let row = ROWS.iter().find(|row| row.name == name).expect("a row of this name");
        return measure(row);
    }
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen = |row: &&Row| words.is_empty() || words.iter().any(|word| row.name.contains(word.as_str()));
    let mut failed = 0;
    for row in ROWS.iter().filter(chosen) {
        let ended = Command::new(std::env::current_exe().unwrap()).env(CHOSEN, row.name).status().unwrap();
        failed += u32::from(!ended.success());
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn measure(row: &Row) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let grown = runtime.block_on((row.attack)());
    runtime.shutdown_background();
    let verdict = if grown.bytes <= row.most { "ok" } else { "FAILED" };
    println!(
        "memory: {} ... {verdict}: {:.1} MiB of {:.1}, {}",
        row.name,
        grown.bytes as f64 / MIB as f64,
        row.most as f64 / MIB as f64,
        grown.answered
    );
    if grown.bytes <= row.most { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
