//! The on-disk layout of a kubelet volume: the atomic writer, and the reader that never sees a mixture.
//!
//! A volume is a directory in which each name is a link into `..data`, itself a link to a dated directory that holds
//! the files. An update writes a new dated directory and renames one link, so every open is atomic. Two opens may still
//! straddle an update, so several files of one version are read through a [`Version`].
//!
//! ```text
//! labels  -> ..data/labels
//! ..data  -> ..2026_03_01_12_00_00.3141592653
//! ..2026_03_01_12_00_00.3141592653/labels
//! ```
//!
//! Written from `pkg/volume/util/atomic_writer.go` of Kubernetes.

mod kept;
mod path;
mod version;
mod writer;

use std::io;
use std::path::PathBuf;

pub use self::kept::{Choice, KeptFile, KeptVersion, KeptVolume, MAX_LEFT_OUT, MAX_VOLUME, read_single};
pub use self::path::{InvalidPath, RelativePath};
pub use self::version::{MAX_FILE, Version, read_consistently};
pub use self::writer::AtomicWriter;

/// The link that names the version in force.
pub const DATA_LINK: &str = "..data";

/// The name under which the next [`DATA_LINK`] is made before it is renamed.
const NEXT_DATA_LINK: &str = "..data_tmp";

/// One file of a volume, as it is read and as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The whole content.
    pub data: Vec<u8>,
    /// The permission bits; a writer sets them whatever the umask is.
    pub mode: u32,
}

/// The reason why a volume could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// A path does not belong in a volume.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// A step on the file system failed.
    #[error("cannot {step} {}", path.display())]
    Io {
        /// The step, as a verb.
        step: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// There is no such file in the version read.
    #[error("no file {} in the volume", path.display())]
    Missing {
        /// The file, below the volume.
        path: PathBuf,
    },
    /// A link, or something that is neither file nor directory, where only a file of the volume may be.
    #[error("{} is not a plain file inside the volume", path.display())]
    Escapes {
        /// The offending path.
        path: PathBuf,
    },
    /// The file is larger than any that a kubelet writes.
    #[error("{} has more than {MAX_FILE} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// There are more files, or deeper directories, than any kubelet writes.
    #[error("{} holds more files than a volume may", path.display())]
    TooMany {
        /// The volume.
        path: PathBuf,
    },
    /// The directory does not have the layout of a kubelet's volume, with `..data` as a link to a dated directory; or
    /// it is one of the kernel's, or the root.
    #[error("{} is not a volume that a kubelet wrote: it has no ..data that leads to a dated directory in it", path.display())]
    NotAVolume {
        /// The directory.
        path: PathBuf,
    },
    /// Each try met an update. This happens only while a volume is rewritten without pause.
    #[error("{} changed on each of {tries} tries to read it", path.display())]
    Restless {
        /// The volume.
        path: PathBuf,
        /// The number of tries.
        tries: u32,
    },
}

impl VolumeError {
    fn io(step: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { step, path, source }
    }
}

#[cfg(test)]
mod tests;
