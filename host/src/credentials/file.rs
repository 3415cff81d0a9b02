//! One read of a small, secret file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::CredentialsError;

/// Reads all of the file at `path`, which holds at most `limit` bytes. `file` is its name in messages.
///
/// # Errors
/// When the file is missing, no regular file, larger than `limit`, or the system refuses.
pub(super) fn read(file: &'static str, path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, CredentialsError> {
    let failed = |source: io::Error| unreadable(file, path, source);
    let opened = open(path).map_err(failed)?;
    if !opened.metadata().map_err(failed)?.is_file() {
        return Err(CredentialsError::Malformed { path: path.to_owned(), fault: "is not a regular file" });
    }
    let bytes = read_at_most(opened, limit).map_err(failed)?;
    if bytes.len() > limit {
        return Err(CredentialsError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

/// Opens without blocking: a named pipe in place of the file would otherwise block the host until a write to it.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

/// Reads at most one byte more than `limit`. The buffer has its full size from the start: growing it would leave pieces
/// of the secret in memory that is not overwritten.
fn read_at_most(file: File, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let room = limit.saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(room as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(file: &'static str, path: &Path, source: io::Error) -> CredentialsError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => CredentialsError::Missing { file, path },
        _ => CredentialsError::Unreadable { path, source },
    }
}
