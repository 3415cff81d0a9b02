//! Requests: routing, authentication, admission, reads, writes, watches, and what follows a write.
//!
//! | file | content |
//! | --- | --- |
//! | `http.rs` | listener, TLS, connections, and the phases of the server's life |
//! | `api.rs` | one request from its first byte to its answer |
//! | `authentication.rs`, `reviews.rs` | identities, and the reviews of rights and tokens |
//! | `discovery.rs`, `openapi.rs` | the served types |
//! | `body.rs` | request bodies and options |
//! | `read.rs`, `watch.rs` | get, list and watch |
//! | `write.rs`, `create.rs`, `metadata.rs`, `delete.rs` | create, update, delete, and their effects |
//! | `patch.rs`, `operations.rs`, `apply.rs` | the four kinds of patch |
//! | `admission.rs`, `service_accounts.rs` | additions to objects and checks of them |
//! | `origin.rs`, `own_objects.rs` | the author of a write, and writes by the server itself |
//! | `subresources.rs`, `logs.rs` | status, scale, binding, eviction, log |
//! | `faults.rs` | injected faults |

pub(crate) mod admission;
pub(crate) mod api;
pub(crate) mod apply;
pub(crate) mod authentication;
pub(crate) mod body;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod discovery;
pub(crate) mod faults;
pub(crate) mod http;
pub(crate) mod logs;
pub(crate) mod metadata;
pub(crate) mod openapi;
pub(crate) mod operations;
pub(crate) mod origin;
pub(crate) mod own_objects;
pub(crate) mod patch;
pub(crate) mod read;
pub(crate) mod reviews;
pub(crate) mod service_accounts;
pub(crate) mod subresources;
pub(crate) mod watch;
pub(crate) mod write;
