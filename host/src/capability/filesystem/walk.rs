//! The resolution of paths.
//!
//! Threat: a path that leads out of the directory in which it is resolved. A descriptor is a capability: a guest may
//! hand it to another part of itself, and it must open only what lies below it. So `..` and links never lead above the
//! descriptor's directory. Nor do they lead above the root, where `..` is the root itself as on any system.

use std::collections::VecDeque;
use std::sync::Arc;

use super::error::ErrorCode;
use super::tree::{Directory, File, Node, Root};

/// The longest path, in bytes (Linux's `PATH_MAX`).
const MAX_PATH: usize = 4096;

/// The longest element of a path, in bytes (Linux's `NAME_MAX`).
const MAX_NAME: usize = 255;

/// The largest number of links in one path, as on Linux.
const MAX_LINKS: usize = 40;

/// The node at a path.
#[derive(Clone, Debug)]
pub(super) enum Found {
    Directory(Arc<Directory>),
    File(File),
    Link(Arc<str>),
}

/// The node at a path, and its path from the root, without links and dots.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) path: Vec<String>,
    pub(super) found: Found,
}

/// The directories from the root to a directory.
struct Descent {
    root: Arc<Directory>,
    below: Vec<(String, Arc<Directory>)>,
}

impl Descent {
    fn here(&self) -> &Arc<Directory> {
        self.below.last().map_or(&self.root, |(_, directory)| directory)
    }

    fn path(&self, last: Option<String>) -> Vec<String> {
        self.below.iter().map(|(name, _)| name.clone()).chain(last).collect()
    }
}

/// Opens a directory by the path in [`Resolved`]. A directory of an older version of a volume is gone.
fn base(root: &Root, path: &[String]) -> Result<Descent, ErrorCode> {
    let mut way = Descent { root: Arc::clone(&root.0), below: Vec::with_capacity(path.len()) };
    for name in path {
        match way.here().entries.get(name).map(look) {
            Some(Found::Directory(directory)) => way.below.push((name.clone(), directory)),
            _ => return Err(ErrorCode::NoEntry),
        }
    }
    Ok(way)
}

fn look(node: &Node) -> Found {
    match node {
        Node::Directory(directory) => Found::Directory(Arc::clone(directory)),
        Node::Mount(mount) => Found::Directory(mount.newest()),
        Node::File(file) => Found::File(file.clone()),
        Node::Link(target) => Found::Link(Arc::clone(target)),
    }
}

/// Resolves `path` in the directory at `from`. A link at its end is followed if `follow`, or if a slash comes after it.
pub(super) fn resolve(root: &Root, from: &[String], path: &str, follow: bool) -> Result<Resolved, ErrorCode> {
    if path.is_empty() {
        return Err(ErrorCode::NoEntry);
    }
    if path.len() > MAX_PATH {
        return Err(ErrorCode::NameTooLong);
    }
    if path.starts_with('/') {
        return Err(ErrorCode::NotPermitted);
    }
    let mut way = base(root, from)?;
    let floor = way.below.len();
    let mut links = 0;
    let mut ahead: VecDeque<String> = path.split('/').map(str::to_owned).collect();
    while let Some(name) = ahead.pop_front() {
        match name.as_str() {
            "" | "." => {}
            ".." if way.below.len() > floor => drop(way.below.pop()),
            ".." if floor == 0 => {}
            ".." => return Err(ErrorCode::NotPermitted),
            name if name.len() > MAX_NAME => return Err(ErrorCode::NameTooLong),
            _ => {
                let found = way.here().entries.get(&name).map(look).ok_or(ErrorCode::NoEntry)?;
                match found {
                    Found::Directory(directory) => way.below.push((name, directory)),
                    Found::Link(target) if follow || !ahead.is_empty() => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err(ErrorCode::Loop);
                        }
                        // No link of this tree is absolute, and the WIT refuses such links.
                        target.rsplit('/').for_each(|element| ahead.push_front(element.to_owned()));
                    }
                    found if ahead.is_empty() => return Ok(Resolved { path: way.path(Some(name)), found }),
                    _ => return Err(ErrorCode::NotDirectory),
                }
            }
        }
    }
    Ok(Resolved { found: Found::Directory(Arc::clone(way.here())), path: way.path(None) })
}

/// Opens the directory that [`resolve`] found before.
pub(super) fn revisit(root: &Root, path: &[String]) -> Result<Arc<Directory>, ErrorCode> {
    base(root, path).map(|way| Arc::clone(way.here()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::capability::filesystem::Mount;
    use std::time::SystemTime;

    struct Fixed(Arc<Directory>);

    impl Mount for Fixed {
        fn newest(&self) -> Arc<Directory> {
            Arc::clone(&self.0)
        }
    }

    fn root() -> Root {
        let files = ["labels", "deep/er/name"].map(|path| (path.parse().unwrap(), "x".into()));
        let volume = Arc::new(Directory::of_files("..2026_1", SystemTime::now(), files));
        Root::new()
            .with_mount("/etc/podinfo", Arc::new(Fixed(Arc::clone(&volume))))
            .with_mount("/var/run/secrets/account/", Arc::new(Fixed(volume)))
            .with_file("/etc/app/zone", "z")
    }

    fn at(from: &[&str], path: &str, follow: bool) -> Result<String, ErrorCode> {
        let from: Vec<_> = from.iter().map(|name| (*name).to_owned()).collect();
        resolve(&root(), &from, path, follow).map(|resolved| {
            let path = resolved.path.join("/");
            match resolved.found {
                Found::Directory(_) => format!("{path}/"),
                Found::File(_) => path,
                Found::Link(target) => format!("{path} -> {target}"),
            }
        })
    }

    #[test]
    fn paths_mean_what_they_mean_in_a_container() {
        for (path, expected) in [
            (".", "/"),
            ("etc", "etc/"),
            ("..", "/"),
            ("../../etc/../etc/./podinfo//labels", "etc/podinfo/..2026_1/labels"),
            ("etc/podinfo/..data", "etc/podinfo/..2026_1/"),
            ("etc/podinfo/deep/er/name", "etc/podinfo/..2026_1/deep/er/name"),
            ("etc/podinfo/../app/zone", "etc/app/zone"),
            ("var/run", "run/"),
            ("var/run/secrets/account/labels", "run/secrets/account/..2026_1/labels"),
            ("run/secrets/account/labels", "run/secrets/account/..2026_1/labels"),
        ] {
            assert_eq!(at(&[], path, true).unwrap(), expected, "{path}");
        }
        assert_eq!(at(&[], "etc/podinfo/labels", false).unwrap(), "etc/podinfo/labels -> ..data/labels");
        assert_eq!(at(&[], "var/run", false).unwrap(), "var/run -> ../run");
        assert_eq!(at(&[], "var/run/", false).unwrap(), "run/");
    }

    #[test]
    fn what_is_not_there_has_the_error_of_a_container() {
        for (path, expected) in [
            ("etc/passwd", ErrorCode::NoEntry),
            ("", ErrorCode::NoEntry),
            ("/etc", ErrorCode::NotPermitted),
            (&"x".repeat(300), ErrorCode::NameTooLong),
            ("etc/app/zone/", ErrorCode::NotDirectory),
            ("etc/app/zone/x", ErrorCode::NotDirectory),
            ("etc/podinfo/labels/..", ErrorCode::NotDirectory),
            ("etc/podinfo/labels\0", ErrorCode::NoEntry),
        ] {
            assert_eq!(at(&[], path, true).unwrap_err(), expected, "{path}");
        }
        assert_eq!(at(&[], &"./".repeat(3000), true).unwrap_err(), ErrorCode::NameTooLong);
    }

    #[test]
    fn nothing_leads_above_the_directory_of_a_descriptor() {
        assert_eq!(at(&["etc", "podinfo"], "labels", true).unwrap(), "etc/podinfo/..2026_1/labels");
        for (from, path) in [
            (&["etc", "podinfo"][..], ".."),
            (&["etc"], "podinfo/../../run"),
            (&["var"], "run"),
            (&["etc", "podinfo", "..2026_1"], "../labels"),
        ] {
            assert_eq!(at(from, path, true).unwrap_err(), ErrorCode::NotPermitted, "{from:?} {path}");
        }
        assert_eq!(at(&["etc", "podinfo", "..2025"], "labels", true).unwrap_err(), ErrorCode::NoEntry);
    }
}
