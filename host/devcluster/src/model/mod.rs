//! Objects, their types, names and selectors, and the store that keeps them.

pub(crate) mod catalogue;
pub(crate) mod crd;
pub(crate) mod custom_schema;
pub(crate) mod form;
pub(crate) mod fresh;
pub(crate) mod identity;
pub(crate) mod names;
pub(crate) mod nesting;
pub(crate) mod object;
pub(crate) mod quote;
pub(crate) mod resources;
pub(crate) mod selectors;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod times;
pub(crate) mod types;
pub(crate) mod versions;
