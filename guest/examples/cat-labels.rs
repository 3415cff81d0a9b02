//! Prints the files of the Downward API volume with `std` alone: a program written for a container.
//!
//! ```text
//! cat-labels [--env] [--follow [--interval SECONDS]] [DIRECTORY…]     default: /etc/podinfo
//! ```
//!
//! The output is that of the shell loop in Kubernetes' own example pod: a blank line and the content of each file. The
//! order is `labels`, `annotations`, the resource fields, and then every other file. A missing file prints nothing.
//! `--env` adds the environment. `--follow` reads the files again every 5 seconds and prints them after a change.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, thread};

/// The files of the example pod, in its order; all other files follow by name.
const FIRST: [&str; 6] = ["labels", "annotations", "cpu_limit", "cpu_request", "mem_limit", "mem_request"];

/// The maximum depth of a projected path. It also ends a loop of links.
const DEEPEST: usize = 8;

const USAGE: &str = "usage: cat-labels [--env] [--follow [--interval SECONDS]] [DIRECTORY…]";

fn main() -> ExitCode {
    let outcome = Options::read(env::args().skip(1)).and_then(|options| options.run());
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("cat-labels: {text}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    directories: Vec<PathBuf>,
    env: bool,
    follow: bool,
    interval: Duration,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { directories: Vec::new(), env: false, follow: false, interval: Duration::from_secs(5) };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--env" => options.env = true,
                "--follow" => options.follow = true,
                "--interval" => options.interval = seconds(arguments.next())?,
                flag if flag.starts_with('-') => {
                    return Err(format!("unknown flag `{flag}`\n{USAGE}"));
                }
                directory => options.directories.push(directory.into()),
            }
        }
        if options.directories.is_empty() {
            options.directories.push("/etc/podinfo".into());
        }
        Ok(options)
    }

    fn run(&self) -> Result<(), String> {
        let mut before = None;
        loop {
            let now = Some(self.text()?);
            if now != before {
                print(now.as_deref().unwrap_or_default()).map_err(|error| error.to_string())?;
            }
            if !self.follow {
                return Ok(());
            }
            before = now;
            thread::sleep(self.interval);
        }
    }

    /// Returns the current text of the files and the environment.
    fn text(&self) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        for directory in &self.directories {
            append_directory(directory, &mut text).map_err(|error| format!("{}: {error}", directory.display()))?;
        }
        if self.env {
            append_environment(&mut text);
        }
        text.push(b'\n');
        Ok(text)
    }
}

fn seconds(argument: Option<String>) -> Result<Duration, String> {
    let number = argument.and_then(|text| text.parse().ok());
    number.map(Duration::from_secs).ok_or_else(|| format!("--interval needs a number of seconds\n{USAGE}"))
}

fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()
}

fn append_directory(directory: &Path, text: &mut Vec<u8>) -> io::Result<()> {
    // A pod need not project anything, and the shell loop ignores a missing file too.
    if fs::metadata(directory).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Ok(());
    }
    for path in projected(directory)? {
        let blank: &[u8] = if is_map(&path) { b"\n\n" } else { b"\n" };
        text.extend(blank);
        text.extend(fs::read(directory.join(path))?);
    }
    Ok(())
}

/// Returns true for a file with many lines, before which the example pod prints two line ends rather than one.
fn is_map(path: &Path) -> bool {
    path == Path::new("labels") || path == Path::new("annotations")
}

/// Returns the projected files below a directory: those of `FIRST` first, the others by name.
fn projected(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(directory, Path::new(""), DEEPEST, &mut found)?;
    found.sort_by_key(|path| (rank(path), path.clone()));
    Ok(found)
}

fn rank(path: &Path) -> usize {
    let place = FIRST.iter().position(|name| path == Path::new(name));
    place.unwrap_or(FIRST.len())
}

fn collect(root: &Path, below: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let name = entry?.file_name();
        // `..data` and its dated directory are internal to the volume; the links beside them lead into it.
        if name.to_string_lossy().starts_with("..") {
            continue;
        }
        let path = below.join(name);
        let is_directory = fs::metadata(root.join(&path))?.is_dir();
        if !is_directory {
            found.push(path);
        } else if depth > 0 {
            collect(root, &path, depth - 1, found)?;
        }
    }
    Ok(())
}

fn append_environment(text: &mut Vec<u8>) {
    let mut variables: Vec<_> = env::vars_os().collect();
    variables.sort();
    for (name, value) in variables {
        let line = format!("\n{}={}", name.to_string_lossy(), value.to_string_lossy());
        text.extend(line.into_bytes());
    }
}
