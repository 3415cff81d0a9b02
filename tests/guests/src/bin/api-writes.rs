//! Writes as its arguments say and prints each outcome as a line of JSON: `{"ok": …}` or `{"error": CASE, …}`.
//!
//! ```text
//! api-writes create TYPE NAMESPACE OBJECT [FLAGS]
//! api-writes replace TYPE NAMESPACE NAME OBJECT [FLAGS]
//! api-writes patch (json | merge | strategic) TYPE NAMESPACE NAME PATCH [FLAGS]
//! api-writes apply TYPE NAMESPACE NAME OBJECT MANAGER [--force] [FLAGS]
//! api-writes delete TYPE NAMESPACE NAME [--propagation P] [--grace SECONDS] [--uid U] [--version V] [FLAGS]
//! api-writes delete-all TYPE NAMESPACE LABELS FIELDS [FLAGS]
//! api-writes get TYPE NAMESPACE NAME [FLAGS]
//! api-writes can-i VERB TYPE[:SUBRESOURCE] NAMESPACE NAME
//! api-writes repeat N CALL…                          the call, N times in one instance
//! api-writes large TYPE NAMESPACE BYTES              an object of so many bytes
//! ```
//!
//! TYPE is `group/version/plural` or `version/plural`; NAMESPACE and NAME `-` mean none. FLAGS: `--dry-run`, `--in
//! SUBRESOURCE`. Bodies are JSON.

use std::process::ExitCode;

use attache_guest::api::{self, Collection, Deletion, Error, FieldManager, Patch, Propagation, ResourceType, Selector};
use attache_test_guests::print;
use serde_json::value::RawValue;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match calls(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("api-writes: {text}");
            ExitCode::FAILURE
        }
    }
}

fn calls(words: &[&str]) -> Result<(), String> {
    let (times, words) = match words {
        ["repeat", times, rest @ ..] => (times.parse().map_err(|_| "repeat needs a number")?, rest),
        words => (1_u32, words),
    };
    for _ in 0..times {
        print(call(words)?);
    }
    Ok(())
}

type Outcome = Result<Value, Error>;

/// Makes a call. Returns an outer error if the arguments are not valid.
fn call(words: &[&str]) -> Result<Outcome, String> {
    Ok(match words {
        ["create", of, namespace, object, flags @ ..] => {
            let object = body(object)?;
            within(of, namespace, flags)?.and_then(|objects| objects.create(&object))
        }
        ["replace", of, namespace, name, object, flags @ ..] => {
            let object = body(object)?;
            within(of, namespace, flags)?.and_then(|objects| objects.replace(name, &object))
        }
        ["patch", form, of, namespace, name, patch, flags @ ..] => {
            let patch = form_of(form, body(patch)?)?;
            within(of, namespace, flags)?.and_then(|objects| objects.patch(name, &patch))
        }
        ["apply", of, namespace, name, object, manager, rest @ ..] => {
            let (manager, flags) = match rest {
                ["--force", flags @ ..] => (FieldManager::new(*manager).forced(), flags),
                flags => (FieldManager::new(*manager), flags),
            };
            // As it stands there, escapes and all.
            let object: Box<RawValue> = serde_json::from_str(object).map_err(|error| error.to_string())?;
            within(of, namespace, flags)?.and_then(|objects| objects.apply(name, &object, &manager))
        }
        ["delete", of, namespace, name, rest @ ..] => {
            let (how, flags) = deletion(Deletion::new(), rest)?;
            within(of, namespace, flags)?.and_then(|objects| objects.delete_with(name, how)).map(|()| Value::Null)
        }
        ["delete-all", of, namespace, labels, fields, flags @ ..] => {
            let select = Selector::labels(*labels).fields(*fields);
            let deleted = within(of, namespace, flags)?
                .and_then(|objects| objects.delete_all(&select, Propagation::ServerDefault));
            deleted.map(|()| Value::Null)
        }
        ["get", of, namespace, name, flags @ ..] => within(of, namespace, flags)?.and_then(|objects| objects.get(name)),
        ["can-i", verb, of, namespace, name] => {
            let mut asked = kind(of)?;
            asked.plural = asked.plural.replace(':', "/");
            api::can_i(verb, &asked, given(namespace), given(name)).map(Value::from)
        }
        ["large", of, namespace, bytes] => {
            let bytes: usize = bytes.parse().map_err(|_| "large needs a number")?;
            let object = json!({ "metadata": { "name": "large" }, "data": { "x": "x".repeat(bytes) } });
            let created: Outcome = within(of, namespace, &[])?.and_then(|objects| objects.create(&object));
            // What is printed has a limit of its own.
            created.map(|_| Value::Null)
        }
        _ => return Err(format!("no such call: {words:?}")),
    })
}

fn kind(text: &str) -> Result<ResourceType, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn given(word: &str) -> Option<&str> {
    (word != "-").then_some(word)
}

fn body(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn form_of(form: &str, patch: Value) -> Result<Patch<Value>, String> {
    match form {
        "json" => Ok(Patch::Json(patch)),
        "merge" => Ok(Patch::Merge(patch)),
        "strategic" => Ok(Patch::Strategic(patch)),
        _ => Err(format!("no such patch: {form}")),
    }
}

/// Returns the options of a deletion, and the remaining flags.
fn deletion<'a>(how: Deletion, flags: &'a [&'a str]) -> Result<(Deletion, &'a [&'a str]), String> {
    match flags {
        ["--propagation", word, rest @ ..] => deletion(how.propagation(propagation(word)?), rest),
        ["--grace", seconds, rest @ ..] => {
            let seconds = seconds.parse().map_err(|_| "--grace needs a number")?;
            deletion(how.grace_seconds(seconds), rest)
        }
        ["--uid", uid, rest @ ..] => deletion(how.only_uid(*uid), rest),
        ["--version", version, rest @ ..] => deletion(how.only_version(*version), rest),
        rest => Ok((how, rest)),
    }
}

fn propagation(word: &str) -> Result<Propagation, String> {
    match word {
        "orphan" => Ok(Propagation::Orphan),
        "background" => Ok(Propagation::Background),
        "foreground" => Ok(Propagation::Foreground),
        _ => Err(format!("no such propagation: {word}")),
    }
}

/// Opens the collection of a call. The inner error is the API's.
fn within(of: &str, namespace: &str, flags: &[&str]) -> Result<Result<Collection, Error>, String> {
    let of = kind(of)?;
    let opened = match namespace {
        "-" => Collection::all(&of),
        name => Collection::namespaced(&of, name),
    };
    narrowed(opened, flags)
}

fn narrowed(opened: Result<Collection, Error>, flags: &[&str]) -> Result<Result<Collection, Error>, String> {
    match flags {
        [] => Ok(opened),
        ["--dry-run", rest @ ..] => narrowed(opened.map(Collection::dry_run), rest),
        ["--in", subresource, rest @ ..] => narrowed(opened.and_then(|objects| objects.subresource(subresource)), rest),
        [flag, ..] => Err(format!("unexpected argument `{flag}`")),
    }
}
