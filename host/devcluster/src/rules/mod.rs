//! What a built-in or custom object must be and becomes: schemas, defaults, validation, merging, field managers.

pub(crate) mod defaults;
pub(crate) mod fields;
pub(crate) mod managed;
pub(crate) mod pod_defaults;
pub(crate) mod pod_resources;
pub(crate) mod prepare;
pub(crate) mod schema;
pub(crate) mod services;
pub(crate) mod strategic;
pub(crate) mod typed;
pub mod validation;
pub(crate) mod workloads;
