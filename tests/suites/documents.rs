//! The pages of the tree: their links lead somewhere, and what they quote is true of the code.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use attache::policy::{Grant, Limit, Limits};

const PAGES: [&str; 9] = [
    "README.md",
    "CHANGELOG.md",
    "guest/README.md",
    "host/README.md",
    "host/SECURITY.md",
    "host/benches/README.md",
    "host/cli/README.md",
    "host/policy/README.md",
    "tests/README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the anchor that a code host gives a heading.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn anchors(text: &str) -> Vec<String> {
    text.lines().filter(|line| line.starts_with('#')).map(anchor).collect()
}

/// Returns the targets of `[text](target)`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target)
}

/// Returns the blocks of YAML that begin a document.
fn grants(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block);
    blocks.filter(|block| block.starts_with("apiVersion: attache.dev/") && block.contains("kind: Grant"))
}

#[test]
fn every_link_leads_to_a_file_or_a_heading() {
    let mut followed = 0;
    for path in PAGES {
        let text = page(path);
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root().join(path) } else { root().join(path).with_file_name(file) };
            assert!(target.exists(), "{path} links to {link}: there is no {}", target.display());
            if !heading.is_empty() {
                let found = anchors(&fs::read_to_string(&target).unwrap());
                assert!(found.iter().any(|anchor| anchor == heading), "{path} links to {link}; there are {found:?}");
            }
            followed += 1;
        }
    }
    assert!(followed > 30, "{followed} links");
}

#[test]
fn every_grant_that_a_page_shows_is_valid() {
    let mut read = 0;
    for path in PAGES {
        for grant in grants(&page(path)) {
            Grant::parse(grant).unwrap_or_else(|error| panic!("{path}: {error}\n{grant}"));
            read += 1;
        }
    }
    assert!(read >= 2, "{read} grants");
}

#[test]
fn the_table_of_limits_has_each_with_its_default() {
    let (text, defaults) = (page("host/policy/README.md"), Limits::default());
    let mut rows = Vec::new();
    for row in text.lines().filter(|row| row.starts_with("| `")) {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let (names, values) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
        rows.extend(names.split(", ").map(|name| name.trim_matches('`').to_owned()).zip(values.split(", ")));
    }
    for limit in Limit::ALL {
        let Some(allowed) = defaults.allowed(limit) else { continue };
        let written = rows.iter().find(|(name, _)| *name == limit.name()).map(|(_, value)| *value);
        assert_eq!(written, Some(allowed.to_string().as_str()), "{limit:?}");
    }
}

/// The words that no documentation begins with: its first sentence names the thing.
const NO_BEGINNING: [&str; 4] = ["How ", "What ", "Whether ", "Why "];

/// The width of a line of documentation or comment. Tables cannot be wrapped.
const WIDTH: usize = 120;

/// The lines of documentation and comments in a file, each with its number, and whether it is the first of its block.
fn comments(text: &str) -> Vec<(usize, bool, &str)> {
    let mut found: Vec<(usize, bool, &str)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with("//") {
            let marker = |line: &str| line.chars().take_while(|letter| matches!(letter, '/' | '!')).count();
            let goes_on = found.last().is_some_and(|(last, _, before)| {
                last + 1 == number && marker(before) == marker(line) && before.get(..3) == line.get(..3)
            });
            found.push((number, !goes_on, line));
        }
    }
    found
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() && !path.ends_with("target") && !path.ends_with("deps") {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs" || end == "wit") {
            found.push(path);
        }
    }
}

#[test]
fn documentation_names_its_thing_and_fits_its_lines() {
    let mut files = Vec::new();
    for folder in ["host", "guest", "tests", "wit"] {
        sources(&root().join(folder), &mut files);
    }
    assert!(files.len() > 300, "{} files", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        for (number, first, line) in comments(&text) {
            let words = line.trim_start_matches(['/', '!']).trim_start();
            let documents = line.starts_with("///") || line.starts_with("//!");
            if first && documents && NO_BEGINNING.iter().any(|word| words.starts_with(word)) {
                wrong.push(format!("{}:{}: begins with a question word: {words}", path.display(), number + 1));
            }
            let width = text.lines().nth(number).unwrap_or_default().chars().count();
            if width > WIDTH && !words.starts_with('|') {
                wrong.push(format!("{}:{}: {width} columns", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
