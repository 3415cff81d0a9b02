//! Puts into each part of a request what could make another request of it, and prints a line for each attempt:
//! `PART TEXT: CASE`. What the host let through shows in the host's records.

use attache_guest::api::{self, Collection, Error, ResourceType};
use serde_json::Value;

/// Texts that are no plain path segment, or that another reader could take for something else.
const TEXTS: [&str; 40] = [
    "",
    ".",
    "..",
    "../secrets",
    "..%2fsecrets",
    "%2e%2e",
    "%2e%2e%2fsecrets%2fa",
    "a/b",
    "a%2fb",
    "a%252fb",
    "a\\b",
    "a%5c..%5cb",
    "a?watch=1",
    "a%3fwatch=1",
    "a#b",
    "a%23b",
    "a;b",
    "a&b=c",
    "a=b",
    "a b",
    "a+b",
    "a\tb",
    "a\r\nX-Remote-User: admin",
    "a%0d%0aX-Remote-User:%20admin",
    "a\0b",
    "a%00b",
    "a HTTP/1.1\r\nHost: evil\r\n\r\nGET /api/v1/secrets",
    "*",
    "$(POD_NAMESPACE)",
    "https://evil/",
    "//evil/",
    "@evil",
    "secrets",
    "pods/exec",
    "\u{ff0e}\u{ff0e}\u{ff0f}secrets",
    "\u{202e}sterces",
    "A",
    "watch",
    "proxy",
    "status",
];

fn main() {
    for text in TEXTS {
        let pods = ResourceType::new("", "v1", "pods");
        report("group", text, || Ok(of(&ResourceType::new(text, "v1", "pods"))?.get::<Value>("a")));
        report("version", text, || Ok(of(&ResourceType::new("", text, "pods"))?.get::<Value>("a")));
        report("plural", text, || Ok(of(&ResourceType::new("", "v1", text))?.get::<Value>("a")));
        report("namespace", text, || Ok(Collection::namespaced(&pods, text)?.get::<Value>("a")));
        report("name", text, || Ok(of(&pods)?.get::<Value>(text)));
        report("subresource", text, || Ok(of(&pods)?.subresource(text)?.get::<Value>("a")));
        report("labels", text, || Ok(first(of(&pods)?.list().labels(text))));
        report("fields", text, || Ok(first(of(&pods)?.list().fields(text))));
        report("type", text, || api::resolve(text).map(|_| Ok(Value::Null)));
    }
}

fn of(of: &ResourceType) -> Result<Collection, Error> {
    Collection::namespaced(of, "demo")
}

fn first(list: api::List<'_>) -> Result<Value, Error> {
    list.items::<Value>().next().unwrap_or(Ok(Value::Null))
}

fn report(part: &str, text: &str, ask: impl Fn() -> Result<Result<Value, Error>, Error>) {
    let case = match ask().and_then(|answer| answer) {
        Ok(_) => "answered",
        Err(Error::Denied(_)) => "denied",
        Err(Error::Invalid(_)) => "invalid",
        Err(Error::Refused(_)) => "refused",
        Err(Error::Throttled { .. }) => "throttled",
        Err(_) => "failed",
    };
    println!("{part} {text:?}: {case}");
}
