//! JSON patches. A short patch can build a large object, so each operation is judged before it runs.

use std::io;

use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};

use crate::model::nesting;
use crate::model::status::ApiError;
use crate::server::api::BODY_LIMIT;

/// The largest number of operations in one patch, a real server's limit.
const OPERATIONS: usize = 10_000;

/// The largest total size of the copies in one patch, in bytes of JSON: a real server's limit, the same as for a body.
const COPIED: u64 = BODY_LIMIT;

/// Parses a patch.
///
/// # Errors
/// 400 for an invalid patch, 413 for too many operations.
pub(crate) fn read(body: &[u8]) -> Result<Patch, ApiError> {
    let patch: Patch = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    if patch.0.len() > OPERATIONS {
        let message = format!("The allowed maximum operations in a JSON patch is {OPERATIONS}, got {}", patch.0.len());
        return Err(ApiError::new(413, "RequestEntityTooLarge", message));
    }
    Ok(patch)
}

/// Applies `patch` to `old`.
///
/// # Errors
/// 400 if a step nests too deeply, 422 if the patch copies too much or an operation fails.
pub(crate) fn apply(old: &Value, patch: &Patch) -> Result<Value, ApiError> {
    let mut new = old.clone();
    let mut room = Room(COPIED);
    for operation in &patch.0 {
        check(&new, operation, &mut room)?;
        // A failed patch leaves a half-done copy, which is dropped.
        json_patch::patch_unsafe(&mut new, std::slice::from_ref(operation)).map_err(|_| rejected())?;
    }
    Ok(new)
}

/// Fails unless the document stays within its bounds. A missing path is left for the operation to refuse.
fn check(document: &Value, operation: &PatchOperation, room: &mut Room) -> Result<(), ApiError> {
    let levels = operation.path().count();
    let put = match operation {
        PatchOperation::Add(add) => Some(&add.value),
        PatchOperation::Replace(replace) => Some(&replace.value),
        // A value that moves no deeper fits already.
        PatchOperation::Move(moved) if levels > moved.from.count() => document.pointer(moved.from.as_str()),
        PatchOperation::Copy(copy) => {
            let source = document.pointer(copy.from.as_str());
            source.map_or(Ok(()), |source| room.take(source))?;
            source
        }
        PatchOperation::Move(_) | PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
    };
    put.map_or(Ok(()), |value| nesting::check_below(levels, value))
}

/// The bytes that may still be copied.
struct Room(u64);

impl Room {
    fn take(&mut self, value: &Value) -> Result<(), ApiError> {
        serde_json::to_writer(self, value).map_err(|_| rejected())
    }
}

/// Counts bytes and keeps none of them; the first byte too many fails.
impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = u64::try_from(bytes.len()).ok().and_then(|length| self.0.checked_sub(length));
        self.0 = left.ok_or(io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn rejected() -> ApiError {
    let message = "the server rejected our request due to an error in our request";
    ApiError::new(422, "Invalid", message).with_details(json!({}))
}
