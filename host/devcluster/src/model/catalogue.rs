//! Which types are served at this moment: the built-in ones and those of the CRDs in the store.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use crate::model::crd;
use crate::model::resources::{Type, built_in};

/// The types that are served.
#[derive(Debug)]
pub(crate) struct Catalogue {
    built_in: Vec<Arc<Type>>,
    /// By the definition's name.
    custom: RwLock<Custom>,
}

#[derive(Debug, Default)]
struct Custom {
    types: BTreeMap<String, Vec<Arc<Type>>>,
    /// Counts the changes, so that what is made from the catalogue can be kept until it changes.
    generation: u64,
}

impl Catalogue {
    pub(crate) fn new() -> Self {
        Self { built_in: built_in().into_iter().map(Arc::new).collect(), custom: RwLock::default() }
    }

    /// Serves what a definition defines, in place of what it defined before.
    pub(crate) fn define(&self, definition: &Value) {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let types = crd::types(definition).into_iter().map(Arc::new).collect();
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        custom.types.insert(name, types);
        custom.generation = custom.generation.wrapping_add(1);
    }

    /// Serves no longer what the definition of that name defined.
    pub(crate) fn forget(&self, definition: &str) -> Vec<Arc<Type>> {
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        custom.generation = custom.generation.wrapping_add(1);
        custom.types.remove(definition).unwrap_or_default()
    }

    /// Changes whenever a type comes or goes.
    pub(crate) fn generation(&self) -> u64 {
        self.custom.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// All types in the order of discovery.
    pub(crate) fn all(&self) -> Vec<Arc<Type>> {
        let custom = self.custom.read().unwrap_or_else(PoisonError::into_inner);
        self.built_in.iter().chain(custom.types.values().flatten()).cloned().collect()
    }

    /// The type that a path names.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Type>> {
        self.first(|of| of.plural == plural && of.group == group && of.version == version)
    }

    /// The type that an object names.
    pub(crate) fn of_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Type>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.first(|of| of.kind == kind && of.group == group && of.version == version)
    }

    /// Whether any type is served under the group and version.
    pub(crate) fn serves(&self, group: &str, version: &str) -> bool {
        self.first(|of| of.group == group && of.version == version).is_some()
    }

    fn first(&self, wanted: impl Fn(&Type) -> bool) -> Option<Arc<Type>> {
        if let Some(found) = self.built_in.iter().find(|of| wanted(of)) {
            return Some(Arc::clone(found));
        }
        let custom = self.custom.read().unwrap_or_else(PoisonError::into_inner);
        custom.types.values().flatten().find(|of| wanted(of)).cloned()
    }
}
