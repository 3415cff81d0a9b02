//! The handles of a guest, and the facts about the files behind them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;

use super::error::ErrorCode;
use super::open::OpenFile;
use super::tree::Node;
use super::walk::Found;
use crate::capability::bindings::filesystem as types;

/// An open file or directory of a guest.
#[derive(Debug)]
pub enum Descriptor {
    /// The path of a directory. Each use looks the path up again, so that a handle holds nothing open.
    #[doc(hidden)]
    Directory(PathFromRoot),
    /// The bytes of a file.
    #[doc(hidden)]
    File(OpenedFile),
}

/// The path from the root, without links and dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFromRoot(pub(super) Box<[String]>);

/// A file in the version in which it was opened.
#[derive(Clone, Debug)]
pub struct OpenedFile {
    pub(super) identity: Identity,
    pub(super) modified: SystemTime,
    pub(super) file: Arc<OpenFile>,
}

/// A position in the listing of a directory.
#[derive(Debug)]
pub struct Listing {
    pub(super) directory: PathFromRoot,
    /// The last name that was read.
    pub(super) last: Option<String>,
}

/// A hash of a file's path and time. Equal hashes mean one file, in one version of its volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    lower: u64,
    upper: u64,
}

impl Identity {
    pub(super) fn of(path: &[String], modified: SystemTime) -> Self {
        let hash = |seed: u8| {
            let mut hasher = DefaultHasher::new();
            (seed, path, modified).hash(&mut hasher);
            hasher.finish()
        };
        Self { lower: hash(0), upper: hash(1) }
    }
}

impl From<Identity> for types::MetadataHashValue {
    fn from(identity: Identity) -> Self {
        Self { lower: identity.lower, upper: identity.upper }
    }
}

pub(super) fn stat(kind: types::DescriptorType, size: usize, modified: Option<SystemTime>) -> types::DescriptorStat {
    let since = modified.and_then(|modified| modified.duration_since(UNIX_EPOCH).ok());
    let time = since.map(|since| Datetime { seconds: since.as_secs(), nanoseconds: since.subsec_nanos() });
    types::DescriptorStat {
        type_: kind,
        link_count: 1,
        size: size as u64,
        data_access_timestamp: time,
        data_modification_timestamp: time,
        status_change_timestamp: time,
    }
}

pub(super) fn stat_of(found: &Found) -> Result<types::DescriptorStat, ErrorCode> {
    Ok(match found {
        Found::Directory(directory) => stat(types::DescriptorType::Directory, 0, Some(directory.modified)),
        Found::Link(target) => stat(types::DescriptorType::SymbolicLink, target.len(), None),
        Found::File(file) => {
            let size = file.data.as_ref().map_or(0, bytes::Bytes::len);
            stat(types::DescriptorType::RegularFile, size, Some(file.modified))
        }
    })
}

pub(super) fn kind(node: &Node) -> types::DescriptorType {
    match node {
        Node::Directory(_) | Node::Mount(_) => types::DescriptorType::Directory,
        Node::File(_) => types::DescriptorType::RegularFile,
        Node::Link(_) => types::DescriptorType::SymbolicLink,
    }
}
