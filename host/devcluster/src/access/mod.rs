//! Who a client is and what it may do: certificates, tokens, RBAC, and the objects that a cluster begins with.

pub(crate) mod bootstrap;
pub(crate) mod pki;
pub(crate) mod rbac;
pub(crate) mod token;
