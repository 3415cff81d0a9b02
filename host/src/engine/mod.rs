//! The wasmtime engine, its limits and compiled artefacts.
