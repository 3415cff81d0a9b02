//! Strategic merge.

use serde_json::Value;

use super::status::ApiError;

/// Merges.
pub(crate) fn merge(old: &Value, patch: &Value) -> Result<Value, ApiError> {
    let mut new = old.clone();
    json_patch::merge(&mut new, patch);
    Ok(new)
}
