//! JSON patches: a short one can build much, so each operation is judged by what it would make before it is done.

use std::io;

use json_patch::{Patch, PatchOperation};
use serde_json::{Value, json};

use crate::model::nesting;
use crate::model::status::ApiError;
use crate::server::api::BODY_LIMIT;

/// The operations that one patch may have, as a real server limits them.
const OPERATIONS: usize = 10_000;

/// The bytes of JSON that the copies of one patch may take together, as a real server limits them: as many as a body.
const COPIED: u64 = BODY_LIMIT;

/// Reads a patch.
///
/// # Errors
/// 400 for what is none, 413 for one of too many operations.
pub(crate) fn read(body: &[u8]) -> Result<Patch, ApiError> {
    let patch: Patch = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))?;
    if patch.0.len() > OPERATIONS {
        let message = format!("The allowed maximum operations in a JSON patch is {OPERATIONS}, got {}", patch.0.len());
        return Err(ApiError::new(413, "RequestEntityTooLarge", message));
    }
    Ok(patch)
}

/// What `patch` makes of `old`.
///
/// # Errors
/// 400 if it nests too deeply on the way, 422 if it copies too much or an operation cannot be done.
pub(crate) fn apply(old: &Value, patch: &Patch) -> Result<Value, ApiError> {
    let mut new = old.clone();
    let mut room = Room(COPIED);
    for operation in &patch.0 {
        check(&new, operation, &mut room)?;
        // What a failure leaves half done is thrown away.
        json_patch::patch_unsafe(&mut new, std::slice::from_ref(operation)).map_err(|_| rejected())?;
    }
    Ok(new)
}

/// Whether the document stays within its bounds. A place that is not there is left to the operation to refuse.
fn check(document: &Value, operation: &PatchOperation, room: &mut Room) -> Result<(), ApiError> {
    let levels = operation.path().count();
    let put = match operation {
        PatchOperation::Add(add) => Some(&add.value),
        PatchOperation::Replace(replace) => Some(&replace.value),
        // What does not go deeper has its room already.
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

/// Counts what is written and keeps none of it; the first byte too many ends the writing.
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
