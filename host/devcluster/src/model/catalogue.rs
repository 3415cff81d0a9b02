//! The catalogue of served types: the built-in types and those of the CRDs in the store.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use crate::model::crd;
use crate::model::resources::{Type, built_in};

/// The types that are served.
#[derive(Debug)]
pub(crate) struct Catalogue {
    built_in: Vec<Arc<Type>>,
    /// The types of each definition, by the definition's name.
    custom: RwLock<Custom>,
}

#[derive(Debug, Default)]
struct Custom {
    types: BTreeMap<String, Vec<Arc<Type>>>,
    /// A count of changes. Data derived from the catalogue is stale when the count has changed.
    generation: u64,
}

impl Catalogue {
    pub(crate) fn new() -> Self {
        Self { built_in: built_in().into_iter().map(Arc::new).collect(), custom: RwLock::default() }
    }

    /// Serves the types of a definition, in place of its former types.
    pub(crate) fn define(&self, definition: &Value) {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let types = crd::types(definition).into_iter().map(Arc::new).collect();
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        custom.types.insert(name, types);
        custom.generation = custom.generation.wrapping_add(1);
    }

    /// Stops serving the types of a definition, and returns them.
    pub(crate) fn forget(&self, definition: &str) -> Vec<Arc<Type>> {
        let mut custom = self.custom.write().unwrap_or_else(PoisonError::into_inner);
        custom.generation = custom.generation.wrapping_add(1);
        custom.types.remove(definition).unwrap_or_default()
    }

    /// Returns a number that changes whenever a type comes or goes.
    pub(crate) fn generation(&self) -> u64 {
        self.custom.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    /// Returns all types in the order of discovery.
    pub(crate) fn all(&self) -> Vec<Arc<Type>> {
        let custom = self.custom.read().unwrap_or_else(PoisonError::into_inner);
        self.built_in.iter().chain(custom.types.values().flatten()).cloned().collect()
    }

    /// Returns the type at a path.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Type>> {
        self.first(|of| of.plural == plural && of.group == group && of.version == version)
    }

    /// Returns the type of an object.
    pub(crate) fn of_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Type>> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.first(|of| of.kind == kind && of.group == group && of.version == version)
    }

    /// Returns whether any type is served under the group and version.
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
