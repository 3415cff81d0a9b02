//! Calls the API as its arguments say and prints each outcome as a line of JSON: `{"ok": …}` or
//! `{"error": CASE, …}`.
//!
//! ```text
//! api-calls discover
//! api-calls resolve NAME
//! api-calls open TYPE NAMESPACE
//! api-calls get TYPE NAMESPACE NAME
//! api-calls list TYPE NAMESPACE [--limit N] [--labels S] [--fields S]    one line a page
//! api-calls count TYPE NAMESPACE                                         how many items there are
//! api-calls first-page TYPE NAMESPACE                                    waiting for the rate where it has to
//! api-calls subresource TYPE NAMESPACE NAME SUBRESOURCE
//! api-calls repeat N CALL…                                               the call, N times in one instance
//! ```
//!
//! TYPE is `group/version/plural` or `version/plural`; NAMESPACE `-` means all of them.

use std::process::ExitCode;

use attache_guest::api::{self, Collection, Error, List, ResourceInfo, ResourceType};
use attache_test_guests::print;
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match call(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("api-calls: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Makes a call and prints its outcome. Fails only if the arguments are not valid.
fn call(words: &[&str]) -> Result<(), String> {
    match words {
        ["repeat", times, rest @ ..] => {
            let times: u32 = times.parse().map_err(|_| "repeat needs a number")?;
            (0..times).try_for_each(|_| call(rest))?;
        }
        ["discover"] => print(discover()),
        ["resolve", name] => print(api::resolve(name).map(|found| info(&found))),
        ["open", of, namespace] => print(open(&kind(of)?, namespace).map(|_| Value::Null)),
        ["get", of, namespace, name] => print(get(&kind(of)?, namespace, name)),
        ["list", of, namespace, flags @ ..] => list(&kind(of)?, namespace, flags)?,
        ["count", of, namespace] => print(count(&kind(of)?, namespace)),
        ["first-page", of, namespace] => print(first_page(&kind(of)?, namespace)),
        ["subresource", of, namespace, name, part] => {
            print(open(&kind(of)?, namespace).and_then(|all| all.subresource(part)?.get(name)));
        }
        _ => return Err(format!("no such call: {words:?}")),
    }
    Ok(())
}

fn kind(text: &str) -> Result<ResourceType, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn discover() -> Result<Value, Error> {
    Ok(api::discover()?.iter().map(info).collect())
}

fn info(info: &ResourceInfo) -> Value {
    json!({
        "of": info.of.to_string(),
        "kind": info.kind,
        "singular": info.singular,
        "shortNames": info.short_names,
        "categories": info.categories,
        "namespaced": info.namespaced,
        "verbs": info.verbs,
        "subresources": info.subresources,
        "preferred": info.preferred,
    })
}

fn open(of: &ResourceType, namespace: &str) -> Result<Collection, Error> {
    match namespace {
        "-" => Collection::all(of),
        name => Collection::namespaced(of, name),
    }
}

fn get(of: &ResourceType, namespace: &str, name: &str) -> Result<Value, Error> {
    open(of, namespace)?.get(name)
}

fn list(of: &ResourceType, namespace: &str, flags: &[&str]) -> Result<(), String> {
    let collection = match open(of, namespace) {
        Ok(collection) => collection,
        Err(error) => {
            print(Err(error));
            return Ok(());
        }
    };
    for page in selected(collection.list(), flags)?.pages::<Value>() {
        print(page.map(|page| {
            json!({
                "items": page.items,
                "remaining": page.remaining,
                "resourceVersion": page.resource_version,
            })
        }));
    }
    Ok(())
}

fn count(of: &ResourceType, namespace: &str) -> Result<Value, Error> {
    let objects = open(of, namespace)?;
    let mut items = objects.list().items::<Value>();
    items.try_fold(0, |count, item| item.map(|_| count + 1)).map(Value::from)
}

/// Reads the first page, with retries after each `retry_after`.
fn first_page(of: &ResourceType, namespace: &str) -> Result<Value, Error> {
    let objects = open(of, namespace)?;
    let mut waits = 0;
    loop {
        match objects.list().pages::<Value>().next().transpose() {
            Err(Error::Throttled { retry_after }) => std::thread::sleep(retry_after),
            Err(error) => return Err(error),
            Ok(page) => return Ok(json!({ "items": page.map_or(0, |page| page.items.len()), "waits": waits })),
        }
        waits += 1;
    }
}

fn selected<'a>(list: List<'a>, flags: &[&str]) -> Result<List<'a>, String> {
    match flags {
        [] => Ok(list),
        ["--limit", number, rest @ ..] => {
            let number = number.parse().map_err(|_| "--limit needs a number")?;
            selected(list.page_size(number), rest)
        }
        ["--labels", selector, rest @ ..] => selected(list.labels(*selector), rest),
        ["--fields", selector, rest @ ..] => selected(list.fields(*selector), rest),
        [flag, ..] => Err(format!("unexpected argument `{flag}`")),
    }
}
