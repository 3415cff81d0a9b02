//! Looks at files, `files COMMAND ARGUMENT… [-- COMMAND ARGUMENT…]…`, and prints a line for each command: `COMMAND
//! PATH: WHAT`.
//!
//! | command | what it prints |
//! | --- | --- |
//! | `real PATH` | the canonical path |
//! | `read PATH` | the content |
//! | `list PATH` | the names in a directory |
//! | `kind PATH` | `file`, `directory` or `link`, with a file's length |
//! | `link PATH` | the target of a link |
//! | `hold NUMBER PATH` | the number of descriptors and streams that it could hold open |
//! | `within DIRECTORY PATH` | the error, or `opened`, of a path from a descriptor of the directory |
//! | `error` | the text of the error that writing to stdout gave, on stderr |

use std::fs;
use std::io;

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{Descriptor, DescriptorFlags, ErrorCode, OpenFlags, PathFlags};
use wasip2::io::streams::StreamError;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    for command in arguments.split(|argument| argument == "--") {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words[..] {
            ["real", path] => say("real", path, fs::canonicalize(path).map(|path| path.display().to_string())),
            ["read", path] => say("read", path, fs::read_to_string(path)),
            ["list", path] => say("list", path, list(path)),
            ["kind", path] => say("kind", path, kind(path)),
            ["link", path] => say("link", path, fs::read_link(path).map(|path| path.display().to_string())),
            ["hold", number, path] => println!("hold {path}: {}", hold(number.parse().unwrap_or(1), path)),
            ["within", directory, path] => println!("within {directory} {path}: {}", within(directory, path)),
            ["error"] => eprintln!("error: {}", error()),
            _ => println!("unknown: {words:?}"),
        }
    }
}

fn say(command: &str, path: &str, outcome: io::Result<String>) {
    match outcome {
        Ok(what) => println!("{command} {path}: {what}"),
        Err(error) => println!("{command} {path}: {:?}", error.kind()),
    }
}

fn list(path: &str) -> io::Result<String> {
    let names: io::Result<Vec<_>> =
        fs::read_dir(path)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
    let mut names = names?;
    names.sort();
    Ok(names.join(" "))
}

fn kind(path: &str) -> io::Result<String> {
    let found = fs::symlink_metadata(path)?;
    Ok(match found.file_type() {
        kind if kind.is_symlink() => "link".to_owned(),
        kind if kind.is_dir() => "directory".to_owned(),
        _ => format!("file of {}", found.len()),
    })
}

fn open(from: &Descriptor, path: &str) -> Result<Descriptor, ErrorCode> {
    let path = path.trim_start_matches('/');
    from.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)
}

fn root() -> Option<Descriptor> {
    get_directories().into_iter().map(|(root, _)| root).next()
}

fn hold(number: usize, path: &str) -> usize {
    let Some(root) = root() else { return 0 };
    let mut held = Vec::new();
    for _ in 0..number {
        let Ok(descriptor) = open(&root, path) else { break };
        let Ok(stream) = descriptor.read_via_stream(0) else { break };
        if stream.read(1).is_err() {
            break;
        }
        held.push((descriptor, stream));
    }
    let count = held.len();
    std::mem::forget(held);
    count
}

fn within(directory: &str, path: &str) -> String {
    let Some(root) = root() else { return "no root".to_owned() };
    let opened = open(&root, directory).and_then(|directory| {
        directory.open_at(PathFlags::SYMLINK_FOLLOW, path, OpenFlags::empty(), DescriptorFlags::READ)
    });
    opened.map_or_else(|error| format!("{error:?}"), |_| "opened".to_owned())
}

fn error() -> String {
    let stdout = wasip2::cli::stdout::get_stdout();
    match stdout.blocking_write_and_flush(b"something") {
        Err(StreamError::LastOperationFailed(error)) => error.to_debug_string(),
        other => format!("{other:?}"),
    }
}
