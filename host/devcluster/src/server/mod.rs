//! Requests: routing, authentication, admission, reads, writes, watches, and what follows a write.

pub(crate) mod admission;
pub(crate) mod api;
pub(crate) mod apply;
pub(crate) mod authentication;
pub(crate) mod body;
pub(crate) mod delete;
pub(crate) mod discovery;
pub(crate) mod faults;
pub(crate) mod logs;
pub(crate) mod openapi;
pub(crate) mod operations;
pub(crate) mod origin;
pub(crate) mod own_objects;
pub(crate) mod patch;
pub(crate) mod read;
pub(crate) mod reviews;
pub(crate) mod server;
pub(crate) mod service_accounts;
pub(crate) mod subresources;
pub(crate) mod watch;
pub(crate) mod write;
