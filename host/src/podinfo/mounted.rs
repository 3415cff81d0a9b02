//! What of a volume a mount may show.
//!
//! Threat: a projected volume holds secrets and tokens beside Downward API files, and any directory of the host can be named as
//! a mount. So a file is shown only if its meaning is known, from the pod spec's items or from its usual name, and if its
//! content is one that a kubelet writes for that meaning. A file that looks like a service-account token is never shown.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::field::{Field, Map, Meaning};
use super::item::FileSource;
use super::reading::{MAX_PAIRS_FILE, MAX_VALUE_FILE};
use super::record::{Sources, VolumeSource};
use super::syntax;
use crate::policy::PodInfoMount;
use crate::volume::{Choice, RelativePath};

/// The bytes of a pod's name: those of a DNS subdomain [`apimachinery/pkg/util/validation`].
const MAX_NAME: usize = 253;

/// The bytes of a namespace's name, or of a label's value.
const MAX_LABEL: usize = 63;

/// The digits of the largest 64-bit number.
const MAX_DIGITS: usize = 19;

/// The beginning of each JSON Web Token: `{"` in base64.
const TOKEN_HEAD: &str = "eyJ";

/// The segments of a signed token.
const TOKEN_SEGMENTS: usize = 3;

/// A volume as one mount shows it: where it lies, and which of its files are known to be Downward API content.
#[derive(Debug, Clone)]
pub struct Mounted {
    host_path: PathBuf,
    sub_path: Option<RelativePath>,
    files: Vec<FileSource>,
    shown: Option<BTreeSet<String>>,
}

impl Mounted {
    /// The volume's directory on the host; for a single file it may be the file itself.
    pub fn host_path(&self) -> &std::path::Path {
        &self.host_path
    }

    /// The single file that is mounted, by its path in the volume.
    pub fn sub_path(&self) -> Option<&RelativePath> {
        self.sub_path.as_ref()
    }

    fn source(&self, path: &RelativePath) -> Option<&FileSource> {
        self.files.iter().find(|file| file.path == *path)
    }
}

impl Choice for Mounted {
    fn names(&self, path: &RelativePath) -> bool {
        self.shown.as_ref().is_none_or(|shown| shown.contains(path.as_str()))
    }

    fn knows(&self, path: &RelativePath) -> bool {
        self.names(path) && self.source(path).is_some()
    }

    fn admits(&self, path: &RelativePath, data: &[u8]) -> bool {
        self.source(path).is_some_and(|file| file.meaning.admits(data))
    }
}

impl Sources {
    /// The volume that a mount of a grant shows.
    pub(super) fn mounted(&self, mount: &PodInfoMount) -> Option<Mounted> {
        let volume = self.volumes.get(shown_by(&self.volumes, mount)?)?;
        let asked = mount.sub_path.as_deref().and_then(|path| RelativePath::new(path).ok());
        let clean = |path: &String| RelativePath::new(path).ok().map(|path| path.to_string());
        Some(Mounted {
            host_path: volume.host_path.clone(),
            sub_path: asked.or_else(|| volume.sub_path.clone()),
            files: volume.files.clone(),
            shown: mount.items.as_ref().map(|items| items.iter().filter_map(clean).collect()),
        })
    }
}

impl VolumeSource {
    /// The files that the mounts of a grant show of this volume: `None` when no mount shows it, and within it `None` for all
    /// of them.
    pub(super) fn granted(&self, volumes: &[Self], mounts: &[PodInfoMount]) -> Option<Option<Vec<String>>> {
        let own = |mount: &&PodInfoMount| {
            shown_by(volumes, mount)
                .and_then(|index| volumes.get(index))
                .is_some_and(|volume| std::ptr::eq(volume, self))
        };
        let mut mounts = mounts.iter().filter(own).peekable();
        mounts.peek()?;
        let mut names = Some(Vec::new());
        for mount in mounts {
            let shown = mount.sub_path.clone().map(|path| vec![path]).or_else(|| mount.items.clone());
            names = names.zip(shown).map(|(names, shown)| [names, shown].concat());
        }
        Some(names)
    }
}

/// The index of the volume that is mounted at the mount's path, or of the one that is mounted wherever a grant says.
fn shown_by(volumes: &[VolumeSource], mount: &PodInfoMount) -> Option<usize> {
    let at = |volume: &VolumeSource| {
        let same_path = volume.mount_path.as_ref().is_some_and(|path| path.canonical() == mount.mount_path.canonical());
        let file = volume.sub_path.as_ref().map(RelativePath::as_str);
        same_path && (file == mount.sub_path.as_deref())
    };
    let anywhere = |volume: &VolumeSource| volume.mount_path.is_none();
    volumes.iter().position(at).or_else(|| volumes.iter().position(anywhere))
}

impl Meaning {
    /// Returns whether a kubelet could have written `data` for this meaning.
    fn admits(&self, data: &[u8]) -> bool {
        if let Self::Field(Field::All(_)) = self {
            return data.len() <= MAX_PAIRS_FILE && syntax::parse(data).is_ok();
        }
        let Ok(text) = std::str::from_utf8(data) else {
            // An annotation may hold any bytes that JSON can say, and a token is ASCII.
            return matches!(self, Self::Field(Field::One(Map::Annotations, _))) && data.len() <= MAX_VALUE_FILE;
        };
        let only = |longest: usize, allowed: fn(char) -> bool| text.len() <= longest && text.chars().all(allowed);
        let fits = match self {
            Self::Resource(_) => !text.is_empty() && only(MAX_DIGITS, |letter| letter.is_ascii_digit()),
            Self::Field(Field::Name) => only(MAX_NAME, |letter| is_of_name(letter) || letter == '.'),
            Self::Field(Field::Namespace) => only(MAX_LABEL, is_of_name),
            Self::Field(Field::Uid) => only(MAX_LABEL, |letter| letter.is_ascii_hexdigit() || letter == '-'),
            Self::Field(Field::One(Map::Labels, _)) => {
                only(MAX_LABEL, |letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))
            }
            Self::Field(_) => text.len() <= MAX_VALUE_FILE,
        };
        fits && !is_token(text)
    }
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-'
}

/// Returns whether a text has the form of a signed JSON Web Token, as service-account tokens have.
fn is_token(text: &str) -> bool {
    let base64 = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    let text = text.trim();
    let segments = text.split('.');
    text.starts_with(TOKEN_HEAD)
        && segments.clone().count() == TOKEN_SEGMENTS
        && segments.clone().all(|segment| !segment.is_empty() && segment.chars().all(base64))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::podinfo::PodInfo;

    const TOKEN: &[u8] = b"eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2ln\n";

    fn admits(name: &str, data: &[u8]) -> bool {
        let pod = PodInfo::builder().volume("/nowhere").build().unwrap();
        let mounted = pod.mounted(&PodInfoMount::default()).unwrap();
        let path = RelativePath::new(name).unwrap();
        mounted.knows(&path) && mounted.admits(&path, data)
    }

    #[test]
    fn usual_names_with_what_a_kubelet_writes_are_shown() {
        for (name, data) in [
            ("labels", "app=\"web\"\nzone=\"a\\nb\""),
            ("labels", ""),
            ("annotations", "build=\"1\""),
            ("name", "web-0.a"),
            ("namespace", "default"),
            ("uid", "8a6f0b7e-0000-4f6e-8f55-6d5b43a0c7b0"),
            ("cpu_limit", "500"),
        ] {
            assert!(admits(name, data.as_bytes()), "{name} {data:?}");
        }
    }

    #[test]
    fn neither_other_names_nor_other_content_is_shown() {
        for name in ["token", "ca.crt", "password", "labels/token", "environ"] {
            assert!(!admits(name, b"app=\"web\""), "{name}");
        }
        for name in ["labels", "annotations", "name", "podName", "namespace", "uid", "cpu_limit", "mem_request"] {
            for data in
                [TOKEN, b"-----BEGIN PRIVATE KEY-----\nMIIE\n", b"PATH=/bin\0HOME=/\0", b"pass word", b"\xff\xfe"]
            {
                assert!(!admits(name, data), "{name} {data:?}");
            }
        }
    }
}
