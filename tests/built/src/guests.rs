//! The guests: the examples of `attache-guest` and the programs of `attache-test-guests`, as components.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// The variable with the folder of guests that are built already. `cargo xtask` sets it for the programs that it
/// starts.
pub const PREBUILT: &str = "ATTACHE_GUESTS";

/// The target of guests.
pub const TARGET: &str = "wasm32-wasip2";

/// The sources of guests, below the workspace: each file, and each directory with a `main.rs`, is one guest.
const SOURCES: [&str; 2] = ["guest/examples", "tests/guests/src/bin"];

/// Guests that have been built.
#[derive(Debug, Clone)]
pub struct Guests {
    folder: PathBuf,
}

impl Guests {
    /// Returns the guests in the folder that `PREBUILT` names, or builds all guests.
    ///
    /// A build without changes takes cargo a fraction of a second, so each process may call this function.
    ///
    /// # Errors
    ///
    /// Fails if the target is not installed, cargo cannot be started, or a guest does not compile.
    pub fn ready() -> Result<Self> {
        match std::env::var_os(PREBUILT) {
            Some(folder) => Ok(Self { folder: folder.into() }),
            None => Self::build(|_| ()),
        }
    }

    /// Builds all guests. `progress` gets each line that cargo prints meanwhile.
    ///
    /// # Errors
    ///
    /// Fails like [`Guests::ready`]. The message has cargo's whole output.
    pub fn build(progress: impl FnMut(&str)) -> Result<Self> {
        ensure!(
            target_is_installed()?,
            "guests cannot be built without the target {TARGET}: rustup target add {TARGET}"
        );
        watch(&mut build_command(), progress).context("the guests do not build")?;
        let folder = build_folder().join(TARGET).join("guest");
        Ok(Self { folder })
    }

    /// Returns the folder of the guests, which is the value of `PREBUILT`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the file of a guest by the guest's name, such as `cat-labels`.
    ///
    /// # Errors
    ///
    /// Fails if there is no such guest. The message names the existing guests.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        let file = format!("{name}.wasm");
        let places = [self.folder.join(&file), self.folder.join("examples").join(&file)];
        let found = places.into_iter().find(|path| path.is_file());
        found.with_context(|| {
            let known = names().unwrap_or_default().join(", ");
            let folder = self.folder.display();
            format!("no guest `{name}` in {folder}; there are sources of: {known}")
        })
    }
}

/// Returns the sorted names of all guests that have a source.
///
/// # Errors
///
/// Fails if a folder of sources cannot be read.
pub fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for folder in SOURCES.map(|folder| workspace().join(folder)) {
        let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
        for entry in entries {
            names.extend(name_of(&entry?.path()));
        }
    }
    names.sort();
    Ok(names)
}

fn name_of(source: &Path) -> Option<String> {
    let is_guest = source.extension() == Some(OsStr::new("rs")) || source.join("main.rs").is_file();
    let name = source.file_stem().filter(|_| is_guest)?;
    Some(name.to_string_lossy().into_owned())
}

/// Returns the workspace's folder.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Returns the cargo that started this process, or the cargo on the path.
///
/// The variables with the package of this process are removed. Some build scripts read them (that of `ring` does), and
/// would run again, with all packages that depend on them, each time cargo was called by hand in between.
pub fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Returns whether the standard library for guests is installed.
///
/// # Errors
///
/// Fails if `rustc` cannot be run.
pub fn target_is_installed() -> Result<bool> {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(workspace());
    rustc.args(["--print", "target-libdir", "--target", TARGET]);
    let said = rustc.output().context("cannot start rustc")?;
    let folder = String::from_utf8_lossy(&said.stdout);
    Ok(said.status.success() && Path::new(folder.trim()).is_dir())
}

/// Returns the folder that guests are built in, below the workspace's build folder. Cargo locks a build folder, and
/// tests that build guests must not wait for a build of tests.
fn build_folder() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let folder = chosen.unwrap_or_else(|| "target".into());
    workspace().join(folder).join("guests")
}

fn build_command() -> Command {
    let mut command = cargo();
    command.args(["build", "--package", "attache-guest", "--package", "attache-test-guests"]);
    command.args(["--examples", "--bins", "--profile", "guest", "--target", TARGET]);
    command.arg("--target-dir").arg(build_folder());
    // Flags meant for the host, such as those of a coverage run, do not fit a guest.
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        command.env_remove(flags);
    }
    command
}

/// Runs a command to its end. On failure the error has the command's whole stderr.
///
/// # Errors
///
/// Fails if the command cannot be started, or failed.
pub fn watch(command: &mut Command, mut progress: impl FnMut(&str)) -> Result<()> {
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let program = command.get_program().to_owned();
    let starting = || format!("cannot start {}", program.display());
    let mut child = command.spawn().with_context(starting)?;
    let said = child.stderr.take().map(|stderr| collect(stderr, &mut progress));
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}:\n{}", program.display(), said.unwrap_or_default());
    }
    Ok(())
}

fn collect(stderr: impl Read, progress: &mut impl FnMut(&str)) -> String {
    let mut said = String::new();
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        progress(line.trim());
        said.push_str(&line);
        said.push('\n');
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_folder_with_a_main_are_guests_and_nothing_else_is() -> Result<()> {
        let names = names()?;
        for guest in ["pod-card", "cat-labels", "empty", "api-calls"] {
            assert!(names.iter().any(|name| name == guest), "{guest} in {names:?}");
        }
        assert_eq!(name_of(Path::new("README.md")), None);
        assert_eq!(name_of(Path::new("no-such-folder")), None);
        Ok(())
    }

    #[test]
    fn a_failure_has_what_the_program_said() {
        let mut lines = Vec::new();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo one >&2; echo two >&2; exit 3"]);
        let error = watch(&mut shell, |line| lines.push(line.to_owned())).map_err(|e| e.to_string());
        assert_eq!(lines, ["one", "two"]);
        assert!(error.is_err_and(|text| text.contains("exit status: 3") && text.contains("two")));
    }
}
