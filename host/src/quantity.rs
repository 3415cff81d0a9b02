//! Kubernetes resource quantities, exactly.
