//! Checking objects against what is known of their types' fields.

use serde_json::Value;

use super::body::FieldValidation;
use super::resources::Type;
use super::status::{ApiError, Cause};

/// Checks fields.
pub(crate) fn check(_of: &Type, _value: &mut Value, _validation: FieldValidation) -> Result<Vec<String>, ApiError> {
    Ok(Vec::new())
}

/// What breaks a custom schema.
pub(crate) fn custom_problems(_schema: &Value, _value: &Value) -> Vec<Cause> {
    Vec::new()
}

/// Fills defaults.
pub(crate) fn fill(_schema: &Value, _value: &mut Value) {}
