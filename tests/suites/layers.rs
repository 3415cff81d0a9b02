//! The layers of the host's library: the allowed uses between its modules, checked in its sources.
//!
//! The gate is worth something only while nothing goes round it: what the layers are is a promise, and this holds it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use attache_built::guests::workspace;

/// The crates below the floors, under the names that the library gives them.
const BELOW: [&str; 3] = ["policy", "quantity", "volume"];

/// Crates (or parts of them) that only some floors may name.
const CONFINED: [(&str, &[&str]); 2] =
    [("wasmtime::component", &["capability", "extension"]), ("wasmtime_wasi", &["capability", "extension", "service"])];

/// The modules of the devcluster and the modules that each may use. Modules that are not named here may use them all.
const ROOMS: [(&str, &[&str]); 6] = [
    ("manifest", &[]),
    ("model", &[]),
    ("rules", &["manifest", "model"]),
    ("wire", &["model"]),
    ("access", &["model", "wire"]),
    ("server", &["access", "model", "rules", "wire"]),
];

/// Returns the layers of the library and the layers that each may use, from the table in the documentation of its root.
fn floors() -> Vec<(String, Vec<String>)> {
    let root = std::fs::read_to_string(workspace().join("host/src/lib.rs")).unwrap();
    let row = |line: &str| {
        let cells: Vec<_> =
            line.strip_prefix("//! | [`").or_else(|| line.strip_prefix("//! | `"))?.split('|').collect();
        let floor = cells[0].trim().trim_end_matches(['`', ']']).to_owned();
        Some((floor, cells[1].split(',').map(|used| used.trim().trim_matches('`').to_owned()).collect()))
    };
    let floors: Vec<_> = root.lines().filter_map(row).collect();
    assert!(floors.len() > 8, "the table of floors in host/src/lib.rs has other rows than this test reads: {floors:?}");
    floors
}

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

/// Returns the module below `root` that a file belongs to, and its code without comments.
fn modules(root: &str) -> Vec<(String, PathBuf, String)> {
    let root = workspace().join(root);
    let of = |path: PathBuf| {
        let below = path.strip_prefix(&root).unwrap();
        let module = below.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (module, path.clone(), code.collect::<Vec<_>>().join("\n"))
    };
    sources(&root).into_iter().map(of).filter(|(module, _, _)| module != "lib").collect()
}

/// Returns the module after each `crate::` in some code; both `a` and `b` of `crate::{a, b}`.
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

/// Fails where a module below `root` uses one of `ours` that it may not.
fn hold(root: &str, ours: &[&str], may_use: impl Fn(&str, &Path) -> Option<Vec<String>>) {
    for (module, path, code) in modules(root) {
        let Some(allowed) = may_use(&module, &path) else { continue };
        let refused: Vec<_> = used(&code)
            .into_iter()
            .filter(|used| *used != module && ours.contains(&used.as_str()) && !allowed.contains(used))
            .collect();
        assert!(refused.is_empty(), "{} uses {refused:?}; {module} may use {allowed:?}", path.display());
    }
}

#[test]
fn no_floor_uses_what_lies_above_it() {
    let floors = floors();
    let ours: Vec<_> = floors.iter().map(|(name, _)| name.as_str()).collect();
    hold("host/src", &ours, |module, path| {
        if BELOW.contains(&module) {
            return Some(Vec::new());
        }
        let found = floors.iter().find(|(name, _)| name == module);
        let place = path.display();
        let (_, allowed) =
            found.unwrap_or_else(|| panic!("{place} is on no floor: say in the table of host/src/lib.rs where it is"));
        Some(allowed.clone())
    });
}

#[test]
fn no_room_of_the_devcluster_uses_what_lies_above_it() {
    let mut ours: Vec<_> = ROOMS.iter().map(|(name, _)| *name).collect();
    ours.extend(["cluster", "controllers", "kubelet", "loading", "switches"]);
    hold("host/devcluster/src", &ours, |module, _| {
        let (_, allowed) = ROOMS.iter().find(|(name, _)| *name == module)?;
        Some(allowed.iter().map(|&name| name.to_owned()).collect())
    });
}

#[test]
fn a_confined_crate_is_named_only_where_it_may_be() {
    for (module, path, code) in modules("host/src") {
        for (confined, places) in CONFINED {
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
    for (module, path, code) in modules("host/src") {
        let made = code.contains("Permit {") && !code.contains("for Permit {") && !code.contains("struct Permit {");
        assert!(!made || module == "gate", "{} makes a permit", path.display());
    }
}

/// Returns the packages that a package is built with.
fn dependencies(package: &str, features: &[&str]) -> BTreeSet<String> {
    let mut tree = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    tree.args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--package", package]).args(features);
    let output = tree.current_dir(workspace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn without_dev_the_binary_has_no_devcluster() {
    let (with, without) = (dependencies("attache-cli", &[]), dependencies("attache-cli", &["--no-default-features"]));
    for package in ["attache-devcluster", "rcgen"] {
        assert!(with.contains(package), "{package} is in the whole binary");
        assert!(!without.contains(package), "{package} is in the binary without `dev`");
    }
    assert!(without.contains("attache"));
}

#[test]
fn the_library_brings_no_second_client_and_no_command_line() {
    let library = dependencies("attache", &["--no-default-features"]);
    for package in ["kube", "kube-client", "k8s-openapi", "clap", "rcgen", "attache-devcluster"] {
        assert!(!library.contains(package), "{package} is in the library");
    }
    assert!(library.contains("wasmtime"));
}
