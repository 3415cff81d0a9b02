//! Answers: status, headers, and a body that is streamed if it is large.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt as _};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use serde_json::Value;

use crate::model::object::Object;
use crate::model::object::ordered;
use crate::model::status::ApiError;

/// The body of any answer. The error breaks the connection, as a fault may ask.
pub(crate) type Body = UnsyncBoxBody<Bytes, BrokenOff>;

/// The error by which the server breaks an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer is broken off, as the fault asks")]
pub(crate) struct BrokenOff;

/// The number of bytes of a long list that are encoded at a time: four TLS records.
const CHUNK: usize = 64 * 1024;

/// The representation of an object that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Representation {
    /// The object itself.
    Object,
    /// Rows of a table for people.
    Table,
    /// The metadata alone.
    Partial,
}

/// The notation of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notation {
    Json,
    Yaml,
}

/// The representation and notation that a client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accept {
    pub(crate) representation: Representation,
    pub(crate) notation: Notation,
    /// True if the answer is indented for people.
    pub(crate) pretty: bool,
}

/// The notations of a resource, as a 406 lists them.
const RESOURCE_NOTATIONS: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf, \
     application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

impl Accept {
    /// Returns the first of the accepted forms that can be served.
    ///
    /// # Errors
    /// 406 when there is none.
    pub(crate) fn parse(headers: &HeaderMap, pretty: Option<bool>) -> Result<Self, ApiError> {
        let pretty = pretty.unwrap_or_else(|| reads_pretty(headers));
        let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if accept.trim().is_empty() {
            return Ok(Self { representation: Representation::Object, notation: Notation::Json, pretty });
        }
        let found = accept.split(',').find_map(|entry| Self::one(entry, pretty));
        found.ok_or_else(|| {
            let message = format!("406: Not Acceptable\n\nAvailable representations: {RESOURCE_NOTATIONS}");
            ApiError::new(406, "NotAcceptable", message).with_details(serde_json::json!({}))
        })
    }

    fn one(entry: &str, pretty: bool) -> Option<Self> {
        let mut parts = entry.split(';').map(str::trim);
        let notation = match parts.next()?.to_ascii_lowercase().as_str() {
            "application/json" | "application/*" | "*/*" => Notation::Json,
            "application/yaml" => Notation::Yaml,
            _ => return None,
        };
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let value = |name: &str| parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        let representation = match (value("as"), value("g"), value("v")) {
            (None, _, _) => Representation::Object,
            (Some("Table"), Some("meta.k8s.io"), Some("v1")) => Representation::Table,
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("meta.k8s.io"), Some("v1")) => {
                Representation::Partial
            }
            _ => return None,
        };
        Some(Self { representation, notation, pretty })
    }
}

/// Returns whether the client is a tool that shows answers to people.
fn reads_pretty(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl/", "kubectl/", "Wget/", "Mozilla/"].iter().any(|person| agent.starts_with(person))
}

/// One answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    content_type: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
    content: Content,
}

enum Content {
    Whole(Bytes),
    Stream(Body),
}

impl Answer {
    fn whole(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status, content_type, headers: Vec::new(), content: Content::Whole(body.into()) }
    }

    /// Makes an answer of encoded JSON.
    pub(crate) fn json(status: u16, body: impl Into<Bytes>) -> Self {
        Self::whole(status, "application/json", body)
    }

    /// Makes an answer of plain text.
    pub(crate) fn text(status: u16, body: impl Into<Bytes>) -> Self {
        Self::whole(status, "text/plain; charset=utf-8", body)
            .with(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
    }

    /// Makes an answer without a body.
    pub(crate) fn empty(status: u16) -> Self {
        Self::whole(status, "", Bytes::new())
    }

    /// Makes an answer of a tree, in the notation that the client wants.
    pub(crate) fn tree(status: u16, accept: Accept, value: &Value) -> Self {
        match accept.notation {
            Notation::Yaml => Self::whole(status, "application/yaml", yaml(value)),
            Notation::Json if accept.pretty => Self::json(status, ordered(value, true)),
            Notation::Json => Self::json(status, line(ordered(value, false))),
        }
    }

    /// Makes an answer of lines that are sent as they come.
    pub(crate) fn stream(
        content_type: &'static str,
        lines: impl Stream<Item = Result<Bytes, BrokenOff>> + Send + 'static,
    ) -> Self {
        let body = StreamBody::new(lines.map(|line| line.map(Frame::data))).boxed_unsync();
        Self { status: 200, content_type, headers: Vec::new(), content: Content::Stream(body) }
    }

    /// Makes an answer of a list that is encoded while it is sent: `head`, then each item by `item`, then `tail`.
    pub(crate) fn list(
        head: Vec<u8>,
        items: Vec<Arc<Object>>,
        item: impl Fn(&Object, &mut Vec<u8>) + Send + 'static,
        tail: &'static [u8],
    ) -> Self {
        let mut chunks = Chunks { items: items.into_iter(), first: true, done: false, head };
        let mut next = move || chunks.next(&item, tail);
        let first = next().unwrap_or_default();
        let Some(second) = next() else { return Self::json(200, first) };
        let rest = stream::iter(std::iter::from_fn(next));
        Self::stream("application/json", stream::iter([first, second]).chain(rest).map(Ok))
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Returns the answer as an HTTP response.
    pub(crate) fn response(self) -> Response<Body> {
        let body = match self.content {
            Content::Whole(bytes) => Full::new(bytes).map_err(never).boxed_unsync(),
            Content::Stream(body) => body,
        };
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        if !self.content_type.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

fn never(never: Infallible) -> BrokenOff {
    match never {}
}

struct Chunks {
    items: std::vec::IntoIter<Arc<Object>>,
    first: bool,
    done: bool,
    head: Vec<u8>,
}

impl Chunks {
    fn next(&mut self, item: &impl Fn(&Object, &mut Vec<u8>), tail: &[u8]) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut out = std::mem::take(&mut self.head);
        while out.len() < CHUNK {
            let Some(object) = self.items.next() else {
                out.extend_from_slice(tail);
                self.done = true;
                break;
            };
            if !std::mem::take(&mut self.first) {
                out.push(b',');
            }
            item(&object, &mut out);
        }
        Some(out.into())
    }
}

/// Appends the newline with which a real server ends JSON for programs.
pub(crate) fn line(mut json: Vec<u8>) -> Vec<u8> {
    json.push(b'\n');
    json
}

fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_default()
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Self {
        if error.plain {
            return Self::text(error.code, error.message);
        }
        let mut answer = Self::json(error.code, line(error.body().into()));
        if error.code == 403 {
            answer = answer.with(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        if let Some(seconds) = error.retry_after {
            answer = answer.with(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if error.close {
            answer = answer.with(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}
