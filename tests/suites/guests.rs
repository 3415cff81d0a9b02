//! The guests themselves: what they ask of a host, and how large they are.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Result, ensure};
use attache_built::guests;
use attache_tests::guest;
use wasmparser::{Parser, Payload};

/// The largest size of a guest in bytes. A guest is copied and compiled wherever it runs. The largest is `seed-client`
/// with some 385 kB, which has an asynchronous HTTP client. A larger guest has a dependency that it does not need.
const LARGEST: usize = 420_000;

/// Guests that read whole objects of types of `k8s-openapi`: code for each field that a pod can have comes along. It
/// is a tenth larger than it could be, because it is compiled in a tenth of the memory then.
const TYPED: [&str; 2] = ["config-sync", "job-report"];
const LARGEST_TYPED: usize = 850_000;

/// Returns the interfaces that a component imports.
fn imports(component: &[u8]) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.insert(import?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

#[test]
fn every_guest_is_small_and_asks_for_wasi_the_pod_and_its_own_world_only() -> Result<()> {
    for name in guests::names()? {
        let component = fs::read(guest(&name))?;
        let largest = if TYPED.contains(&name.as_str()) { LARGEST_TYPED } else { LARGEST };
        ensure!(component.len() <= largest, "{name}: {} bytes", component.len());
        // `example:` is the world of the embedding example, which has an interface of its own.
        let worlds = ["wasi:", "attache:pod/", "example:"];
        let known = |import: &String| worlds.iter().any(|world| import.starts_with(world));
        let unknown: Vec<_> = imports(&component)?.into_iter().filter(|import| !known(import)).collect();
        ensure!(unknown.is_empty(), "{name} imports {unknown:?}");
    }
    Ok(())
}

#[test]
fn a_guest_asks_only_for_what_it_calls() -> Result<()> {
    let pod = |name: &str| -> Result<Vec<String>> {
        let all = imports(&fs::read(guest(name))?)?;
        Ok(all.into_iter().filter(|import| import.starts_with("attache:")).collect())
    };
    assert_eq!(pod("cat-labels")?, [""; 0]);
    assert_eq!(pod("follow-labels")?, ["attache:pod/metadata@0.1.0"]);
    assert_eq!(pod("api-calls")?, ["attache:pod/api@0.1.0"]);
    assert_eq!(pod("api-writes")?, ["attache:pod/api@0.1.0"]);
    assert_eq!(pod("pod-card")?, ["attache:pod/api@0.1.0", "attache:pod/metadata@0.1.0"]);
    Ok(())
}
