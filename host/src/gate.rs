//! The only maker of a permit.
