//! The command line, as a person and a pod use it: the real binary, real guests, real files, a real API server's
//! answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api_server;
mod command_line;
mod dev;
mod drowning;
mod elsewhere;
mod embed;
mod grants;
mod inspect;
mod keeping;
mod messages;
mod names;
mod played;
mod pods;
mod run;
mod stderr;
mod workloads;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use attache_tests::attache;
use tempfile::TempDir;

/// The longest that any command here may take. Compiling a guest in a debug build on a busy machine takes seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// The result of a command.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    /// Asserts that the host refused, saying all of `words`.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        self.ended_with(125, words);
    }

    /// Asserts that the host ended with a code of its own, saying all of `words`.
    #[track_caller]
    fn ended_with(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "{word:?} is not in:\n{}", self.err);
        }
        assert_eq!(self.err.lines().filter(|line| line.starts_with("error:")).count(), 1, "one message:\n{}", self.err);
    }

    /// Asserts that the guest succeeded, and returns its output.
    #[track_caller]
    fn printed(&self) -> &str {
        assert_eq!(self.code, Some(0), "{}", self.err);
        &self.out
    }
}

/// Returns `attache` with these arguments, an empty environment, and a cache of compiled guests for all tests.
fn command<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(attache());
    command.env_clear().env("ATTACHE_CACHE", cache()).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Returns the cache of compiled guests, shared by all tests and kept for later runs. An artefact is used only for
/// exactly its guest and engine.
fn cache() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("attache-cache");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn end(command: &mut Command) -> Ended {
    let child = command.spawn().unwrap();
    let pid = child.id();
    let output = within(pid, move || child.wait_with_output().unwrap());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Waits on a thread of its own, so that a command that hangs fails its test instead of all.
#[track_caller]
fn within<T: Send + 'static>(pid: u32, wait: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(wait()));
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
        signal(pid, "KILL");
        panic!("it has not ended within {PATIENCE:?}")
    })
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}

/// A command that goes on.
struct Going {
    child: Option<Child>,
    pid: u32,
    lines: Receiver<String>,
}

impl Going {
    /// Starts a command, and reads its stdout.
    fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        Self::reading(child, out)
    }

    /// Starts a command, and reads its stderr.
    fn start_quiet(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let err = child.stderr.take().unwrap();
        Self::reading(child, err)
    }

    fn reading(child: Child, from: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let all = BufReader::new(from).lines().map_while(Result::ok);
            all.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        Self { pid: child.id(), child: Some(child), lines }
    }

    /// Returns the next line that `wanted` accepts.
    #[track_caller]
    fn line(&self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the line comes before the end");
            if wanted(&line) {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        signal(self.pid, name);
    }

    #[track_caller]
    fn code(mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let status: ExitStatus = within(self.pid, move || child.wait().unwrap());
        status.code()
    }
}

impl Drop for Going {
    /// Ends the process, so that a failed test leaves no process behind.
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Returns a grant in a file.
fn grant(folder: &TempDir, spec: &str) -> PathBuf {
    let file = folder.path().join("grant.yaml");
    let text = format!("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {{name: tried}}\nspec: {spec}\n");
    std::fs::write(&file, text).unwrap();
    file
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Returns the path of a manifest of the tests.
fn manifest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(name)
}
