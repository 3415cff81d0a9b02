//! The host side of the WIT interfaces.
