//! Who wrote which field.

use serde_json::Value;

use super::resources::Type;

/// Who writes.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) manager: String,
    pub(crate) subresource: String,
    pub(crate) api_version: String,
}

/// Notes what `writer` changed.
pub(crate) fn track(_writer: &Writer, _of: &Type, _old: Option<&Value>, _new: &mut Value) {}
