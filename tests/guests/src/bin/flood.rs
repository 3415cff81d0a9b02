//! Does one thing as fast as it can until it is stopped, `flood WHAT [NAME]`, or for a number of times, `flood TIMES
//! WHAT`.
//!
//! ```text
//! flood stdout           lines of output
//! flood stderr           lines of errors
//! flood requests         gets of a pod that it may read
//! flood denied           gets of a secret that it may not
//! flood types            names of types that nobody has
//! flood discovery
//! flood metadata         snapshots
//! flood files PATH       opens and reads of a file
//! ```

use std::io::Write;

use attache_guest::api::{self, Collection, ResourceType};
use attache_guest::pod;

/// A line of a length that a log has.
const LINE: &str =
    "a line that says nothing and is as long as a line in a log that says something may well be, or longer";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [times, rest @ ..] if times.parse::<u64>().is_ok() => flood(times.parse().unwrap_or(0), rest),
        rest => flood(u64::MAX, rest),
    }
}

fn flood(times: u64, words: &[&str]) {
    match words {
        ["stdout"] => repeat(times, |_| println!("{LINE}")),
        ["stderr"] => repeat(times, |_| eprintln!("{LINE}")),
        ["requests"] => repeat(times, |_| drop(get("v1/pods", "a"))),
        ["denied"] => repeat(times, |_| drop(get("v1/secrets", "a"))),
        ["types"] => repeat(times, |turn| drop(api::resolve(&format!("nobodys{turn}")))),
        ["discovery"] => repeat(times, |_| drop(api::discover())),
        ["metadata"] => repeat(times, |_| drop(pod::snapshot())),
        ["files", path] => repeat(times, |_| drop(std::fs::read(path))),
        _ => drop(writeln!(std::io::stderr(), "flood: no such thing: {words:?}")),
    }
}

fn repeat(times: u64, act: impl Fn(u64)) {
    (0..times).for_each(act);
    println!("{times} times");
}

fn get(of: &str, name: &str) -> Result<Vec<u8>, api::Error> {
    let of: ResourceType = of.parse().map_err(|_| api::Error::Invalid(of.into()))?;
    Collection::namespaced(&of, "demo")?.get_json(name)
}
