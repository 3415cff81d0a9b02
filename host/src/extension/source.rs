//! A component's file: its kind, its digest, and its bytes where they are needed.
//!
//! Threat: a file of hundreds of megabytes that the host holds, even twice, before any limit is checked. So its size is
//! bounded before it is read. Where a separate process compiles it, the host only computes its digest, a piece at a
//! time. That process reads the file itself, and refuses a file with another digest.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::load::LoadError;
use crate::engine::{Content, Input, MAX_ARTEFACT};
use crate::policy::Grant;

/// The maximum size of a component, in bytes; a Python interpreter compiled to a component takes some 40 MiB.
pub const MAX_COMPONENT: u64 = 256 << 20;

/// The first eight bytes of a component and of a core module ("layer" 1 and 0, component model's Binary.md), and the
/// first four of an artefact.
pub(super) const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
const ARTEFACT: &[u8] = b"\x7fELF";

/// The size of the header of a 64-bit ELF file, in bytes.
const ELF_HEADER: usize = 64;

/// The size of one read of a file, in bytes.
const CHUNK: usize = 64 << 10;

/// A component, or an artefact of one.
pub(super) struct Source {
    content: Bytes,
    pub(super) size: u64,
    pub(super) sha256: [u8; 32],
    pub(super) kind: Kind,
    /// Set if the file is only the beginning of an artefact.
    cut: bool,
}

enum Bytes {
    Memory(Vec<u8>),
    File(File),
}

/// The content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Component,
    /// Machine code, compiled elsewhere.
    Artefact,
}

impl Source {
    /// Takes bytes that are in memory already.
    pub(super) fn of(content: Vec<u8>) -> Result<Self, LoadError> {
        let (size, kind) = (content.len() as u64, kind(&content)?);
        if size > most(kind) {
            return Err(LoadError::TooLarge { most: most(kind) });
        }
        let sha256 = Sha256::digest(&content).into();
        let cut = kind == Kind::Artefact && is_cut(&content, size);
        Ok(Self { content: Bytes::Memory(content), size, sha256, kind, cut })
    }

    /// Opens a file and computes its digest. Its bytes stay in the file. They are read into memory if `whole` is set
    /// for a component, or if the file cannot be read twice.
    pub(super) fn open(path: &Path, whole: bool) -> Result<Self, LoadError> {
        let failed = |source| LoadError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        let mut head = Vec::with_capacity(ELF_HEADER);
        (&mut file).take(ELF_HEADER as u64).read_to_end(&mut head).map_err(failed)?;
        let kind = kind(&head)?;
        let most = most(kind);
        if found.is_file() && found.len() > most {
            return Err(LoadError::TooLarge { most });
        }
        let stays = found.is_file() && !(whole && kind == Kind::Component);
        let mut content = Vec::new();
        let mut kept = |piece: &[u8]| content.extend_from_slice(piece);
        let (size, sha256) = if stays {
            file.rewind().map_err(failed)?;
            read(&mut file, most, |_| ())
        } else {
            read(&mut (head.as_slice()).chain(&mut file), most, &mut kept)
        }
        .map_err(failed)?;
        if size > most {
            return Err(LoadError::TooLarge { most });
        }
        let content = if stays { Bytes::File(file) } else { Bytes::Memory(content) };
        let cut = kind == Kind::Artefact && is_cut(&head, size);
        Ok(Self { content, size, sha256, kind, cut })
    }

    /// Checks the digest against the grant's pin. An artefact is loaded only if it is pinned.
    pub(super) fn check(&self, grant: &Grant) -> Result<(), LoadError> {
        let found = || hex::encode(self.sha256);
        let pin = grant.component.as_ref();
        match self.kind {
            Kind::Component => match pin.and_then(|pin| pin.sha256()) {
                Some(pinned) if *pinned != self.sha256 => {
                    Err(LoadError::Pinned { pinned: hex::encode(pinned), found: found() })
                }
                // A pin of an artefact alone is a pin, too: the operator has reviewed only that file.
                None if pin.is_some() => Err(LoadError::ComponentUnpinned { found: found() }),
                _ => Ok(()),
            },
            Kind::Artefact if self.cut => Err(LoadError::ArtefactCut { size: self.size }),
            Kind::Artefact => match pin.and_then(|pin| pin.artefact_sha256()) {
                Some(pinned) if *pinned == self.sha256 => Ok(()),
                Some(pinned) => Err(LoadError::ArtefactPinned { pinned: hex::encode(pinned), found: found() }),
                None => Err(LoadError::ArtefactUnpinned { found: found() }),
            },
        }
    }

    /// Returns the input of the process that compiles the component.
    pub(super) fn input(&self) -> Input<'_> {
        let content = match &self.content {
            Bytes::Memory(bytes) => Content::Memory(bytes),
            Bytes::File(file) => Content::File(file),
        };
        Input { content, size: self.size, sha256: &self.sha256 }
    }

    /// Returns the bytes for compiling in this process, if they are in memory.
    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match &self.content {
            Bytes::Memory(bytes) => Some(bytes),
            Bytes::File(_) => None,
        }
    }

    /// Returns a reader from the beginning.
    pub(super) fn reader(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match &self.content {
            Bytes::Memory(bytes) => Box::new(bytes.as_slice()),
            Bytes::File(file) => {
                let mut file = file;
                file.rewind()?;
                Box::new(file)
            }
        })
    }
}

fn most(kind: Kind) -> u64 {
    match kind {
        Kind::Component => MAX_COMPONENT,
        Kind::Artefact => MAX_ARTEFACT,
    }
}

fn kind(head: &[u8]) -> Result<Kind, LoadError> {
    if head.starts_with(COMPONENT) {
        return Ok(Kind::Component);
    }
    if head.starts_with(ARTEFACT) {
        return Ok(Kind::Artefact);
    }
    if head.starts_with(CORE_MODULE) {
        return Err(LoadError::CoreModule);
    }
    Err(LoadError::NotWasm { found: head.get(..COMPONENT.len()).unwrap_or(head).to_vec() })
}

/// Returns whether an artefact of this size ends before its table of sections, which is the last part of it. Only a
/// digest shows whether the artefact is intact.
fn is_cut(head: &[u8], size: u64) -> bool {
    // elf(5): class and byte order, which must be 64 bits and little-endian, then `e_shoff`, `e_shentsize` and
    // `e_shnum`. Any other file is for a processor that this host does not run on.
    let Some(head) = head.first_chunk::<ELF_HEADER>() else { return true };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let [_, _, _, _, class, order, ..] = head;
    let end = number(&head[0x28..0x30]).saturating_add(number(&head[0x3a..0x3c]) * number(&head[0x3c..0x3e]));
    (*class, *order) == (2, 1) && end > size
}

/// Reads to the end, or to one byte more than `most`. Returns the size and the digest.
fn read(from: &mut impl Read, most: u64, mut piece: impl FnMut(&[u8])) -> io::Result<(u64, [u8; 32])> {
    let mut from = from.take(most.saturating_add(1));
    let (mut size, mut hasher) = (0_u64, Sha256::new());
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = from.read(&mut chunk)?;
        let read = chunk.get(..read).unwrap_or_default();
        if read.is_empty() {
            return Ok((size, hasher.finalize().into()));
        }
        hasher.write_all(read)?;
        piece(read);
        size = size.saturating_add(read.len() as u64);
    }
}
