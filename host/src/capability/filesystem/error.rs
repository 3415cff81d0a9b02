//! Failures of the file system.

use std::io;

use wasmtime::component::ResourceTableError;

pub(super) use crate::capability::bindings::filesystem::ErrorCode;

/// An error of a call of `wasi:filesystem`.
#[derive(Debug)]
pub enum FilesystemError {
    /// The guest gets this code.
    Code(ErrorCode),
    /// The guest's call traps: its handle is broken, or it has too many.
    Trap(wasmtime::Error),
}

impl From<ErrorCode> for FilesystemError {
    fn from(code: ErrorCode) -> Self {
        Self::Code(code)
    }
}

impl From<ResourceTableError> for FilesystemError {
    fn from(error: ResourceTableError) -> Self {
        Self::Trap(error.into())
    }
}

/// Returns the code for a file that the host could not read when it read the volume.
pub(super) fn of_reading(kind: io::ErrorKind) -> ErrorCode {
    match kind {
        io::ErrorKind::PermissionDenied => ErrorCode::Access,
        io::ErrorKind::FileTooLarge => ErrorCode::FileTooLarge,
        _ => ErrorCode::Io,
    }
}
