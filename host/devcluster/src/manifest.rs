//! Manifests: YAML with many documents, in several files, as API objects with the location of each field.
//!
//! A file may hold up to [`MAX_TEXT`] bytes. Nesting, nodes and the expansion of aliases are bounded too, so that no
//! file makes the reader grow without end. `0644` is read as octal and `yes` as true, as kubectl does (YAML 1.1).

mod tree;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attache_base::yaml;
use serde_json::Value;
use serde_saphyr::Spanned;

pub use attache_base::Location;

use self::tree::{Content, Node};

/// The largest file, in bytes. The API server takes no single object above some 1.5 MiB.
pub const MAX_TEXT: u64 = 4 << 20;

/// The deepest nesting of a document. The deepest built-in type has some 20 levels.
const MAX_DEPTH: usize = 100;

/// The largest number of values in all documents of a file, with aliases expanded.
const MAX_NODES: usize = 250_000;

/// The largest number of documents in one file.
const MAX_DOCUMENTS: usize = 2_000;

/// The largest number of values that aliases add, however few lines name them ("billion laughs").
const MAX_REPLAYED: usize = 50_000;

/// The stack of the parser, in bytes. The parser recurses, and some builds take 20 KiB for each level.
const STACK: usize = 16 << 20;

/// An error of reading a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file is too large for a manifest.
    #[error("{file} has more than {MAX_TEXT} bytes")]
    TooLarge {
        /// The file.
        file: Arc<str>,
    },
    /// The text is not YAML, or exceeds a bound.
    #[error("{location}: not YAML: {message}")]
    Syntax {
        /// The location of the syntax error.
        location: Location,
        /// The parser's message.
        message: String,
    },
    /// A document is a list or a scalar.
    #[error("{location}: a document must be an object with apiVersion and kind")]
    NotAnObject {
        /// The start of the document.
        location: Location,
    },
    /// A document lacks its type.
    #[error("{location}: {}", missing.join(", "))]
    Untyped {
        /// The start of the document.
        location: Location,
        /// The missing fields, in kubectl's words: `apiVersion not set`, `kind not set`.
        missing: Vec<&'static str>,
    },
}

/// One API object of a manifest, with the locations of its fields.
#[derive(Debug, Clone)]
pub struct Document {
    object: Value,
    file: Arc<str>,
    root: Node,
}

impl Document {
    /// Returns the object.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// Returns the object and drops the locations.
    pub fn into_object(self) -> Value {
        self.object
    }

    /// Returns the name of the document's file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns `apiVersion`; never empty.
    pub fn api_version(&self) -> &str {
        text(&self.object, "/apiVersion")
    }

    /// Returns `kind`; never empty.
    pub fn kind(&self) -> &str {
        text(&self.object, "/kind")
    }

    /// Returns `metadata.name`, or an empty text.
    pub fn name(&self) -> &str {
        text(&self.object, "/metadata/name")
    }

    /// Returns `metadata.namespace`, or an empty text.
    pub fn namespace(&self) -> &str {
        text(&self.object, "/metadata/namespace")
    }

    /// Returns the location of a field, by a path such as `spec.volumes[0].name` or
    /// `metadata.labels[app.example.com/x]`. A missing field has the location of the innermost existing field around
    /// it.
    pub fn location(&self, field: &str) -> Location {
        self.root.innermost(field).location().in_file(Arc::clone(&self.file))
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Reads and parses files in the order given.
///
/// # Errors
/// Returns the first [`ManifestError`].
pub fn load<P: AsRef<Path>>(paths: impl IntoIterator<Item = P>) -> Result<Vec<Document>, ManifestError> {
    let mut documents = Vec::new();
    for path in paths {
        let path = path.as_ref();
        documents.extend(parse(&read(path)?, &path.to_string_lossy())?);
    }
    Ok(documents)
}

fn read(path: &Path) -> Result<String, ManifestError> {
    let failed = |source| ManifestError::Read { path: path.into(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    // One byte over the bound is enough for `parse` to refuse it.
    file.take(MAX_TEXT.saturating_add(1)).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Parses one text. `origin` is the name of the file, for errors and locations. Empty documents are left out. The items
/// of a `List`, or of a typed list such as a `PodList`, take its location.
///
/// # Errors
/// [`ManifestError`] with the line and column of the first error.
pub fn parse(text: &str, origin: &str) -> Result<Vec<Document>, ManifestError> {
    let file: Arc<str> = origin.into();
    if u64::try_from(text.len()).map_or(true, |length| length > MAX_TEXT) {
        return Err(ManifestError::TooLarge { file });
    }
    let roots =
        on_own_stack(|| roots(text, &file)).map_err(|source| ManifestError::Read { path: origin.into(), source })??;
    let mut documents = Vec::new();
    for root in roots {
        if !matches!(root.content, Content::Scalar(Value::Null)) {
            flatten(root, &file, None, &mut documents)?;
        }
    }
    Ok(documents)
}

fn roots(text: &str, file: &Arc<str>) -> Result<Vec<Node>, ManifestError> {
    let roots: Vec<Spanned<Content>> = serde_saphyr::from_multiple_with_options(text, options())
        .map_err(|error| syntax_error(&error, Arc::clone(file)))?;
    Ok(roots.into_iter().map(Node::from).collect())
}

/// Runs `work` on its own thread, whose stack is large enough for [`MAX_DEPTH`] regardless of the caller's stack.
fn on_own_stack<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work)?;
        thread.join().map_err(|_| io::Error::other("the YAML reader panicked"))
    })
}

fn options() -> serde_saphyr::Options {
    let mut options = yaml::options(MAX_REPLAYED);
    options.budget = serde_saphyr::budget! {
        max_depth: MAX_DEPTH,
        max_nodes: MAX_NODES,
        max_documents: MAX_DOCUMENTS,
    };
    options.legacy_octal_numbers = true;
    options
}

fn syntax_error(error: &serde_saphyr::Error, file: Arc<str>) -> ManifestError {
    let location = yaml::location(error).unwrap_or(Location::new(1, 1)).in_file(file);
    let message = yaml::message(error);
    // The hint is for programmers who call the parser, not for authors of manifests.
    let message = message.replace(", set DuplicateKeyPolicy in Options if acceptable", "");
    // kubectl's users know this error by these words.
    let message = message.replace("simple key expected ':'", "could not find expected ':'");
    ManifestError::Syntax { location, message }
}

/// Adds a document as it is, or the items of a list: a `List`, or a typed list such as a `PodList`, whose items need no
/// type.
fn flatten(
    root: Node,
    file: &Arc<str>,
    of: Option<(&str, &str)>,
    documents: &mut Vec<Document>,
) -> Result<(), ManifestError> {
    let mut object = root.to_value();
    if let (Some((version, kind)), Some(fields)) = (of, object.as_object_mut()) {
        fields.entry("apiVersion").or_insert_with(|| version.into());
        fields.entry("kind").or_insert_with(|| kind.into());
    }
    check(&object, root.location().in_file(Arc::clone(file)))?;
    let (version, kind) = (text(&object, "/apiVersion"), text(&object, "/kind"));
    let of_items = kind.strip_suffix("List").filter(|_| object.get("items").is_some_and(Value::is_array));
    let empty = kind == "List" && version == "v1";
    let of = match of_items {
        None if !empty => {
            documents.push(Document { object, file: Arc::clone(file), root });
            return Ok(());
        }
        Some(kind) if !kind.is_empty() => Some((version, kind)),
        _ => None,
    };
    root.into_items().into_iter().try_for_each(|item| flatten(item, file, of, documents))
}

fn check(object: &Value, location: Location) -> Result<(), ManifestError> {
    if !object.is_object() {
        return Err(ManifestError::NotAnObject { location });
    }
    let fields = [("/apiVersion", "apiVersion not set"), ("/kind", "kind not set")];
    let missing: Vec<_> =
        fields.iter().filter(|(field, _)| text(object, field).is_empty()).map(|(_, said)| *said).collect();
    if missing.is_empty() { Ok(()) } else { Err(ManifestError::Untyped { location, missing }) }
}

#[cfg(test)]
mod tests;
