//! The part of a volume that a mount may show.
//!
//! Threat: a projected volume holds secrets and tokens beside Downward API files, and any directory of the host can be
//! named as a mount. So a file is shown only if its meaning is known, from the pod spec's items or from its usual name.
//! Its content must also be text that a kubelet writes for that meaning. A file that looks like a service-account token
//! is never shown.

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
const TOKEN_HEAD: &[u8] = b"eyJ";

/// The segments of a signed token; an encrypted one has more.
const TOKEN_SEGMENTS: usize = 3;

/// The text that the first line of each private key in PEM contains.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY-----";

/// A volume as one mount shows it: its location, and those of its files that are known to be Downward API content.
#[derive(Debug, Clone)]
pub struct Mounted {
    host_path: PathBuf,
    sub_path: Option<RelativePath>,
    files: Vec<FileSource>,
    shown: Option<BTreeSet<String>>,
}

impl Mounted {
    /// Returns the volume's directory on the host; for a single file it may be the file itself.
    pub fn host_path(&self) -> &std::path::Path {
        &self.host_path
    }

    /// Returns the single file that is mounted, by its path in the volume.
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
    /// Returns the volume that a mount of a grant shows.
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
    /// Returns the files of this volume that the mounts of a grant show. The outer `None` means that no mount shows the
    /// volume, the inner `None` that all files are shown.
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

/// Returns the index of the volume that is mounted at the mount's path, or else of the volume that guests see wherever
/// a grant mounts it.
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
    /// Returns whether a kubelet could have written `data` for this meaning, and `data` contains no credential.
    pub(super) fn admits(&self, data: &[u8]) -> bool {
        self.fits(data) && !holds_credential(data)
    }

    fn fits(&self, data: &[u8]) -> bool {
        let only = |longest: usize, allowed: fn(u8) -> bool| data.len() <= longest && data.iter().copied().all(allowed);
        match self {
            Self::Resource(_) => !data.is_empty() && only(MAX_DIGITS, |byte| byte.is_ascii_digit()),
            Self::Field(Field::Name) => only(MAX_NAME, |byte| is_of_name(byte) || byte == b'.'),
            Self::Field(Field::Namespace) => only(MAX_LABEL, is_of_name),
            Self::Field(Field::Uid) => only(MAX_LABEL, |byte| byte.is_ascii_hexdigit() || byte == b'-'),
            Self::Field(Field::One(Map::Labels, _)) => is_label(data),
            Self::Field(Field::All(map)) => data.len() <= MAX_PAIRS_FILE && are_pairs(data, *map),
            Self::Field(_) => data.len() <= MAX_VALUE_FILE,
        }
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

/// Returns whether these may be the bytes of a label's value [`apimachinery/pkg/util/validation`, `IsValidLabelValue`].
fn is_label(value: &[u8]) -> bool {
    value.len() <= MAX_LABEL
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

/// Returns whether `key` is valid for a label or an annotation: a name, with or without a DNS subdomain and a slash
/// before it.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
    !name.is_empty()
        && is_label(name.as_bytes())
        && prefix.len() <= MAX_NAME
        && prefix.bytes().all(|byte| is_of_name(byte) || byte == b'.')
}

fn are_pairs(data: &[u8], map: Map) -> bool {
    let fits = |(key, value): &(String, String)| is_key(key) && (map == Map::Annotations || is_label(value.as_bytes()));
    syntax::parse(data).is_ok_and(|pairs| pairs.iter().all(fits))
}

/// Returns whether these bytes contain a private key in PEM or a JSON Web Token, signed or encrypted. Service-account
/// tokens are such tokens.
pub(super) fn holds_credential(data: &[u8]) -> bool {
    let key = |window: &[u8]| window == PRIVATE_KEY;
    data.windows(PRIVATE_KEY.len()).any(key) || data.split(|byte| !is_of_token(*byte)).any(is_token)
}

fn is_of_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Returns whether a word has the form of a token: a header that is a JSON object, and at least two more segments. (The
/// second of an encrypted token may be empty.)
fn is_token(word: &[u8]) -> bool {
    let head = word.windows(TOKEN_HEAD.len()).position(|window| window == TOKEN_HEAD);
    let segments = head.and_then(|head| word.get(head..)).map(|token| token.split(|byte| *byte == b'.'));
    segments.is_some_and(|segments| segments.filter(|segment| !segment.is_empty()).count() >= TOKEN_SEGMENTS)
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
            ("labels", "app=\"web\"\nexample.com/zone=\"\""),
            ("labels", ""),
            ("annotations", "build=\"1\""),
            ("name", "web-0.a"),
            ("namespace", "default"),
            ("uid", "8a6f0b7e-0000-4f6e-8f55-6d5b43a0c7b0"),
            ("cpu_limit", "500"),
            ("annotations", "example.com/note=\"a \\\"b\\\" + c/d\\n\"\nplain=\"eyJub3QiOiJhIHRva2VuIn0\""),
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

    #[test]
    fn a_credential_is_seen_wherever_it_stands() {
        let token = std::str::from_utf8(TOKEN).unwrap().trim();
        let wrapped = [
            format!("Bearer {token}"),
            format!("\u{feff}{token}"),
            format!("one\n{token}\ntwo"),
            format!("{{\"token\":\"{token}\"}}"),
            format!("{token}\0"),
            "eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn".to_owned(),
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE".to_owned(),
        ];
        for text in &wrapped {
            assert!(holds_credential(text.as_bytes()), "{text}");
            assert!(!admits("annotations", format!("a={text:?}").as_bytes()), "{text}");
        }
        assert!(holds_credential(&[TOKEN, b"\xff"].concat()));
        assert!(!admits("labels", b"token=\"abc/DEF+ghi==\"") && !admits("labels", b"a b=\"c\""));
        for text in ["eyJhIjoiYiJ9", "v1.2.3", "eyJ.", "a.b.c", ""] {
            assert!(!holds_credential(text.as_bytes()), "{text}");
        }
    }
}
