//! The recorded exchanges.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::Value;

/// One recorded request with its answer.
pub(crate) struct Exchange {
    pub(crate) number: String,
    pub(crate) name: String,
    pub(crate) identity: String,
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    pub(crate) status: u16,
    pub(crate) answer: Vec<u8>,
}

/// Returns the folder of the recordings.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings")
}

/// Reads all exchanges in their order.
pub(crate) fn read_all() -> Result<Vec<Exchange>> {
    let index = std::fs::read_to_string(folder().join("INDEX.tsv"))?;
    index.lines().skip(1).map(read_one).collect()
}

fn read_one(line: &str) -> Result<Exchange> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [file, identity, method, target, status, ..] = columns[..] else { anyhow::bail!("a short line: {line}") };
    let request = std::fs::read_to_string(folder().join(format!("{file}.request")))?.replace("\r\n", "\n");
    let (head, body) = request.split_once("\n\n").context("a request without an end")?;
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let answer = std::fs::read(folder().join(format!("{file}.http")))?;
    let end = answer.windows(2).position(|pair| pair == b"\n\n").context("an answer without an end")?;
    Ok(Exchange {
        number: file.get(..3).unwrap_or_default().to_owned(),
        name: file.to_owned(),
        identity: identity.to_owned(),
        method: method.to_owned(),
        target: target.to_owned(),
        headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
        body: body.trim_end_matches('\n').to_owned().into(),
        status: status.split(' ').next().unwrap_or_default().parse()?,
        answer: answer.get(end + 2..).unwrap_or_default().to_vec(),
    })
}

/// Returns the revision at which an exchange begins, as far as its answer shows it.
pub(crate) fn recorded_revision(exchange: &Exchange) -> Option<u64> {
    let revision_of = |value: &Value| value["metadata"]["resourceVersion"].as_str()?.parse::<u64>().ok();
    match (exchange.method.as_str(), exchange.number.as_str()) {
        (_, "117") => Some(702),
        (_, "118") => Some(714),
        (_, "126") => Some(736),
        ("POST" | "PUT" | "PATCH", _) if exchange.status < 300 && !exchange.target.contains("dryRun") => {
            let answer: Value = serde_json::from_slice(&exchange.answer).ok()?;
            revision_of(&answer).map(|revision| revision - 1)
        }
        ("GET", _) => {
            let answer: Value = serde_json::from_slice(&exchange.answer).ok()?;
            let list = answer["kind"].as_str()?.ends_with("List") || answer["kind"] == "Table";
            revision_of(&answer).filter(|_| list && !exchange.target.ends_with("/web"))
        }
        _ => None,
    }
}
