//! The bound on the nesting of objects.
//!
//! Walking, writing and dropping an object recurse, and the parser that reads it back takes 127 levels. The parser
//! bounds request bodies. Objects that are built from bodies are bounded here. A JSON patch builds some. Managed fields
//! nest as deep as the fields and some levels more. A custom type's path to its replicas adds levels too.

use serde_json::Value;

use crate::model::status::ApiError;

/// The largest number of levels of maps and lists in an object. The parser's other seven are for the levels around an
/// object when it is read: a list and its items, a table's rows, a watch's event.
pub(crate) const DEEPEST: usize = 120;

/// Returns whether `value` has at most `levels` levels of maps and lists. Stops at that depth.
pub(crate) fn fits(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(list) => levels.checked_sub(1).is_some_and(|rest| list.iter().all(|item| fits(item, rest))),
        Value::Object(map) => levels.checked_sub(1).is_some_and(|rest| map.values().all(|item| fits(item, rest))),
        _ => true,
    }
}

/// Fails with 400 if an object nests too deeply to be stored.
pub(crate) fn check(value: &Value) -> Result<(), ApiError> {
    if fits(value, DEEPEST) { Ok(()) } else { Err(too_deep()) }
}

/// Fails with 400 if `value` nests too deeply below `levels` other levels.
pub(crate) fn check_below(levels: usize, value: &Value) -> Result<(), ApiError> {
    let left = DEEPEST.checked_sub(levels);
    if left.is_some_and(|left| fits(value, left)) { Ok(()) } else { Err(too_deep()) }
}

fn too_deep() -> ApiError {
    ApiError::bad_request(format!("the object nests too deeply: the limit is {DEEPEST} levels"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_and_lists_are_levels_and_what_they_hold_is_none() {
        assert!(fits(&json!(1), 0));
        assert!(!fits(&json!({}), 0));
        assert!(fits(&json!({"a": [1, "x"]}), 2));
        assert!(!fits(&json!({"a": 1, "b": [[]]}), 2));
    }

    #[test]
    fn what_is_put_below_others_is_as_deep_as_all_of_them() {
        assert!(check_below(DEEPEST, &json!(1)).is_ok());
        assert!(check_below(DEEPEST - 1, &json!([])).is_ok());
        assert!(check_below(DEEPEST, &json!([])).is_err());
        assert!(check_below(DEEPEST + 1, &json!(1)).is_err());
    }
}
