//! Meanings by name: no name twice, and the tables agree with the documentation of the module.

use std::collections::BTreeSet;

use super::super::field::{Field, Meaning};
use super::{BOUND_VARIABLES, FIELD_VARIABLES, file_sources, variable_meaning};

#[test]
fn no_file_means_two_things() {
    let sources = file_sources();
    let paths: BTreeSet<_> = sources.iter().map(|source| source.path.as_str()).collect();
    assert_eq!((paths.len(), sources.len()), (23, 23));
}

#[test]
fn variables_mean_the_same_after_my() {
    assert_eq!(variable_meaning("POD_NAME"), Some(Meaning::Field(Field::Name)));
    assert_eq!(variable_meaning("MY_POD_NAME"), Some(Meaning::Field(Field::Name)));
    assert_eq!(variable_meaning("MY_MY_POD_NAME"), None);
    assert_eq!(variable_meaning("HOSTNAME"), None);
}

#[test]
fn a_bound_that_does_not_say_its_unit_means_nothing() {
    for name in ["CPU_LIMIT", "MEMORY_LIMIT", "cpu", "GOMAXPROCS", "GOMEMLIMIT"] {
        assert_eq!(variable_meaning(name), None, "{name}");
    }
}

#[test]
fn the_modules_documentation_names_every_one() {
    let documentation = include_str!("mod.rs");
    let fields = FIELD_VARIABLES.map(|(name, _)| name.to_owned());
    let bounds = BOUND_VARIABLES.map(|(name, ..)| name.to_owned());
    let files = file_sources().into_iter().map(|source| source.path.to_string());
    for name in fields.into_iter().chain(bounds).chain(files) {
        assert!(documentation.contains(&format!("`{name}`")), "{name}");
    }
}
