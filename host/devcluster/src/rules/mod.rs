//! The rules for objects: schemas, defaults, validation, merging, field managers.
//!
//! | file | content |
//! | --- | --- |
//! | `schema.rs` | unknown fields, and values of the wrong type |
//! | `defaults.rs`, `pod_defaults.rs`, `pod_resources.rs` | defaults, which belong to the client |
//! | `prepare.rs` | values that the server decides by itself |
//! | `services.rs`, `workloads.rs` | validation of services, and of objects that make pods |
//! | `validation` | validation of pods |
//! | `fields.rs` | sets of fields |
//! | `typed.rs` | comparing and merging values by their types |
//! | `managed.rs`, `entries.rs` | the fields of each manager |
//! | `strategic.rs` | strategic merge patches |

pub(crate) mod defaults;
pub(crate) mod entries;
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
