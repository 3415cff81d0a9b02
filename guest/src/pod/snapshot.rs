//! The labels and annotations of the pod at one moment.

use crate::bindings::attache::pod::metadata as wit;

/// The labels and annotations of the pod at one moment.
///
/// All values from files of one volume come from one update of that volume: a snapshot never mixes two versions of the
/// pod. A value that only an environment variable projects stays as it was when the container started.
///
/// ```
/// use attache_guest::pod::Snapshot;
///
/// let snapshot = Snapshot { labels: vec![("app".into(), "web".into())], ..Snapshot::default() };
/// assert_eq!(snapshot.label("app"), Some("web"));
/// assert_eq!(snapshot.annotation("app"), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of the snapshot, which starts at 1. It grows by one with every change of the labels and annotations
    /// that the grant opens.
    pub revision: u64,
    /// The labels as pairs of key and value, sorted by key. A label that is projected by itself is listed only while
    /// its value is not empty.
    pub labels: Vec<(String, String)>,
    /// The annotations as pairs of key and value, sorted by key. An annotation that is projected by itself is listed
    /// only while its value is not empty.
    pub annotations: Vec<(String, String)>,
}

impl Snapshot {
    /// Returns the value of one label of this snapshot.
    pub fn label(&self, key: &str) -> Option<&str> {
        value(&self.labels, key)
    }

    /// Returns the value of one annotation of this snapshot.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        value(&self.annotations, key)
    }
}

impl From<wit::Snapshot> for Snapshot {
    fn from(snapshot: wit::Snapshot) -> Self {
        Self { revision: snapshot.revision, labels: snapshot.labels, annotations: snapshot.annotations }
    }
}

/// Finds a key among sorted pairs.
fn value<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    let at = pairs.binary_search_by(|(k, _)| k.as_str().cmp(key)).ok()?;
    pairs.get(at).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_among_its_neighbours_and_a_missing_one_is_none() {
        let pairs = [("a", "1"), ("b/c", ""), ("z", "3")];
        let snapshot = Snapshot { labels: pairs.map(|(k, v)| (k.into(), v.into())).to_vec(), ..Snapshot::default() };
        assert_eq!(snapshot.label("a"), Some("1"));
        assert_eq!(snapshot.label("b/c"), Some(""));
        assert_eq!(snapshot.label("b"), None);
        assert_eq!(snapshot.annotation("a"), None);
    }
}
