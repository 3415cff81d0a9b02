//! Calls the metadata interface as its arguments say and prints each outcome as a line of JSON: `{"ok": …}` or
//! `{"error": CASE, "message": …}`.
//!
//! ```text
//! metadata-calls identity
//! metadata-calls snapshot
//! metadata-calls label KEY
//! metadata-calls annotation KEY
//! metadata-calls bound CONTAINER FIELD      cpu-request … ephemeral-storage-limit, hugepages-limit-2Mi
//! metadata-calls files
//! metadata-calls follow N                   one line for each of N snapshots
//! metadata-calls newest N                   `newest` N times, which never waits
//! metadata-calls within MILLISECONDS N      `newest_within`, N times on one follower
//! ```

use std::process::ExitCode;
use std::time::Duration;

use attache_guest::pod::{self, Error, ResourceField, Snapshot};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match call(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("metadata-calls: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Makes a call and prints its outcome. Fails only if the arguments are not valid.
fn call(words: &[&str]) -> Result<(), String> {
    match words {
        ["identity"] => print(identity()),
        ["snapshot"] => print(pod::snapshot().map(|found| snapshot(&found))),
        ["label", key] => print(pod::label(key).map(Value::from)),
        ["annotation", key] => print(pod::annotation(key).map(Value::from)),
        ["bound", container, name] => {
            print(pod::resource_bound(container, field(name)?).map(Value::from));
        }
        ["files"] => print(files()),
        ["follow", count] => {
            let all = pod::follow().take(number(count)?);
            all.for_each(|found| print(found.map(|found| snapshot(&found))));
        }
        ["newest", count] => {
            let changes = pod::follow();
            (0..number(count)?).for_each(|_| print(changes.newest().map(|found| optional(found.as_ref()))));
        }
        ["within", milliseconds, count] => {
            let patience = Duration::from_millis(number(milliseconds)? as u64);
            let changes = pod::follow();
            for _ in 0..number(count)? {
                print(changes.newest_within(patience).map(|found| optional(found.as_ref())));
            }
        }
        _ => return Err(format!("no such call: {words:?}")),
    }
    Ok(())
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{text}` is not a number"))
}

fn field(name: &str) -> Result<ResourceField, String> {
    Ok(match name {
        "cpu-request" => ResourceField::CpuRequest,
        "cpu-limit" => ResourceField::CpuLimit,
        "memory-request" => ResourceField::MemoryRequest,
        "memory-limit" => ResourceField::MemoryLimit,
        "ephemeral-storage-request" => ResourceField::EphemeralStorageRequest,
        "ephemeral-storage-limit" => ResourceField::EphemeralStorageLimit,
        _ => return hugepages(name).ok_or_else(|| format!("no such field: `{name}`")),
    })
}

fn hugepages(name: &str) -> Option<ResourceField> {
    let request = name.strip_prefix("hugepages-request-").map(String::from);
    let limit = name.strip_prefix("hugepages-limit-").map(String::from);
    let request = request.map(ResourceField::HugepagesRequest);
    request.or_else(|| limit.map(ResourceField::HugepagesLimit))
}

fn identity() -> Result<Value, Error> {
    let identity = pod::identity()?;
    Ok(json!({
        "name": identity.name,
        "namespace": identity.namespace,
        "uid": identity.uid,
        "serviceAccount": identity.service_account,
        "nodeName": identity.node_name,
        "podIPs": identity.pod_ips,
        "hostIPs": identity.host_ips,
    }))
}

/// Pairs rather than objects: their order is the host's promise.
fn snapshot(snapshot: &Snapshot) -> Value {
    json!({
        "revision": snapshot.revision,
        "labels": snapshot.labels,
        "annotations": snapshot.annotations,
    })
}

fn optional(found: Option<&Snapshot>) -> Value {
    found.map_or(Value::Null, snapshot)
}

fn files() -> Result<Value, Error> {
    let file = |file: pod::File| json!({ "path": file.path, "mode": file.mode });
    Ok(pod::files()?.into_iter().map(file).collect())
}

fn print(outcome: Result<Value, Error>) {
    let line = match outcome {
        Ok(value) => json!({ "ok": value }),
        Err(Error::Malformed(text)) => json!({ "error": "malformed", "message": text }),
        Err(Error::Unreadable(text)) => json!({ "error": "unreadable", "message": text }),
    };
    println!("{line}");
}
