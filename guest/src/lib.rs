//! The SDK for guests of Attaché.
