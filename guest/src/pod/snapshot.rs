//! Labels and annotations as they stood at one moment.

use crate::bindings::attache::pod::metadata as wit;

/// Labels and annotations as they stood at one moment: what files project comes from one update of the volume, so it
/// never mixes two versions of the pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Grows by one with every change of what is shown here.
    pub revision: u64,
    /// Keys and values, sorted by key.
    pub labels: Vec<(String, String)>,
    /// Keys and values, sorted by key.
    pub annotations: Vec<(String, String)>,
}

impl Snapshot {
    /// Returns the value of one label.
    pub fn label(&self, key: &str) -> Option<&str> {
        value(&self.labels, key)
    }

    /// Returns the value of one annotation.
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
