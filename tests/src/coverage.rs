//! The rule that every guest has a test: a suite names it in a call of [`guest`](crate::guest).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The call by which a suite takes a guest.
const CALL: &str = "guest(\"";

/// The guests that a folder of suites takes by name, its sub-folders included.
///
/// # Errors
///
/// The folder or a file in it cannot be read.
pub fn names_in_suites(folder: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            names.extend(names_in_suites(&path)?);
        } else {
            names.extend(names_in(&fs::read_to_string(&path)?).map(String::from));
        }
    }
    Ok(names)
}

fn names_in(source: &str) -> impl Iterator<Item = &str> {
    let after_calls = source.split(CALL).skip(1);
    after_calls.filter_map(|rest| rest.split('"').next())
}

/// Those of `guests` that no suite below `folder` takes, in their order.
///
/// # Errors
///
/// As [`names_in_suites`].
pub fn without_a_suite(guests: Vec<String>, folder: &Path) -> Result<Vec<String>> {
    let named = names_in_suites(folder)?;
    Ok(guests.into_iter().filter(|guest| !named.contains(guest)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_only_a_comment_mentions_has_no_test() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let source = "// spin, trap\nrun(guest(\"empty\")); let path = guest(\"pod-card\");";
        fs::create_dir(folder.path().join("hostile"))?;
        fs::write(folder.path().join("run.rs"), source)?;
        fs::write(folder.path().join("hostile/memory.rs"), "guest(\"memory-hog\")")?;
        let guests = ["empty", "memory-hog", "pod-card", "spin", "trap"].map(String::from);
        let missing = without_a_suite(guests.to_vec(), folder.path())?;
        assert_eq!(missing, ["spin", "trap"]);
        Ok(())
    }
}
