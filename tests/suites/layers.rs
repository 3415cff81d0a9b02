//! Who may use whom in the host's library, read from its sources.
//!
//! The gate is worth something only while nothing goes round it: what the layers are is a promise, and this holds it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use xtask::guests::workspace;

/// Each module and what it may use of ours.
const LAYERS: [(&str, &[&str]); 15] = [
    ("quantity", &[]),
    ("untrusted", &[]),
    ("volume", &[]),
    ("credentials", &["volume"]),
    ("engine", &[]),
    ("podinfo", &["quantity", "volume", "policy"]),
    ("policy", &["quantity", "untrusted"]),
    ("devcluster", &["quantity", "volume"]),
    ("telemetry", &["policy", "untrusted"]),
    ("gate", &["policy", "telemetry"]),
    ("cluster", &["gate", "credentials", "policy", "telemetry", "untrusted"]),
    ("ambassador", &["gate", "cluster", "policy", "telemetry"]),
    ("capability", &["podinfo", "gate", "cluster", "ambassador", "policy", "telemetry", "untrusted", "volume"]),
    (
        "extension",
        &[
            "engine",
            "capability",
            "ambassador",
            "policy",
            "telemetry",
            "untrusted",
            "volume",
            "podinfo",
            "gate",
            "cluster",
            "credentials",
        ],
    ),
    ("bin", &[]),
];

/// Crates (or parts of them) that only some modules may name.
const CONFINED: [(&str, &[&str]); 6] = [
    ("wasmtime::component", &["capability", "extension"]),
    ("wasmtime_wasi", &["capability", "extension", "bin"]),
    ("kube::", &["cluster"]),
    ("clap::", &["bin"]),
    ("anyhow::", &["bin"]),
    ("rcgen::", &["devcluster"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => found.extend(sources(&path)),
            path if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            _ => {}
        }
    }
    found
}

/// The module that a file belongs to, and its code without comments.
fn modules() -> Vec<(String, PathBuf, String)> {
    let root = workspace().join("host/src");
    let of = |path: PathBuf| {
        let below = path.strip_prefix(&root).unwrap();
        let module = below.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (module, path.clone(), code.collect::<Vec<_>>().join("\n"))
    };
    sources(&root).into_iter().map(of).filter(|(module, _, _)| module != "lib").collect()
}

/// What follows each `crate::` in some code; of `crate::{a, b}` both.
fn used(code: &str) -> BTreeSet<String> {
    let name = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((list, _)) => found.extend(list.split(',').map(|item| name(item.trim()))),
            None => drop(found.insert(name(rest))),
        }
    }
    found
}

#[test]
fn no_module_uses_what_lies_above_it() {
    for (module, path, code) in modules() {
        let (_, allowed) = LAYERS
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{} is in no layer: say in this test where it belongs", path.display()));
        if module == "bin" {
            continue;
        }
        let ours = LAYERS.map(|(name, _)| name);
        let refused: Vec<_> = used(&code)
            .into_iter()
            .filter(|used| *used != module && ours.contains(&used.as_str()) && !allowed.contains(&used.as_str()))
            .collect();
        assert!(refused.is_empty(), "{} uses {refused:?}; {module} may use {allowed:?}", path.display());
    }
}

#[test]
fn a_confined_crate_is_named_only_where_it_may_be() {
    for (module, path, code) in modules() {
        for (confined, places) in CONFINED {
            // `kube::` is also the end of a longer path.
            let named = code.match_indices(confined).any(|(at, _)| {
                !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '"')
            });
            assert!(
                !named || places.contains(&module.as_str()),
                "{} names {confined}: only {places:?} may",
                path.display()
            );
        }
    }
}

#[test]
fn only_the_gate_makes_a_permit() {
    for (module, path, code) in modules() {
        let made = code.contains("Permit {") && !code.contains("for Permit {") && !code.contains("struct Permit {");
        assert!(!made || module == "gate", "{} makes a permit", path.display());
    }
}
