//! Objects, their types, names and selectors, and the store that keeps them.
//!
//! | file | content |
//! | --- | --- |
//! | `catalogue.rs`, `resources.rs` | the served types, and the table of built-in ones |
//! | `crd.rs`, `custom_schema.rs` | custom types and their schemas |
//! | `form.rs`, `versions.rs` | the stored form and version of an object |
//! | `fresh.rs` | new identities, secrets, suffixes, times |
//! | `identity.rs` | identities of clients |
//! | `names.rs` | rules for names, labels and annotations |
//! | `nesting.rs` | the bound on nesting |
//! | `object.rs` | one stored version of an object |
//! | `quote.rs`, `times.rs` | Go's quoting and times |
//! | `selectors.rs` | label and field selectors |
//! | `status.rs` | errors: the `Status` object |
//! | `store.rs`, `collection.rs`, `event.rs` | the store, the objects of one type, their changes |
//! | `types.rs`, `types.txt` | the fields of built-in types |

pub(crate) mod catalogue;
pub(crate) mod collection;
pub(crate) mod crd;
pub(crate) mod custom_schema;
pub(crate) mod event;
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
