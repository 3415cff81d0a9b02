//! The pod's volumes in an extension's file system.
//!
//! Threat: a mount that covers another, or a path that leads elsewhere.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::{DocumentError, Problem, document::Cursor};

/// The default path of the Downward API volume.
pub const PODINFO_PATH: &str = "/etc/podinfo";

/// The path at which Kubernetes mounts the service-account volume.
pub const SERVICE_ACCOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The directory whose `run` is a link to [`RUN`] in most images.
const VAR: &str = "/var";

/// The directory of run-time files.
const RUN: &str = "/run";

/// The number of Downward API mounts that one grant may have. A container has one or two; each mount costs the host a
/// copy of its files in memory.
pub const MAX_PODINFO_MOUNTS: usize = 16;

/// The longest mount path, in bytes. Each directory that a guest opens below it costs the host as many.
const MAX_MOUNT_PATH: usize = 1023;

/// An absolute path in the guest's file system without `.`, `..`, empty segments or control characters.
///
/// ```
/// use attache_policy::MountPath;
///
/// let run: MountPath = "/var/run/creds/".parse()?;
/// assert_eq!((run.as_str(), run.canonical()), ("/var/run/creds", "/run/creds"));
/// # Ok::<(), attache_policy::MountPathError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct MountPath(String);

/// The reason why a text is no mount path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MountPathError {
    /// The path does not begin with a slash, or is the root itself.
    #[error("a mount path is absolute and not the root")]
    NotBelowRoot,
    /// The path has an empty, `.` or `..` segment.
    #[error("a mount path has no empty, `.` or `..` segments")]
    Segment,
    /// The path has a control character, a backslash or a colon, or is too long.
    #[error("a mount path has no control characters, backslashes or colons, and at most {MAX_MOUNT_PATH} bytes")]
    Text,
}

impl MountPath {
    /// Returns the path without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path with `/run` instead of `/var/run`: in a container `/var/run` is a link to `/run`.
    pub fn canonical(&self) -> &str {
        match self.0.strip_prefix(VAR) {
            Some(rest) if is_at_or_below(rest, RUN) => rest,
            _ => &self.0,
        }
    }

    /// Returns whether one path is the other or lies below it. `/run` and `/var/run` are one directory.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (one, other) = (self.canonical(), other.canonical());
        // Paths below `/run` have a second name in `/var`, which another mount would hide.
        let hides = |one: &str, other: &str| one == VAR && is_at_or_below(other, RUN);
        is_at_or_below(one, other) || is_at_or_below(other, one) || hides(one, other) || hides(other, one)
    }
}

impl fmt::Display for MountPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MountPath {
    type Err = MountPathError;

    fn from_str(text: &str) -> Result<Self, MountPathError> {
        let inner = text.strip_prefix('/').ok_or(MountPathError::NotBelowRoot)?;
        let inner = inner.strip_suffix('/').unwrap_or(inner);
        if inner.is_empty() {
            return Err(MountPathError::NotBelowRoot);
        }
        if !is_relative_path(inner) {
            return Err(MountPathError::Segment);
        }
        // Kubernetes forbids the colon in a mountPath.
        let odd = |letter: char| letter.is_control() || letter == '\\' || letter == ':';
        if text.len() > MAX_MOUNT_PATH || inner.contains(odd) {
            return Err(MountPathError::Text);
        }
        Ok(Self(format!("/{inner}")))
    }
}

/// Returns whether `inner` is the directory `outer` or lies below it.
fn is_at_or_below(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether a path has plain segments only.
fn is_relative_path(path: &str) -> bool {
    path.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

/// One Downward API volume of the pod, or one file of it, as the guest sees it.
///
/// ```
/// use attache_policy::Grant;
///
/// let grant = Grant::parse(
///     "{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {name: card}, spec: {podinfo: [
///        {mountPath: /etc/podinfo, items: [labels, cpu_limit]},
///        {mountPath: /etc/app/labels, subPath: labels}]}}",
/// )?;
/// assert_eq!(grant.podinfo[1].mount_path.as_str(), "/etc/app/labels");
/// # Ok::<(), attache_policy::DocumentError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodInfoMount {
    /// The path of the volume in the guest's file system, read-only. With `sub_path`, the path of the file.
    pub mount_path: MountPath,
    /// The files that are shown, by their path in the volume; `None` is all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<String>>,
    /// The one file of the volume that is mounted, by its path in the volume. As in Kubernetes it never changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
}

impl Default for PodInfoMount {
    /// The whole volume at [`PODINFO_PATH`].
    fn default() -> Self {
        Self { mount_path: MountPath(PODINFO_PATH.into()), items: None, sub_path: None }
    }
}

impl PodInfoMount {
    /// Reads one mount, or a list of mounts.
    pub(super) fn decode_all(at: &Cursor<'_>) -> Result<Vec<Self>, DocumentError> {
        if !at.is_list() {
            return Ok(vec![Self::decode(at)?]);
        }
        let mounts = at.each(Self::decode)?;
        if mounts.len() > MAX_PODINFO_MOUNTS {
            let why = format!("a grant has at most {MAX_PODINFO_MOUNTS} podinfo mounts");
            return Err(at.invalid(&mounts.len().to_string(), why));
        }
        Ok(mounts)
    }

    fn decode(at: &Cursor<'_>) -> Result<Self, DocumentError> {
        let fields = at.clone().fields(&["mountPath", "items", "subPath"])?;
        let mount = Self {
            mount_path: fields.read("mountPath", |at| at.parse())?.unwrap_or_else(|| Self::default().mount_path),
            items: fields.read("items", |at| at.each(item))?,
            sub_path: fields.read("subPath", |at| item(&at))?,
        };
        if let (Some(at), Some(sub_path)) = (fields.get("items"), &mount.sub_path) {
            return Err(at.invalid(sub_path, "`subPath` mounts one file, so there are no `items` beside it"));
        }
        Ok(mount)
    }
}

/// The credentials that an extension sees as files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialsMode {
    /// No credentials.
    #[default]
    None,
    /// The true CA and namespace, and a token that only this host's ambassador accepts.
    Scoped,
    /// The service-account volume as it is.
    Real,
}

/// The service-account volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialsMount {
    /// The credentials that are mounted.
    pub mode: CredentialsMode,
    /// The path of the volume, read-only.
    pub mount_path: MountPath,
}

impl Default for CredentialsMount {
    fn default() -> Self {
        Self { mode: CredentialsMode::None, mount_path: MountPath(SERVICE_ACCOUNT_PATH.into()) }
    }
}

impl CredentialsMount {
    /// Reads `scoped`, or `{mode: scoped, mountPath: …}`.
    pub(super) fn decode(at: Cursor<'_>) -> Result<Self, DocumentError> {
        let default = Self::default();
        if !at.is_map() {
            return Ok(Self { mode: CredentialsMode::decode(&at)?, ..default });
        }
        let fields = at.fields(&["mode", "mountPath"])?;
        let mode = CredentialsMode::decode(&fields.need("mode")?)?;
        let mount_path = fields.read("mountPath", |at| at.parse())?.unwrap_or(default.mount_path);
        Ok(Self { mode, mount_path })
    }
}

impl CredentialsMode {
    fn decode(at: &Cursor<'_>) -> Result<Self, DocumentError> {
        Ok(match at.one_of(&["none", "scoped", "real"])? {
            "scoped" => Self::Scoped,
            "real" => Self::Real,
            _ => Self::None,
        })
    }
}

impl Serialize for CredentialsMount {
    /// Writes the short form where the path is the default.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Long<'a> {
            mode: CredentialsMode,
            mount_path: &'a MountPath,
        }
        if self.mount_path.as_str() == SERVICE_ACCOUNT_PATH {
            return self.mode.serialize(serializer);
        }
        Long { mode: self.mode, mount_path: &self.mount_path }.serialize(serializer)
    }
}

/// Reads the path of a file in the volume, as the pod spec's `items` allow it: relative, no `..`, not beginning with
/// `..`.
fn item(at: &Cursor<'_>) -> Result<String, DocumentError> {
    let path = at.words()?;
    if is_relative_path(path)
        && !path.starts_with("..")
        && !path.contains(|letter: char| letter.is_control() || letter == '\\')
    {
        return Ok(path.to_owned());
    }
    Err(at.invalid(path, "an item is the relative path of a file in the volume"))
}

/// Refuses two mounts of which one covers the other.
pub(super) fn refuse_overlap(
    podinfo: &Cursor<'_>,
    mounts: &[PodInfoMount],
    credentials: &CredentialsMount,
) -> Result<(), DocumentError> {
    let mut taken = Vec::new();
    if credentials.mode != CredentialsMode::None {
        taken.push((&credentials.mount_path, "the credentials'"));
    }
    for mount in mounts {
        let path = &mount.mount_path;
        if let Some((other, whose)) = taken.iter().find(|(other, _)| path.overlaps(other)) {
            let why = format!("it overlaps {whose} {other}");
            return Err(podinfo.fail(Problem::Invalid { value: path.to_string(), why }));
        }
        taken.push((path, "podinfo's"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_plain_absolute_paths_are_mount_paths() {
        for path in ["/etc/podinfo", "/a", "/a/", "/etc/pod info", "/..data"] {
            assert!(path.parse::<MountPath>().is_ok(), "{path}");
        }
        for path in ["", "/", "//", "etc", "/a//b", "/a/./b", "/a/../b", "/..", "/a\\b", "/a:b", "/a\nb", "./a", "/a//"]
        {
            assert!(path.parse::<MountPath>().is_err(), "{path}");
        }
    }

    #[test]
    fn a_path_overlaps_itself_and_what_is_below_it() {
        let path = |text: &str| text.parse::<MountPath>().unwrap();
        assert!(path("/a/b").overlaps(&path("/a")));
        assert!(path("/a").overlaps(&path("/a/b")));
        assert!(path("/a").overlaps(&path("/a/")));
        assert!(!path("/a").overlaps(&path("/ab")));
        assert!(path("/var/run/a").overlaps(&path("/run")));
        assert!(path("/run/a").overlaps(&path("/var/run/a")));
        assert!(!path("/var/running").overlaps(&path("/run")));
        assert!(path("/var").overlaps(&path("/run/secrets")) && path("/run").overlaps(&path("/var")));
        assert!(!path("/var/lib").overlaps(&path("/run")));
    }
}
