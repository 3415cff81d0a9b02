//! Authentication and authorization: certificates, tokens, RBAC, and the roles of a new cluster.

pub(crate) mod bootstrap;
pub(crate) mod pki;
pub(crate) mod rbac;
pub(crate) mod token;
