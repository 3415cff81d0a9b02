//! Hands the host something enormous, `enormous WHAT BYTES`, and prints what came of it.
//!
//! ```text
//! enormous label BYTES        a key of metadata
//! enormous resolve BYTES      the name of a type
//! enormous namespace BYTES
//! enormous name BYTES
//! enormous subresource BYTES
//! enormous labels BYTES       a label selector
//! enormous fields BYTES       a field selector
//! enormous cursor BYTES
//! enormous random BYTES       bytes that the host is to make
//! enormous poll BYTES         a list of handles to one timer
//! enormous members COUNT      an object of so many members, to be created
//! enormous write BYTES        a piece of output, without asking how much may be written
//! ```

use std::process::ExitCode;

use raw::attache::pod::{api, metadata};
use raw::wasi::cli::stdout;
use raw::wasi::clocks::monotonic_clock;
use raw::wasi::io::poll;
use raw::wasi::random::random;

#[path = "../raw.rs"]
mod raw;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [what, bytes] = words.as_slice() else { return ExitCode::FAILURE };
    let Ok(bytes) = bytes.parse() else { return ExitCode::FAILURE };
    match hand_over(what, bytes) {
        Ok(()) => println!("done"),
        Err(error) => println!("refused: {}", said(error)),
    }
    ExitCode::SUCCESS
}

fn hand_over(what: &str, bytes: usize) -> Result<(), api::Error> {
    let text = || "x".repeat(bytes);
    match what {
        "label" => drop(metadata::get_label(&text())),
        "resolve" => drop(api::resolve(&text())?),
        "namespace" => drop(api::open(&pods(), Some(&text()))?),
        "name" => drop(all()?.get(&text())?),
        "subresource" => drop(all()?.subresource(&text())?),
        "labels" => drop(all()?.list(&api::Selector { labels: text(), fields: String::new() }, 1, None)?),
        "fields" => drop(all()?.list(&api::Selector { labels: String::new(), fields: text() }, 1, None)?),
        "cursor" => drop(all()?.list(&nothing(), 1, Some(&text()))?),
        "random" => drop(random::get_random_bytes(bytes as u64)),
        "poll" => {
            let timer = monotonic_clock::subscribe_duration(0);
            drop(poll::poll(&vec![&timer; bytes / size_of::<u32>()]));
        }
        "members" => {
            let members: String = (0..bytes).map(|member| format!(",\"k{member}\":0")).collect();
            let object = format!("{{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{{\"name\":\"m\"}}{members}}}");
            drop(all()?.create(object.as_bytes(), api::WriteOptions::empty())?);
        }
        "write" => drop(stdout::get_stdout().write(text().as_bytes())),
        _ => return Err(api::Error::Invalid(format!("no such thing: {what}"))),
    }
    Ok(())
}

fn all() -> Result<api::Collection, api::Error> {
    api::open(&pods(), Some("demo"))
}

fn pods() -> api::ResourceType {
    api::ResourceType { group: String::new(), version: "v1".into(), plural: "pods".into() }
}

fn nothing() -> api::Selector {
    api::Selector { labels: String::new(), fields: String::new() }
}

/// Returns the case of an error, and the length of its message.
fn said(error: api::Error) -> String {
    match error {
        api::Error::Denied(text) => format!("denied, {} bytes", text.len()),
        api::Error::Invalid(text) => format!("invalid, {} bytes", text.len()),
        api::Error::TooLarge(limit) => format!("too large, {limit}"),
        api::Error::Refused(status) => format!("refused, {}", status.code),
        api::Error::Throttled(_) => "throttled".into(),
        api::Error::Unavailable(text) => format!("unavailable, {} bytes", text.len()),
    }
}
