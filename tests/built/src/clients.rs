//! Clients of Kubernetes in Python, which take steps against the devcluster.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::guests::{watch, workspace};

/// The variable that makes missing clients a failure when it is `required`, for machines that have to run all tests.
pub const DEMAND: &str = "ATTACHE_CLIENTS";

/// Returns the folder with the clients' steps, and with the list of their packages.
pub fn steps() -> PathBuf {
    workspace().join("tests/clients")
}

/// Fetches the clients from PyPI, in the versions that their list names, into a folder below `target`.
///
/// # Errors
///
/// Python is not on this machine, or a package cannot be fetched.
pub fn fetch(progress: impl FnMut(&str)) -> Result<()> {
    let folder = folder();
    fs::create_dir_all(&folder)?;
    watch(Command::new("python3").args(["-m", "venv"]).arg(&folder), |_| ())?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--quiet", "--requirement"]).arg(steps().join("requirements.txt"));
    watch(&mut pip, progress)
}

/// Returns the Python that has the clients. If it is missing, reports that a test is skipped and returns `None`.
///
/// # Errors
///
/// Fails if it is missing and [`DEMAND`] is `required`.
pub fn python() -> Result<Option<PathBuf>> {
    let python = folder().join("bin/python");
    // What is fetched last: a folder that was left half way does not count.
    if python.is_file() && folder().join("bin/kopf").is_file() {
        return Ok(Some(python));
    }
    let demanded = std::env::var_os(DEMAND).is_some_and(|word| word == "required");
    ensure!(!demanded, "the clients in Python are not here: cargo xtask clients");
    // Written to stderr directly because the harness would capture it. A skipped test must not look like a passed one.
    std::io::stderr().write_all(b"SKIPPED: no clients in Python; run `cargo xtask clients`\n")?;
    Ok(None)
}

pub(crate) fn folder() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    workspace().join(chosen.unwrap_or_else(|| "target".into())).join("clients")
}
