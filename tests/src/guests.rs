//! Guests by name, and the programs.

use std::path::PathBuf;
use std::sync::LazyLock;

use attache_built::guests::Guests;
use attache_built::programs::Programs;

/// The guests, built at most once in each process. `cargo xtask test` builds them before.
static GUESTS: LazyLock<Result<Guests, String>> =
    LazyLock::new(|| Guests::ready().map_err(|error| format!("{error:#}")));

/// Returns the file of a guest by the name of its source, such as `guest("cat-labels")`. Builds all guests if needed.
///
/// # Panics
///
/// Panics if the guests do not build, or if there is no guest with this name. The message has the remedy.
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
