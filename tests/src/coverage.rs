//! The rule that every guest has a test: a suite takes it by its name, as a string.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Returns the guests that no suite below `folder` uses, in their order.
///
/// # Errors
///
/// Fails if the folder or a file in it cannot be read.
pub fn without_a_suite(mut guests: Vec<String>, folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            guests = without_a_suite(guests, &path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let source = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            guests.retain(|guest| !takes(&source, guest));
        }
    }
    Ok(guests)
}

/// Returns whether a suite has the guest's name as a string of its own, such as in `guest("empty")`. A suite may pass
/// the name through a function, but a comment with the name is no test.
fn takes(source: &str, guest: &str) -> bool {
    let name = format!("\"{guest}\"");
    source.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_only_a_comment_mentions_has_no_test() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let source = "// spin, \"trap\"\nrun(guest(\"empty\")); let path = load(\"pod-card\");";
        fs::create_dir(folder.path().join("hostile"))?;
        fs::write(folder.path().join("run.rs"), source)?;
        fs::write(folder.path().join("hostile/memory.rs"), "guest(\"memory-hog\")")?;
        let guests = ["empty", "memory-hog", "pod-card", "spin", "trap"].map(String::from);
        let missing = without_a_suite(guests.to_vec(), folder.path())?;
        assert_eq!(missing, ["spin", "trap"]);
        Ok(())
    }
}
