//! Guests by name, and the programs.

use std::path::PathBuf;
use std::sync::LazyLock;

use attache_built::guests::Guests;
use attache_built::programs::Programs;

/// Built at most once a process; with `cargo xtask test`, before it.
static GUESTS: LazyLock<Result<Guests, String>> =
    LazyLock::new(|| Guests::ready().map_err(|error| format!("{error:#}")));

/// Finds a guest by the name of its source, such as `guest("cat-labels")`, and builds all of them if need be.
///
/// # Panics
///
/// The guests do not build, or there is none of that name: no test can go on, and the message says what to do.
#[track_caller]
pub fn guest(name: &str) -> PathBuf {
    let found = GUESTS.as_ref().map(|guests| guests.path(name));
    match found {
        Ok(Ok(path)) => path,
        Ok(Err(error)) => panic!("{error:#}"),
        Err(text) => panic!("{text}"),
    }
}

static PROGRAMS: LazyLock<Result<Programs, String>> =
    LazyLock::new(|| Programs::ready().map_err(|error| format!("{error:#}")));

/// Finds the workspace's programs, and builds them if need be.
///
/// # Panics
///
/// They do not build: no test of the command line can go on.
#[track_caller]
pub fn programs() -> &'static Programs {
    match PROGRAMS.as_ref() {
        Ok(programs) => programs,
        Err(text) => panic!("{text}"),
    }
}

/// Finds the `attache` binary, and builds it if need be.
///
/// # Panics
///
/// As [`programs`].
#[track_caller]
pub fn attache() -> PathBuf {
    programs().attache()
}
