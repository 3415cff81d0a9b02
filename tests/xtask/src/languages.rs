//! Guests in other languages than Rust: built with tools that need not be on a machine.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::guests::{watch, workspace};

/// Set to `required`, it makes a missing tool a failure: where all tests have to run.
pub const DEMAND: &str = "ATTACHE_LANGUAGES";

/// A language that an example is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// With componentize-py, from PyPI.
    Python,
    /// With componentize-js, from npm.
    JavaScript,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Python, Self::JavaScript];

    /// Its name, as the folder of its example has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
        }
    }

    /// Builds the example if its tool is there; `None` when it is not.
    ///
    /// # Errors
    ///
    /// The example does not build, or the tool is missing although [`DEMAND`] says that it must not.
    pub fn ready(self) -> Result<Option<PathBuf>> {
        if self.tool().is_some() {
            return self.build().map(Some);
        }
        let demanded = std::env::var_os(DEMAND).is_some_and(|word| word == "required");
        ensure!(!demanded, "the tool for guests in {} is not here: cargo xtask languages", self.name());
        Ok(None)
    }

    /// Fetches its tool, in the version that the example names, into a folder below `target`.
    ///
    /// # Errors
    ///
    /// Python or Node.js is not on this machine, or the package cannot be fetched.
    pub fn fetch(self, progress: impl FnMut(&str)) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(&folder)?;
        match self {
            Self::Python => {
                watch(Command::new("python3").args(["-m", "venv"]).arg(&folder), |_| ())?;
                let mut pip = Command::new(folder.join("bin/pip"));
                pip.args(["install", "--quiet", "--requirement"]).arg(self.source().join("requirements.txt"));
                watch(&mut pip, progress)
            }
            Self::JavaScript => {
                fs::copy(self.source().join("package.json"), folder.join("package.json"))?;
                let mut npm = Command::new("npm");
                npm.args(["install", "--no-audit", "--no-fund"]).current_dir(&folder).stdout(Stdio::null());
                watch(&mut npm, progress)
            }
        }
    }

    /// Builds the example, unless it is newer than all that it is made of.
    ///
    /// # Errors
    ///
    /// The tool is missing, or the example does not build.
    pub fn build(self) -> Result<PathBuf> {
        let tool = self.tool().with_context(|| format!("no tool for guests in {}", self.name()))?;
        let out = self.folder().join("hello-pod.wasm");
        let wit = workspace().join("wit");
        if modified(&out) > newest(&self.source()).max(newest(&wit)) {
            return Ok(out);
        }
        // Built beside it and renamed: another process may be reading it.
        let fresh = self.folder().join(format!("hello-pod.{}.wasm", std::process::id()));
        watch(&mut self.command(&tool, &wit, &fresh)?, |_| ())?;
        fs::rename(&fresh, &out)?;
        Ok(out)
    }

    fn command(self, tool: &Path, wit: &Path, out: &Path) -> Result<Command> {
        let mut command = Command::new(tool);
        match self {
            Self::Python => {
                command.current_dir(self.source()).env("PYTHONDONTWRITEBYTECODE", "1");
                command.arg("--wit-path").arg(wit).args([
                    "--world",
                    "attache:pod/command",
                    "componentize",
                    "hello_pod",
                ]);
                command.arg("--output").arg(out);
            }
            Self::JavaScript => {
                // Node.js looks for packages beside the program.
                for file in ["build.js", "hello-pod.js"] {
                    fs::copy(self.source().join(file), self.folder().join(file))?;
                }
                command.current_dir(self.folder()).arg("build.js").arg(wit).arg(out);
            }
        }
        Ok(command)
    }

    /// What builds it, if it is there.
    fn tool(self) -> Option<PathBuf> {
        match self {
            Self::Python => {
                let own = self.folder().join("bin/componentize-py");
                if own.is_file() { Some(own) } else { on_path("componentize-py") }
            }
            Self::JavaScript => {
                let package = self.folder().join("node_modules/@bytecodealliance/componentize-js");
                on_path("node").filter(|_| package.is_dir())
            }
        }
    }

    fn source(self) -> PathBuf {
        workspace().join("guest/examples").join(self.name())
    }

    fn folder(self) -> PathBuf {
        folder().join(self.name())
    }
}

/// Where tools and what they build are kept.
pub fn folder() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    workspace().join(chosen.unwrap_or_else(|| "target".into())).join("languages")
}

fn on_path(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program.as_ref())).find(|path| path.is_file())
}

/// When a file was written; long ago when there is none.
fn modified(path: &Path) -> SystemTime {
    path.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// When the newest file below a folder was written.
fn newest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let times =
        entries.map(|entry| if entry.path().is_dir() { newest(&entry.path()) } else { modified(&entry.path()) });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}
