//! Guests in other languages than Rust: built with tools that need not be on a machine.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::guests::{watch, workspace};

/// The variable that makes a missing tool a failure when it is `required`, for machines that have to run all tests.
pub const DEMAND: &str = "ATTACHE_LANGUAGES";

/// A language that examples are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Python, built with componentize-py from PyPI.
    Python,
    /// JavaScript, built with jco from npm.
    JavaScript,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Python, Self::JavaScript];

    /// Returns the language's name, which is also the name of its examples' folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
        }
    }

    /// Fetches its tool, in the version that its examples name, into a folder below `target`.
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

    /// Returns the tool that builds the language's examples, if it is installed.
    fn tool(self) -> Option<PathBuf> {
        match self {
            Self::Python => {
                let own = self.folder().join("bin/componentize-py");
                if own.is_file() { Some(own) } else { on_path("componentize-py") }
            }
            Self::JavaScript => {
                let own = self.folder().join("node_modules/.bin/jco");
                if own.is_file() { Some(own) } else { on_path("jco") }
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

/// An example that is written in one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// The language that it is written in.
    pub language: Language,
    /// The example's name.
    pub name: &'static str,
    /// The world that it is built for, and the folder that defines the world if this workspace's interfaces do not.
    world: (&'static str, Option<&'static str>),
}

impl Example {
    /// The three calls, in Python.
    pub const HELLO_PYTHON: Self =
        Self { language: Language::Python, name: "hello_pod", world: ("attache:pod/command", None) };
    /// The three calls, in JavaScript.
    pub const HELLO_JAVASCRIPT: Self =
        Self { language: Language::JavaScript, name: "hello-pod", world: ("attache:pod/command", None) };
    /// A program for a container, in Python.
    pub const CONTAINER_PYTHON: Self =
        Self { language: Language::Python, name: "list_pods", world: ("attache:example/container", Some("wit")) };
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HELLO_PYTHON, Self::CONTAINER_PYTHON, Self::HELLO_JAVASCRIPT];

    /// Builds the example. If the tool is missing, reports that a test is skipped and returns `None`.
    ///
    /// # Errors
    ///
    /// Fails if the example does not build, or if the tool is missing and [`DEMAND`] is `required`.
    pub fn ready(self) -> Result<Option<PathBuf>> {
        if self.language.tool().is_some() {
            return self.build().map(Some);
        }
        let (name, language) = (self.name, self.language.name());
        let demanded = std::env::var_os(DEMAND).is_some_and(|word| word == "required");
        ensure!(!demanded, "the tool for guests in {language} is not here: cargo xtask languages");
        // Written to stderr directly because the harness would capture it. A skipped test must not look like a passed
        // one.
        let skipped = format!("SKIPPED: no tool for {name} in {language}; run `cargo xtask languages`\n");
        std::io::stderr().write_all(skipped.as_bytes())?;
        Ok(None)
    }

    /// Builds the example, unless it is newer than all its sources.
    ///
    /// # Errors
    ///
    /// Fails if the tool is missing, or the example does not build.
    pub fn build(self) -> Result<PathBuf> {
        let (language, name) = (self.language, self.name);
        let tool = language.tool().with_context(|| format!("no tool for guests in {}", language.name()))?;
        let out = language.folder().join(format!("{name}.wasm"));
        let wit = workspace().join("wit");
        if modified(&out) > newest(&language.source()).max(newest(&wit)) {
            return Ok(out);
        }
        // It is not there yet where the tool is the machine's own.
        fs::create_dir_all(language.folder())?;
        // Built beside it and renamed: another process may be reading it.
        let fresh = language.folder().join(format!("{name}.{}.wasm", std::process::id()));
        watch(&mut self.command(&tool, &wit, &fresh), |_| ())?;
        fs::rename(&fresh, &out)?;
        Ok(out)
    }

    fn command(self, tool: &Path, wit: &Path, out: &Path) -> Command {
        let (mut command, (world, own)) = (Command::new(tool), self.world);
        command.current_dir(self.language.source());
        match self.language {
            Language::Python => {
                command.env("PYTHONDONTWRITEBYTECODE", "1").arg("--wit-path").arg(wit);
                if let Some(own) = own {
                    command.args(["--wit-path", own]);
                }
                command.args(["--world", world, "componentize", self.name, "--output"]).arg(out);
            }
            Language::JavaScript => {
                command.arg("componentize").arg(format!("{}.js", self.name)).args(["--world-name", world]);
                // Without these it would import wasi:http, which only some grants open.
                command.args(["--disable", "http", "fetch-event"]).arg("--wit").arg(wit).arg("--out").arg(out);
            }
        }
        command
    }
}

/// Returns the folder of the tools and of what they build.
pub fn folder() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    workspace().join(chosen.unwrap_or_else(|| "target".into())).join("languages")
}

fn on_path(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program.as_ref())).find(|path| path.is_file())
}

/// Returns the modification time of a file, or a time long ago if there is no such file.
fn modified(path: &Path) -> SystemTime {
    path.metadata().and_then(|file| file.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns the modification time of the newest file below a folder.
fn newest(folder: &Path) -> SystemTime {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let times =
        entries.map(|entry| if entry.path().is_dir() { newest(&entry.path()) } else { modified(&entry.path()) });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}
