//! Makes parts of HTTP requests that it never sends, `hoard WHAT BYTES`, keeps them all, and says how many it got where
//! the host does not end it.
//!
//! ```text
//! hoard methods BYTES       requests with a method of so many bytes
//! hoard authorities BYTES   requests to a host of so many bytes
//! hoard paths BYTES         requests of a path of so many bytes
//! hoard fields BYTES        sets of headers of so many bytes
//! hoard small BYTES         sets of headers of so many bytes, each header as small as it can be
//! hoard clones BYTES        one such set, again and again
//! hoard bodies BYTES        bodies into which so much is written
//! hoard whole BYTES         requests with small headers of so many bytes, a long path, and all that their body takes
//! ```

use std::mem::forget;

use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest};

/// More than any grant lets it have.
const MANY: usize = 100_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, bytes] = arguments.as_slice() else { return eprintln!("hoard: two words are needed") };
    let text = "x".repeat(bytes.parse().unwrap_or(0));
    let taken = match what.as_str() {
        "methods" => {
            let method = Method::Other(text);
            count(|| keep(request(), |request| request.set_method(&method).is_ok()))
        }
        "authorities" => count(|| keep(request(), |request| request.set_authority(Some(&text)).is_ok())),
        "paths" => {
            let path = format!("/{text}");
            count(|| keep(request(), |request| request.set_path_with_query(Some(&path)).is_ok()))
        }
        "fields" => count(|| keep(Fields::new(), |fields| fields.append("x", text.as_bytes()).is_ok())),
        "small" => count(|| keep(small(text.len()), |_| true)),
        "whole" => count(|| keep(OutgoingRequest::new(small(text.len())), fill_whole)),
        "clones" => {
            let fields = Fields::new();
            // Headers of one set are the host's only once: it is the change that makes another of them.
            let full = fields.append("x", text.as_bytes()).is_ok();
            count(|| full && keep(fields.clone(), |copy| copy.append("y", b"y").is_ok()))
        }
        "bodies" => count(|| keep(request(), |request| request.body().is_ok_and(|body| fill(body, &text)))),
        _ => 0,
    };
    println!("{taken} taken");
}

fn request() -> OutgoingRequest {
    OutgoingRequest::new(Fields::new())
}

/// Headers of three letters and no value each.
fn small(bytes: usize) -> Fields {
    let fields = Fields::new();
    (0..bytes / 3).map_while(|number| fields.append(&format!("{number:03x}"), b"").ok()).for_each(drop);
    fields
}

fn fill_whole(request: &OutgoingRequest) -> bool {
    let path = format!("/{}", "x".repeat(64_000));
    let body = "x".repeat(1 << 20);
    request.set_path_with_query(Some(&path)).is_ok() && request.body().is_ok_and(|taken| fill(taken, &body))
}

fn keep<T>(handle: T, act: impl Fn(&T) -> bool) -> bool {
    let done = act(&handle);
    forget(handle);
    done
}

fn count(take: impl Fn() -> bool) -> usize {
    (0..MANY).take_while(|_| take()).count()
}

/// Writes until the host has no room.
fn fill(body: OutgoingBody, text: &str) -> bool {
    let Ok(stream) = body.write() else { return false };
    let mut left = text.as_bytes();
    while let Ok(room) = stream.check_write()
        && room > 0
        && !left.is_empty()
    {
        let (now, rest) = left.split_at(left.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
        if stream.write(now).is_err() {
            return false;
        }
        left = rest;
    }
    forget((stream, body));
    true
}
