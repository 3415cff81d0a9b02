//! Paths in a volume.

use std::fmt;
use std::path::Path;

/// The longest element that Linux file systems take, in bytes (`NAME_MAX`).
const MAX_ELEMENT: usize = 255;

/// The longest path that Linux takes, in bytes (`PATH_MAX`).
const MAX_PATH: usize = 4096;

/// The reason why a path is not valid in a volume. The first three are the API server's rules for `items[*].path`
/// [`pkg/apis/core/validation/validation.go`, `validateLocalNonReservedPath`], the rest the atomic writer's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// The path has no element.
    #[error("a path in a volume must not be empty")]
    Empty,
    /// The path starts with a slash.
    #[error("must be a relative path: {0:?}")]
    Absolute(String),
    /// An element is `..`, which would lead out of the volume.
    #[error("must not contain '..': {0:?}")]
    Parent(String),
    /// The path starts with `..`, which is reserved for the writer's own names.
    #[error("must not start with '..': {0:?}")]
    Reserved(String),
    /// The path is longer than the file system takes.
    #[error("a path in a volume has at most {MAX_PATH} bytes, and {MAX_ELEMENT} in an element")]
    TooLong,
    /// The path has a zero byte.
    #[error("must not contain a zero byte: {0:?}")]
    Zero(String),
}

/// A path below a volume: relative, cleaned, never out of the volume, and never one of the writer's own names.
///
/// ```
/// use attache_base::volume::RelativePath;
///
/// assert_eq!(RelativePath::new("a//./b")?.as_str(), "a/b");
/// assert!(RelativePath::new("../token").is_err());
/// # Ok::<(), attache_base::volume::InvalidPath>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

impl RelativePath {
    /// Checks and cleans a path: empty elements and `.` are dropped.
    ///
    /// # Errors
    /// [`InvalidPath`], if it is empty, absolute, too long, has a `..` element or starts with `..`.
    pub fn new(path: &str) -> Result<Self, InvalidPath> {
        if path.starts_with('/') {
            return Err(InvalidPath::Absolute(path.into()));
        }
        if path.contains('\0') {
            return Err(InvalidPath::Zero(path.into()));
        }
        let elements: Vec<&str> = path.split('/').filter(|element| !matches!(*element, "" | ".")).collect();
        if elements.contains(&"..") {
            return Err(InvalidPath::Parent(path.into()));
        }
        match elements.first() {
            None => Err(InvalidPath::Empty),
            Some(first) if first.starts_with("..") => Err(InvalidPath::Reserved(path.into())),
            Some(_) if too_long(path, &elements) => Err(InvalidPath::TooLong),
            Some(_) => Ok(Self(elements.join("/"))),
        }
    }

    /// Returns the path as text, with `/` between the elements.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the elements, first to last: at least one.
    pub fn elements(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Returns the first element: the name in the volume's top directory.
    pub fn top(&self) -> &str {
        self.elements().next().unwrap_or(&self.0)
    }
}

fn too_long(path: &str, elements: &[&str]) -> bool {
    path.len() > MAX_PATH || elements.iter().any(|element| element.len() > MAX_ELEMENT)
}

impl AsRef<Path> for RelativePath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::str::FromStr for RelativePath {
    type Err = InvalidPath;

    fn from_str(path: &str) -> Result<Self, InvalidPath> {
        Self::new(path)
    }
}
