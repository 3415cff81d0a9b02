//! Asks for the pod `none` again and again, and between its questions does what may drown the host's log, `drown WHAT`.
//! After each round it prints how many decisions it has caused so far at least.
//!
//! ```text
//! drown stdout       lines of output
//! drown stderr       line breaks, as many as are taken
//! drown selectors    watches with an enormous selector that the API server refuses
//! drown pathless     plain HTTP with an authority and no path
//! drown egress       plain HTTP to where nothing may go
//! drown limits       nothing: its rate is small
//! drown malformed    plain HTTP for paths with two readings
//! ```

use attache_guest::api::{Collection, Error, ResourceType, Selector};
use serde_json::Value;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};

/// The number of requests in one piece of a flood.
const PIECE: u64 = 20;

/// Rounds at most: the deadline ends it before.
const ROUNDS: u64 = 1_000_000;

fn main() -> Result<(), Error> {
    let what = std::env::args().nth(1).unwrap_or_default();
    let pods = Collection::namespaced(&ResourceType::new("", "v1", "pods"), "default")?;
    let mut asked = 0;
    for _ in 0..ROUNDS {
        drop(pods.get_json("none"));
        asked += 1 + flood(&what, &pods);
        println!("asked {asked}");
    }
    Ok(())
}

/// Returns the number of decisions that this has caused.
fn flood(what: &str, pods: &Collection) -> u64 {
    match what {
        "stdout" => {
            println!("{}", "a line that says nothing\n".repeat(100));
            0
        }
        "stderr" => {
            break_lines();
            0
        }
        "selectors" => {
            // No label is as long as that.
            let watch = |turn: u64| pods.watch::<Value>(&Selector::labels(format!("{}{turn}", "b".repeat(7000))));
            (0..PIECE).filter(|turn| watch(*turn).is_ok_and(|mut watch| watch.next().is_some())).count() as u64
        }
        "pathless" => repeat(|| send(Some("kubernetes"), None)),
        "egress" => repeat(|| send(Some("nowhere.example"), Some("/"))),
        "malformed" => repeat(|| send(Some("kubernetes"), Some("/api/v1/namespaces/default/pods/%2e%2e"))),
        _ => 0,
    }
}

fn repeat(act: impl Fn()) -> u64 {
    (0..PIECE).for_each(|_| act());
    PIECE
}

/// Writes as many line breaks to stderr as it takes without waiting.
fn break_lines() {
    let stderr = wasip2::cli::stderr::get_stderr();
    while let Ok(room @ 1..) = stderr.check_write() {
        let breaks = vec![b'\n'; usize::try_from(room).unwrap_or(4096)];
        if stderr.write(&breaks).is_err() {
            return;
        }
    }
}

/// Sends a request, and waits for its outcome.
fn send(authority: Option<&str>, path: Option<&str>) {
    let request = OutgoingRequest::new(Fields::new());
    let made = request
        .set_scheme(Some(&Scheme::Https))
        .and_then(|()| request.set_authority(authority))
        .and_then(|()| request.set_path_with_query(path));
    if made.is_err() {
        return;
    }
    if let Ok(answer) = handle(request, None) {
        answer.subscribe().block();
        drop(answer.get());
    }
}
