//! The kubelet.
pub(crate) mod quote;
