//! The API server's own reading of a request, written apart from the crate's and as lax as the server: it decodes
//! everything once, cuts at slashes, and takes the first of doubled parameters.
//!
//! After `RequestInfoFactory.NewRequestInfo` in `apiserver/pkg/endpoints/request/requestinfo.go`, with `net/url` before
//! it and `fields.ParseSelector` behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub, missing_docs)]

use attache::policy::ApiRequest;

/// The reading of a request: verb, group, version, resource, subresource, namespace and name, or verb and path.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    Path(String, String),
    Resource { verb: String, type_of: [String; 4], namespace: String, name: String },
}

pub fn read(method: &str, target: &str) -> Option<Reading> {
    let (raw_path, raw_query) = target.split_once('?').unwrap_or((target, ""));
    let path = unescape(raw_path, false)?;
    let query = parse_query(raw_query);
    let first = |key: &str| query.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    let mut parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let other = || Some(Reading::Path(method.to_lowercase(), path.clone()));
    if parts.len() < 3 || !["api", "apis"].contains(&parts[0]) {
        return other();
    }
    let mut group = "";
    if parts.remove(0) == "apis" {
        if parts.len() < 3 {
            return other();
        }
        group = parts.remove(0);
    }
    let version = parts.remove(0);
    let mut verb = match method {
        "POST" => "create",
        "GET" | "HEAD" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    };
    let by_prefix = ["watch", "proxy"].contains(&parts[0]);
    if by_prefix {
        if parts.len() < 2 {
            return None;
        }
        verb = parts.remove(0);
    }
    let mut namespace = "";
    if parts[0] == "namespaces" && parts.len() > 1 {
        namespace = parts[1];
        if parts.len() > 2 && parts[2] != "status" && parts[2] != "finalize" {
            parts.drain(..2);
        }
    }
    let at = |index: usize| parts.get(index).copied().unwrap_or_default();
    let (resource, mut name) = (at(0), at(1).to_owned());
    let subresource = if verb == "proxy" { "" } else { at(2) };
    if name.is_empty() && verb == "get" {
        let watch = first("watch").is_some_and(|value| !matches!(value.to_lowercase().as_str(), "false" | "0"));
        verb = if watch { "watch" } else { "list" };
    } else if name.is_empty() && verb == "delete" {
        verb = "deletecollection";
    }
    if name.is_empty() && !by_prefix && ["list", "watch", "deletecollection"].contains(&verb) {
        name = first("fieldSelector").and_then(|selector| exact_name(&selector)).unwrap_or_default();
    }
    let type_of = [group, version, resource, subresource].map(str::to_owned);
    Some(Reading::Resource { verb: verb.to_owned(), type_of, namespace: namespace.to_owned(), name })
}

/// Returns the path of a request without the part that a backend reads.
pub fn before_backend(request: &ApiRequest) -> &str {
    let path = request.path();
    let proxied = |at: usize| path.get(..at + "/proxy/".len()).unwrap_or(path);
    match request.resource() {
        Some(at) if at.subresource.as_deref() == Some("proxy") => path.find("/proxy/").map_or(path, proxied),
        Some(at) if request.verb() == "proxy" => {
            let name = format!("/{}", at.name.as_deref().unwrap_or_default());
            path.find(&name).map_or(path, |start| path.get(..start + name.len()).unwrap_or(path))
        }
        _ => path,
    }
}

fn unescape(text: &str, plus: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut index) = (Vec::new(), 0);
    while index < bytes.len() {
        match bytes[index] {
            b'%' => {
                out.push(u8::from_str_radix(text.get(index + 1..index + 3)?, 16).ok()?);
                index += 2;
            }
            b'+' if plus => out.push(b' '),
            byte => out.push(byte),
        }
        index += 1;
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn parse_query(raw: &str) -> Vec<(String, String)> {
    let pairs = raw.split('&').filter(|pair| !pair.is_empty() && !pair.contains(';'));
    let parse = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        Some((unescape(key, true)?, unescape(value, true)?))
    };
    pairs.filter_map(parse).collect()
}

fn exact_name(selector: &str) -> Option<String> {
    let mut terms = vec![String::new()];
    let mut letters = selector.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ',' => terms.push(String::new()),
            '\\' => terms.last_mut()?.extend(['\\'].into_iter().chain(letters.next())),
            _ => terms.last_mut()?.push(letter),
        }
    }
    terms.sort();
    let names: Vec<String> = terms.iter().filter_map(|term| name_in(term)).collect();
    names.first().filter(|name| !name.contains(['/', '%']) && !matches!(name.as_str(), "." | "..")).cloned()
}

fn name_in(term: &str) -> Option<String> {
    let split = (0..term.len())
        .find(|at| term.get(*at..).is_some_and(|rest| rest.starts_with("!=") || rest.starts_with('=')))?;
    let (field, rest) = term.split_at(split);
    let value = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
    (field == "metadata.name").then(|| value.replace("\\\\", "\\").replace("\\,", ",").replace("\\=", "="))
}

/// Returns the gate's reading of a request, in the server's words.
pub fn judged(request: &ApiRequest) -> Reading {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    match request.resource() {
        None => Reading::Path(request.verb().to_owned(), request.path().to_owned()),
        Some(path) => Reading::Resource {
            verb: request.verb().to_owned(),
            type_of: [path.group.clone(), path.version.clone(), path.resource.clone(), text(&path.subresource)],
            namespace: text(&path.namespace),
            name: text(&path.name),
        },
    }
}
