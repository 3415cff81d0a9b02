//! The tree of directories of a guest, in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use crate::volume::{KeptVersion, RelativePath};

/// The link to the current version, as in each volume of a kubelet.
const DATA_LINK: &str = "..data";

/// The directory that is a link to `/run` in most images.
const VAR: &str = "var";
const RUN: &str = "run";

/// The target of that link.
const TO_RUN: &str = "../run";

/// The content of a mount: a directory that may be replaced at any time.
///
/// ```
/// use attache::capability::filesystem::{Directory, Mount};
/// use std::sync::Arc;
///
/// /// A mount that never changes.
/// struct Fixed(Arc<Directory>);
///
/// impl Mount for Fixed {
///     fn newest(&self) -> Arc<Directory> {
///         Arc::clone(&self.0)
///     }
/// }
/// ```
pub trait Mount: Send + Sync {
    /// Returns the current directory. It is called at each open through the mount, on the guest's thread.
    fn newest(&self) -> Arc<Directory>;
}

/// One entry of a directory.
#[derive(Clone)]
pub(super) enum Node {
    Directory(Arc<Directory>),
    File(File),
    /// A symbolic link, and its target.
    Link(Arc<str>),
    Mount(Arc<dyn Mount>),
}

/// A file. All its handles share its bytes.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) data: Result<Bytes, io::ErrorKind>,
    pub(super) modified: SystemTime,
}

/// A read-only directory in memory.
#[derive(Clone)]
pub struct Directory {
    pub(super) entries: BTreeMap<String, Node>,
    pub(super) modified: SystemTime,
}

impl Directory {
    fn new(modified: SystemTime) -> Self {
        Self { entries: BTreeMap::new(), modified }
    }

    /// Lays out a version of a volume as a kubelet does: a dated directory with the files, a link `..data` to it, and a
    /// link into `..data` for each name at the top.
    pub fn of_volume(version: &KeptVersion) -> Self {
        let mut dated = Self::new(version.modified);
        let mut top = Self::new(version.modified);
        for (path, file) in &version.files {
            let file = File { data: file.data.clone(), modified: version.modified };
            dated.insert(&mut path.elements(), Node::File(file), version.modified);
            let target = [DATA_LINK, path.top()].join("/");
            top.entries.insert(path.top().to_owned(), Node::Link(target.into()));
        }
        top.entries.insert(DATA_LINK.to_owned(), Node::Link(version.name.as_str().into()));
        top.entries.insert(version.name.clone(), Node::Directory(Arc::new(dated)));
        top
    }

    /// Puts a node at a path, and makes the directories that lead to it.
    fn insert(&mut self, path: &mut dyn Iterator<Item = &str>, node: Node, modified: SystemTime) {
        let mut path = path.peekable();
        let Some(name) = path.next() else { return };
        if path.peek().is_none() {
            self.entries.insert(name.to_owned(), node);
            return;
        }
        let new = || Node::Directory(Arc::new(Self::new(modified)));
        let below = self.entries.entry(name.to_owned()).or_insert_with(new);
        if let Node::Directory(below) = below {
            Arc::make_mut(below).insert(&mut path, node, modified);
        }
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries.keys()).finish()
    }
}

/// The root directory of a guest: mounts, and the directories that lead to them.
///
/// A mount at or below `/run` or `/var/run` is seen under both names, because one is a link to the other in most
/// images.
///
/// ```
/// use attache::capability::filesystem::Root;
///
/// let root = Root::new().with_file("/etc/app/zone", "eu-1");
/// ```
#[derive(Clone, Debug)]
pub struct Root(pub(super) Arc<Directory>);

impl Default for Root {
    fn default() -> Self {
        Self::new()
    }
}

impl Root {
    /// Returns an empty root.
    pub fn new() -> Self {
        Self(Arc::new(Directory::new(SystemTime::now())))
    }

    /// Adds a mount. `path` is absolute; its empty, `.` and `..` elements are ignored.
    #[must_use]
    pub fn with_mount(self, path: &str, mount: Arc<dyn Mount>) -> Self {
        self.with(path, Node::Mount(mount))
    }

    /// Adds one file, which never changes.
    #[must_use]
    pub fn with_file(self, path: &str, content: impl Into<Bytes>) -> Self {
        let modified = self.0.modified;
        self.with(path, Node::File(File { data: Ok(content.into()), modified }))
    }

    fn with(mut self, path: &str, node: Node) -> Self {
        let mut elements: Vec<_> = path.split('/').filter(|element| !matches!(*element, "" | "." | "..")).collect();
        if elements.starts_with(&[VAR, RUN]) {
            elements.remove(0);
        }
        let modified = self.0.modified;
        let root = Arc::make_mut(&mut self.0);
        if elements.first() == Some(&RUN) {
            root.insert(&mut [VAR, RUN].into_iter(), Node::Link(TO_RUN.into()), modified);
        }
        root.insert(&mut elements.into_iter(), node, modified);
        self
    }
}

/// A volume that is made in memory.
///
/// ```
/// use attache::capability::filesystem::Directory;
/// use std::time::SystemTime;
///
/// let files = [("token".parse()?, "secret".into())];
/// let directory = Directory::of_files("..1", SystemTime::now(), files);
/// # Ok::<(), attache::volume::InvalidPath>(())
/// ```
impl Directory {
    /// Lays out files as a kubelet's volume, with the dated directory `name`.
    pub fn of_files(name: &str, modified: SystemTime, files: impl IntoIterator<Item = (RelativePath, Bytes)>) -> Self {
        let file = |data| crate::volume::KeptFile { data: Ok(data), mode: 0o644 };
        let files = files.into_iter().map(|(path, data)| (path, file(data))).collect();
        Self::of_volume(&KeptVersion { name: name.to_owned(), modified, files, left_out: Vec::new() })
    }
}
