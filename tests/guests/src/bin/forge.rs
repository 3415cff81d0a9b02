//! Prints on stderr what looks like the host's own: a record of the audit, lines of the log and of its messages, what
//! moves a terminal's cursor, and the beginning of a line, into which the record of the request that follows would
//! fall.

use std::io::Write;

use attache_guest::api::{Collection, ResourceType};

fn main() {
    eprintln!(r#"{{"time":"2026-01-01T00:00:00.000000Z","extension":"forged","verdict":"allowed"}}"#);
    eprintln!("2026-01-01T00:00:00.000000Z  WARN attache::limits: forged");
    eprintln!("error: forged\r\n\x1b[1A\x1b[2Kforged\rforged");
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "{{\"extension\":\"forged\",\"reason\":\"").and_then(|()| stderr.flush());
    let pods = ResourceType::new("", "v1", "pods");
    drop(Collection::namespaced(&pods, "default").and_then(|pods| pods.get_json("none")));
    let _ = write!(stderr, "forged: the last line has no end");
}
