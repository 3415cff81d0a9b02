//! Documents of this project's API group, read strictly: apiVersion, kind, `metadata.name`, `spec`.
//!
//! Threat: a mistyped field that is read as "nothing written here". Such a document is security policy. A field that
//! does not exist, a value that means nothing, an empty list or a second document in one file is an error with its
//! line, column and field.
//!
//! Each kind has a [`Kind`] and a function that reads its `spec`; nothing else here knows of a kind.

mod cursor;
mod error;
mod tree;

pub(crate) use self::cursor::{Cursor, Fields};
pub use self::error::{DocumentError, Problem};
use self::tree::Node;

/// The version of the format of all kinds.
pub const API_VERSION: &str = "attache.dev/v1alpha1";

/// One kind of document.
pub(crate) struct Kind {
    /// `kind`, in a list as [`Cursor::one_of`] takes it.
    pub(crate) names: &'static [&'static str],
    /// The article before `noun`.
    pub(crate) article: &'static str,
    /// The word for such a document in an error.
    pub(crate) noun: &'static str,
    /// The fields of `spec`.
    pub(crate) spec: &'static [&'static str],
}

/// Reads the one document of this kind in a text: `decode` is given its name and the fields of its `spec`.
pub(crate) fn read<T>(
    yaml: &str,
    kind: &Kind,
    decode: impl FnOnce(String, &Fields<'_>) -> Result<T, DocumentError>,
) -> Result<T, DocumentError> {
    let document = Node::parse(yaml, kind.noun)?;
    let root = Cursor::root(&document);
    refuse_other_kinds(&root, kind)?;
    let fields = root.fields(&["apiVersion", "kind", "metadata", "spec"])?;
    fields.need("apiVersion")?.one_of(&[API_VERSION])?;
    fields.need("kind")?.one_of(kind.names)?;
    let name = fields.need("metadata")?.fields(&["name"])?.need("name").and_then(|at| name(&at))?;
    decode(name, &fields.need("spec")?.fields(kind.spec)?)
}

/// Reports a document of another kind before its other faults: then its `status` is no mistake.
fn refuse_other_kinds(document: &Cursor<'_>, kind: &Kind) -> Result<(), DocumentError> {
    let Some(at) = document.peek("kind") else { return Ok(()) };
    match at.text() {
        Ok(other) if !other.is_empty() && !kind.names.contains(&other) => {
            let why = format!(
                "this is the manifest of another object, and {} {} is of the kind `{}`",
                kind.article,
                kind.noun,
                kind.names.concat()
            );
            Err(at.invalid(other, why))
        }
        _ => Ok(()),
    }
}

/// Reads the name of a document: a DNS name, as of any Kubernetes object.
fn name(at: &Cursor<'_>) -> Result<String, DocumentError> {
    let text = at.words()?;
    if attache_base::names::is_dns_name(text) {
        return Ok(text.to_owned());
    }
    Err(at.invalid(text, "a name is a DNS name: lower-case letters, digits, `-` and `.`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: Kind = Kind { names: &["List"], article: "a", noun: "list", spec: &["items"] };

    /// The name and the number of items of a list, or the error.
    fn read_list(yaml: &str) -> Result<(String, usize), String> {
        let read = read(yaml, &LIST, |name, spec| Ok((name, spec.need("items")?.items()?.len())));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn any_kind_is_read_by_the_same_rules() {
        let list = "apiVersion: attache.dev/v1alpha1\nkind: List\nmetadata: {name: a}\n";
        assert_eq!(read_list(&format!("{list}spec: {{items: [x, y]}}\n")), Ok(("a".to_owned(), 2)));
        for (yaml, message) in [
            (format!("{list}spec: {{item: [x]}}\n"), "4:8: spec.item: unknown field, expected one of `items`"),
            (
                list.replace("List", "Lost"),
                "2:7: kind: `Lost` is not valid: this is the manifest of another object, and a list is of",
            ),
            (format!("{list}spec: {{}}\n---\n{list}"), "a file holds one list; put the others into files of their own"),
            (format!("#{}", " ".repeat(1 << 20)), "the file of one list has at most 262144 bytes"),
        ] {
            let error = read_list(&yaml).err().unwrap_or_default();
            assert!(error.contains(message), "{error}\nshould say: {message}");
        }
    }
}
