//! Takes handles of one kind and never gives one back, `leak KIND [NAME]`, and says how many it got where the host does
//! not end it.
//!
//! ```text
//! leak files PATH      an open file each
//! leak pollables       a timer each
//! leak streams         stdout once more each
//! leak followers       a follower of the pod's changes each
//! leak collections     the pods of a namespace each
//! leak watches         a watch each, of another selection
//! leak turns           a watch each, given up before the next
//! ```

use std::fs::File;
use std::mem::forget;
use std::sync::atomic::{AtomicU32, Ordering};

use raw::attache::pod::{api, metadata};
use raw::wasi::cli::stdout;
use raw::wasi::clocks::monotonic_clock;

#[path = "../raw.rs"]
mod raw;

/// More than any grant lets it have.
const MANY: usize = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let taken = match words.as_slice() {
        ["files", path] => count(|| File::open(path).map(forget).is_ok()),
        ["pollables"] => count(|| keep(monotonic_clock::subscribe_duration(3_600_000_000_000))),
        ["streams"] => count(|| keep(stdout::get_stdout())),
        ["followers"] => count(|| keep(metadata::follow())),
        ["collections"] => count(|| api::open(&pods(), Some("demo")).map(forget).is_ok()),
        ["watches"] => count(|| watch().map(forget).is_ok()),
        ["turns"] => count(|| watch().is_ok()),
        _ => 0,
    };
    println!("{taken} taken");
}

fn keep<T>(handle: T) -> bool {
    forget(handle);
    true
}

fn count(take: impl Fn() -> bool) -> usize {
    (0..MANY).take_while(|_| take()).count()
}

/// Opens a watch with another selection at each call.
fn watch() -> Result<api::Watch, api::Error> {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let labels = format!("turn!={}", TURN.fetch_add(1, Ordering::Relaxed));
    api::open(&pods(), Some("demo"))?.watch(&api::Selector { labels, fields: String::new() })
}

fn pods() -> api::ResourceType {
    api::ResourceType { group: String::new(), version: "v1".into(), plural: "pods".into() }
}
