//! Audit, metrics and tracing.
