//! The Downward API: what a pod knows about itself.

pub mod syntax;
