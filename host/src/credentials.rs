//! The pod's service-account volume: token, CA and namespace.
