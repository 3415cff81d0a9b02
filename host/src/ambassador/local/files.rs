//! Static files beside the API: `--www` of `kubectl proxy`.
//!
//! Threat: a path that leads out of the folder. It is split into plain names before any file is opened. Links in the
//! folder are followed, because their owner decides where they lead.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use tokio::fs::File;
use tokio::sync::Semaphore;

use super::body::{LocalBody, text};
use super::file_body::FileBody;
use super::{moved, plain};

/// The largest number of files that are sent at once. Each takes some 100 KiB where its reader is slow, and no grant
/// bounds them.
const AT_ONCE: usize = 64;

/// The file for a folder's own path.
const INDEX: &str = "index.html";

/// The types of files, by the end of their names. A browser stores all other files and does not show them.
const TYPES: [(&str, &str); 20] = [
    ("html", "text/html; charset=utf-8"),
    ("htm", "text/html; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("txt", "text/plain; charset=utf-8"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("map", "application/json"),
    ("xml", "text/xml; charset=utf-8"),
    ("pdf", "application/pdf"),
    ("ico", "image/x-icon"),
    ("wasm", "application/wasm"),
];

/// A folder of files.
#[derive(Clone, Debug)]
pub(super) struct Files {
    folder: PathBuf,
    room: Arc<Semaphore>,
}

impl Files {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Answers a request for the file at `path` below the folder; `whole` is the request's path. A folder's own path
    /// has to end with a slash, so that relative links in its index lead to its files.
    pub(super) async fn answer(&self, method: &Method, whole: &str, path: &str) -> Response<LocalBody> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return plain(StatusCode::METHOD_NOT_ALLOWED);
        }
        let Some(file) = below(&self.folder, path) else { return plain(StatusCode::NOT_FOUND) };
        let Ok(found) = tokio::fs::metadata(&file).await else { return plain(StatusCode::NOT_FOUND) };
        let file = match (found.is_dir(), whole.ends_with('/')) {
            (true, false) => return moved(&format!("{whole}/")),
            (true, true) => file.join(INDEX),
            (false, _) => file,
        };
        let Ok((file, length, of)) = open(file).await else { return plain(StatusCode::NOT_FOUND) };
        let mut response = match *method {
            Method::HEAD => Response::new(text("")),
            _ => match Arc::clone(&self.room).try_acquire_owned() {
                Ok(room) => Response::new(FileBody::new(file, length, room).map_err(Into::into).boxed_unsync()),
                Err(_) => return plain(StatusCode::SERVICE_UNAVAILABLE),
            },
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(of));
        headers.insert(CONTENT_LENGTH, length.into());
        headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
        response
    }
}

/// Returns the file of a path; `None` for a path with parts that are no plain names.
fn below(folder: &Path, path: &str) -> Option<PathBuf> {
    let path = percent_decode_str(path).decode_utf8().ok()?;
    let plain = |name: &&str| !matches!(*name, "." | "..") && !name.contains(['\\', '\0']);
    let names: Vec<_> = path.split('/').filter(|name| !name.is_empty()).collect();
    names.iter().all(plain).then(|| names.iter().fold(folder.to_owned(), |path, name| path.join(name)))
}

async fn open(path: PathBuf) -> std::io::Result<(File, u64, &'static str)> {
    // The kind is checked before the file is opened, because opening a pipe waits for a writer.
    if !tokio::fs::metadata(&path).await?.is_file() {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    let file = File::open(&path).await?;
    let length = file.metadata().await?.len();
    Ok((file, length, type_of(&path)))
}

fn type_of(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let known = TYPES.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known));
    known.map_or("application/octet-stream", |(_, of)| of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_folder() {
        let folder = Path::new("/www");
        for path in ["../etc/passwd", "a/../../b", "%2e%2e/etc", "..%2fetc", "a/./b", "a\\b", "a%00b", "a%ff"] {
            assert_eq!(below(folder, path), None, "{path}");
        }
        for (path, file) in
            [("", "/www"), ("a.js", "/www/a.js"), ("a//b/", "/www/a/b"), ("/etc/passwd", "/www/etc/passwd")]
        {
            assert_eq!(below(folder, path).as_deref(), Some(Path::new(file)), "{path}");
        }
    }
}
