//! Tries to leave each mount and to change it, `escape MOUNT… [--name PATH…]`, and prints a line for each attempt:
//! `ATTEMPT PATH: refused (reason)` or `ATTEMPT PATH: done (result)`.
//!
//! The names of `--name` are tried below each mount too, for example a link that a test laid there. The test judges
//! each `done`: a read of `MOUNT/../MOUNT/labels` is no escape, a read of `/etc/passwd` is.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Names that lead out of a directory, or would where a path is checked as a text.
const NAMES: [&str; 10] = [
    "..",
    "../..",
    "../../../../../../../../etc/passwd",
    "./../.",
    "..data/..",
    "..data/../..",
    "labels/..",
    "labels/../../..",
    "//etc/passwd",
    "..%2f..%2fetc%2fpasswd",
];

/// Paths that no grant opens.
const ABSOLUTE: [&str; 6] = ["/", "/.", "/etc", "/etc/passwd", "/proc/self/environ", "."];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut parts = arguments.split(|argument| argument == "--name");
    let mounts = parts.next().unwrap_or_default();
    let names: Vec<&str> = parts.flatten().map(String::as_str).collect();

    for path in ABSOLUTE {
        read(path);
    }
    for mount in mounts {
        for name in NAMES.iter().chain(&names) {
            read(&format!("{mount}/{name}"));
        }
        change(mount);
    }
}

/// Tries to read a path as a file and as a directory.
fn read(path: &str) {
    report("read", path, fs::read(path).map(|text| format!("{} bytes", text.len())));
    report("list", path, list(path));
}

fn list(path: &str) -> io::Result<String> {
    let names: io::Result<Vec<_>> = fs::read_dir(path)?.map(|entry| Ok(entry?.file_name())).collect();
    Ok(format!("{:?}", names?))
}

/// Tries everything that changes a directory or the files in it.
fn change(mount: &str) {
    let below = |name: &str| format!("{mount}/{name}");
    let (new, labels) = (below("new"), below("labels"));
    report("create", &new, File::create(&new));
    report("mkdir", &new, fs::create_dir(&new));
    report("rmdir", mount, fs::remove_dir(mount));
    report("link", &new, fs::hard_link(&labels, &new));
    report("symlink", &new, symlink("/etc/passwd", &new));
    for name in existing(mount) {
        let path = below(&name);
        report("open-to-write", &path, OpenOptions::new().write(true).open(&path));
        report("append", &path, OpenOptions::new().append(true).open(&path));
        report("truncate", &path, OpenOptions::new().write(true).truncate(true).open(&path));
        report("set-times", &path, set_times(&path));
        report("rename", &path, fs::rename(&path, &new));
        report("rename-out", &path, fs::rename(&path, below("../new")));
        report("rename-over", &path, fs::rename(below("..data"), &path));
        report("remove", &path, fs::remove_file(&path));
    }
}

/// Returns the names in a mount before the attempts, at least `..data`.
fn existing(mount: &str) -> Vec<String> {
    let entries = fs::read_dir(mount).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if !names.iter().any(|name| name == "..data") {
        names.push("..data".into());
    }
    names.sort();
    names
}

fn set_times(path: &str) -> io::Result<()> {
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    File::open(path)?.set_times(times)
}

#[expect(deprecated, reason = "the only stable name for it that every target has")]
fn symlink(target: &str, link: impl AsRef<Path>) -> io::Result<()> {
    fs::soft_link(target, link)
}

fn report<T: std::fmt::Debug>(attempt: &str, path: &str, outcome: io::Result<T>) {
    match outcome {
        Ok(got) => println!("{attempt} {path}: done ({got:?})"),
        Err(error) => println!("{attempt} {path}: refused ({error})"),
    }
}
