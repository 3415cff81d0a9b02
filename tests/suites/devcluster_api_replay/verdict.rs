//! The comparison of an answer with the recorded one.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::Reply;
use crate::recording::Exchange;

/// The result of a comparison of answers.
pub(crate) struct Verdict {
    status: bool,
    reason: bool,
    pub(crate) difference: Option<String>,
}

impl Verdict {
    /// Compares an answer of the server at `address` with the recorded one.
    pub(crate) fn of(exchange: &Exchange, reply: &Reply, address: &str) -> Self {
        let recorded = values(&exchange.answer);
        let text = String::from_utf8_lossy(&reply.body).replace(address, "127.0.0.1:6443");
        let here = values(text.as_bytes());
        let reason = |values: &[Value]| values.first().map(|value| value["reason"].clone());
        Self {
            status: reply.status == exchange.status,
            reason: reason(&recorded) == reason(&here),
            difference: difference("", &Value::Array(recorded), &Value::Array(here)),
        }
    }

    pub(crate) fn same(&self) -> bool {
        self.status && self.reason && self.difference.is_none()
    }

    pub(crate) fn show(&self, name: &str) {
        let mark = |good: bool| if good { "same" } else { "OTHER" };
        let body = mark(self.difference.is_none());
        println!("{name:<46} {:>6} {:>6} {body:>6}", mark(self.status), mark(self.reason));
    }
}

/// Returns a body as masked values: one for JSON or YAML, one for each line of a watch, or else the text itself.
fn values(body: &[u8]) -> Vec<Value> {
    if let Ok(value) = serde_json::from_slice::<Value>(body) {
        return vec![masked(value)];
    }
    let text = String::from_utf8_lossy(body).trim().to_owned();
    let lines: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
    match lines {
        Ok(lines) => lines.into_iter().map(masked).collect(),
        Err(_) if text.starts_with("apiVersion:") => serde_saphyr::from_str(&text).map(masked).into_iter().collect(),
        Err(_) => vec![text.into()],
    }
}

/// The fields whose values differ by their nature.
const MASKED: &[&str] = &["uid", "time", "creationTimestamp", "expirationTimestamp", "token", "buildDate"];

fn masked(mut value: Value) -> Value {
    if let Some(columns) = value["columnDefinitions"].as_array() {
        let age = columns.iter().position(|column| column["name"] == "Age");
        for row in value["rows"].as_array_mut().into_iter().flatten() {
            if let Some(cell) = age.and_then(|age| row["cells"].get_mut(age)) {
                *cell = "AGE".into();
            }
        }
    }
    mask(&mut value);
    // Indexing has added the field.
    if let Some(map) = value.as_object_mut().filter(|map| map.get("columnDefinitions").is_some_and(Value::is_null)) {
        map.remove("columnDefinitions");
    }
    value
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                if MASKED.contains(&name.as_str()) && value.is_string() {
                    *value = "MASKED".into();
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(mask),
        Value::String(text) if text.starts_with("JTI=") => "JTI=MASKED".clone_into(text),
        Value::String(text) if text.starts_with("rec-g-") && text.len() == 11 => "rec-g-MASKED".clone_into(text),
        _ => {}
    }
}

/// Returns the first difference of two values.
fn difference(path: &str, recorded: &Value, here: &Value) -> Option<String> {
    match (recorded, here) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            let null = Value::Null;
            names.into_iter().find_map(|name| {
                let at = format!("{path}.{name}");
                match (a.get(name), b.get(name)) {
                    (None, Some(Value::Null)) | (Some(Value::Null), None) => Some(format!("{at}: null and nothing")),
                    (x, y) => difference(&at, x.unwrap_or(&null), y.unwrap_or(&null)),
                }
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(at, (a, b))| difference(&format!("{path}[{at}]"), a, b))
        }
        _ if recorded == here => None,
        _ => {
            let short = |value: &Value| value.to_string().chars().take(120).collect::<String>();
            Some(format!("{path}: recorded {}, here {}", short(recorded), short(here)))
        }
    }
}
