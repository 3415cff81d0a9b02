//! Sends one request through `wasi:http` as its arguments say, with nothing in between that would mend it, and prints
//! what comes of it as a line of JSON: `{"status": …, "headers": …, "body": …}` or `{"error": …}`.
//!
//! ```text
//! http-calls METHOD SCHEME AUTHORITY PATH [FLAGS]
//!
//! --header NAME VALUE      sends this header
//! --bearer FILE            sends the token in this file
//! --body TEXT              sends this body
//! --endless                sends a body without an end
//! --stalled                begins a body and never ends it
//! --connect MILLIS --first-byte MILLIS --between MILLIS      the request options
//! --lines N                prints the first N lines of the answer as they come, each as `{"line": …}`, and hangs up
//! --length           prints how long the body is in its place
//! --times N                all of it N times
//! --pause MILLIS           waits in between
//! ```

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::io::streams::{OutputStream, StreamError};

/// More than any limit on bodies, in bytes: a host that takes all of it has none.
const ENDLESS: usize = 256 << 20;

#[derive(Default)]
struct Call {
    words: Vec<String>,
    headers: Vec<(String, Vec<u8>)>,
    body: Content,
    connect: Option<u64>,
    first_byte: Option<u64>,
    between: Option<u64>,
    lines: Option<usize>,
    length: bool,
    times: usize,
    pause: u64,
}

#[derive(Default)]
enum Content {
    #[default]
    None,
    Text(String),
    Endless,
    Stalled,
}

fn main() -> ExitCode {
    let mut made = 0;
    loop {
        let call = match read(std::env::args().skip(1)) {
            Ok(call) => call,
            Err(text) => {
                eprintln!("http-calls: {text}");
                return ExitCode::FAILURE;
            }
        };
        match send(&call) {
            Ok(answer) => print(&answer),
            Err(error) => print(&json!({ "error": error })),
        }
        made += 1;
        if made >= call.times {
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(Duration::from_millis(call.pause));
    }
}

fn print(line: &Value) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

/// Parses the arguments. The token's file is read anew for each call, as careful clients do.
fn read(mut words: impl Iterator<Item = String>) -> Result<Call, String> {
    let mut call = Call { times: 1, ..Call::default() };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let mut number = || -> Result<u64, String> { value()?.parse().map_err(|_| "no number".to_owned()) };
        match word.as_str() {
            "--connect" => call.connect = Some(number()?),
            "--first-byte" => call.first_byte = Some(number()?),
            "--between" => call.between = Some(number()?),
            "--lines" => call.lines = Some(count(number()?)),
            "--times" => call.times = count(number()?),
            "--pause" => call.pause = number()?,
            "--length" => call.length = true,
            "--endless" => call.body = Content::Endless,
            "--stalled" => call.body = Content::Stalled,
            "--body" => call.body = Content::Text(value()?),
            "--header" => call.headers.push((value()?, value()?.into_bytes())),
            "--bearer" => {
                let token = std::fs::read_to_string(value()?).map_err(|error| error.to_string())?;
                call.headers.push(("authorization".to_owned(), format!("Bearer {token}").into_bytes()));
            }
            _ => call.words.push(word),
        }
    }
    Ok(call)
}

fn send(call: &Call) -> Result<Value, String> {
    let [method, scheme, authority, path] = call.words.as_slice() else { return Err("four words are needed".into()) };
    let headers = Fields::new();
    for (name, value) in &call.headers {
        headers.append(name, value).map_err(|error| format!("header {name}: {error:?}"))?;
    }
    let request = OutgoingRequest::new(headers);
    request.set_method(&self::method(method)).map_err(|()| "the method is not taken")?;
    request.set_scheme(Some(&self::scheme(scheme))).map_err(|()| "the scheme is not taken")?;
    request.set_authority(Some(authority)).map_err(|()| "the authority is not taken")?;
    request.set_path_with_query(Some(path)).map_err(|()| "the path is not taken")?;
    let options = RequestOptions::new();
    let nanoseconds = |millis: Option<u64>| millis.map(|millis| millis * 1_000_000);
    options.set_connect_timeout(nanoseconds(call.connect)).map_err(|()| "no connect timeout")?;
    options.set_first_byte_timeout(nanoseconds(call.first_byte)).map_err(|()| "no first byte timeout")?;
    options.set_between_bytes_timeout(nanoseconds(call.between)).map_err(|()| "no between bytes timeout")?;

    let body = request.body().map_err(|()| "no body")?;
    let future = handle(request, Some(options)).map_err(told)?;
    let unfinished = write(body, &call.body);
    future.subscribe().block();
    let answer = future.get().ok_or("it was ready")?.map_err(|()| "it was taken")?.map_err(told)?;
    drop(unfinished);
    match call.lines {
        Some(count) => lines(&answer, count),
        None => whole(&answer, call.length),
    }
}

/// Writes the body. Returns a body that is never finished, for the caller to keep.
fn write(body: OutgoingBody, content: &Content) -> Option<OutgoingBody> {
    let stream = body.write().ok()?;
    match content {
        Content::None => {}
        Content::Text(text) => drop(push(&stream, text.as_bytes())),
        Content::Endless => {
            let piece = vec![b'x'; 4096];
            let mut sent = 0;
            while sent < ENDLESS && push(&stream, &piece).is_ok() {
                sent += piece.len();
            }
        }
        Content::Stalled => {
            drop(push(&stream, b"{"));
            drop(stream);
            return Some(body);
        }
    }
    drop(stream);
    // If the host has broken off the request, the answer has the reason.
    let _ = OutgoingBody::finish(body, None);
    None
}

fn push(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), StreamError> {
    while !bytes.is_empty() {
        let room = count(stream.check_write()?);
        if room == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, rest) = bytes.split_at(room.min(bytes.len()));
        stream.write(now)?;
        bytes = rest;
    }
    Ok(())
}

fn whole(answer: &IncomingResponse, length: bool) -> Result<Value, String> {
    let mut headers = serde_json::Map::new();
    for (name, value) in answer.headers().entries() {
        headers.insert(name, String::from_utf8_lossy(&value).into());
    }
    let mut body = Vec::new();
    let read = pieces(answer, |piece| {
        body.extend_from_slice(piece);
        true
    });
    let text = if length { body.len().into() } else { Value::from(String::from_utf8_lossy(&body)) };
    let mut told = json!({ "status": answer.status(), "headers": headers, "body": text });
    if let Err(error) = read {
        told["broken"] = error.into();
    }
    Ok(told)
}

fn lines(answer: &IncomingResponse, count: usize) -> Result<Value, String> {
    let (mut text, mut seen) = (Vec::new(), 0);
    let read = pieces(answer, |piece| {
        text.extend_from_slice(piece);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            print(&json!({ "line": String::from_utf8_lossy(&line).trim_end() }));
            seen += 1;
        }
        seen < count
    });
    read.map(|()| json!({ "status": answer.status(), "lines": seen }))
}

/// Reads the body piece by piece until `take` returns false.
fn pieces(answer: &IncomingResponse, mut take: impl FnMut(&[u8]) -> bool) -> Result<(), String> {
    let body: IncomingBody = answer.consume().map_err(|()| "no body")?;
    let stream = body.stream().map_err(|()| "no stream")?;
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) if take(&piece) => {}
            Ok(_) | Err(StreamError::Closed) => return Ok(()),
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(code.map_or_else(|| error.to_debug_string(), told));
            }
        }
    }
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn told(code: ErrorCode) -> String {
    format!("{code:?}")
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "PATCH" => Method::Patch,
        "CONNECT" => Method::Connect,
        "OPTIONS" => Method::Options,
        "TRACE" => Method::Trace,
        other => Method::Other(other.to_owned()),
    }
}

fn scheme(name: &str) -> Scheme {
    match name {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    }
}
