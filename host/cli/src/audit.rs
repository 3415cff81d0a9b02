//! The audit of this process: a file, stderr, or nothing.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use attache::telemetry::{Audit, JsonLines, NoAudit};

use crate::stderr;

/// The word for an audit on stderr.
pub(crate) const ON_STDERR: &str = "stderr";

/// The word for no audit.
const NONE: &str = "none";

/// Reads the location of an audit. A misspelt word is never used as the name of a file.
pub(crate) fn location(text: &str) -> Result<String, String> {
    match text.to_ascii_lowercase().as_str() {
        ON_STDERR | NONE if text.bytes().all(|byte| byte.is_ascii_lowercase()) => Ok(text.to_owned()),
        ON_STDERR | NONE | "stdout" | "off" | "-" | "" => {
            Err(format!("it is `stderr`, `none` or a file; a file of this name is ./{text}"))
        }
        _ => Ok(text.to_owned()),
    }
}

/// Opens the audit at a location that [`location`] has read.
pub(crate) fn open(location: &str) -> anyhow::Result<Arc<dyn Audit>> {
    let out: Box<dyn Write + Send> = match location {
        NONE => return Ok(Arc::new(NoAudit)),
        ON_STDERR => Box::new(stderr::Records),
        file => {
            let mut options = OpenOptions::new();
            let opened = options.append(true).create(true).mode(0o600).open(file);
            Box::new(opened.with_context(|| format!("cannot append to the audit file {file}"))?)
        }
    };
    let lines = Arc::new(JsonLines::new(out).context("cannot start the thread that writes the audit")?);
    let _ = LINES.set(Arc::clone(&lines));
    Ok(lines)
}

/// The audit of this process, for [`end`].
static LINES: OnceLock<Arc<JsonLines>> = OnceLock::new();

/// Waits until the audit's last lines, or the number of lost lines, are written.
pub(crate) fn end() {
    if let Some(lines) = LINES.get() {
        lines.finish();
    }
}
