//! The programs of the workspace that tasks and tests start.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::guests::{cargo, watch, workspace};

/// The variable with the folder of programs that are built already. `cargo xtask` sets it for the programs that it
/// starts.
pub const PREBUILT: &str = "ATTACHE_PROGRAMS";

/// Programs that have been built.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Returns the programs in the folder that [`PREBUILT`] names, or builds them.
    ///
    /// # Errors
    ///
    /// Fails if cargo cannot be started, or a program does not compile.
    pub fn ready() -> Result<Self> {
        match std::env::var_os(PREBUILT) {
            Some(folder) => Ok(Self { folder: folder.into() }),
            None => Self::build(|_| ()),
        }
    }

    /// Builds the programs in the dev profile. `progress` gets each line that cargo prints meanwhile.
    ///
    /// # Errors
    ///
    /// Fails like [`Programs::ready`]. The message has cargo's whole output.
    pub fn build(progress: impl FnMut(&str)) -> Result<Self> {
        let mut build = cargo();
        // The whole workspace's features, so that tests need not compile anything anew.
        build.args(["build", "--workspace", "--bin", "attache", "--example", "label-pod"]);
        build.args(["--example", "embed", "--example", "session"]);
        watch(&mut build, progress).context("attache does not build")?;
        let chosen = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = workspace().join(chosen.unwrap_or_else(|| "target".into()));
        Ok(Self { folder: target.join("debug") })
    }

    /// Returns the folder of the programs, which is the value of [`PREBUILT`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the binary `attache`.
    pub fn attache(&self) -> PathBuf {
        self.folder.join("attache")
    }

    /// Returns the example of a service that calls extensions.
    pub fn embed(&self) -> PathBuf {
        self.folder.join("examples/embed")
    }

    /// Returns the example of a service that keeps a session.
    pub fn session(&self) -> PathBuf {
        self.folder.join("examples/session")
    }

    /// Returns the program that replaces `kubectl label` on machines without kubectl.
    pub fn label_pod(&self) -> PathBuf {
        self.folder.join("examples/label-pod")
    }
}
