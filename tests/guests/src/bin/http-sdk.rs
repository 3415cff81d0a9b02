//! Sends one request by the SDK's raw way and prints what comes: the status, then the body line by line.
//!
//! ```text
//! http-sdk METHOD URI [BODY] [--lines N]      hangs up after N lines
//! ```

use std::process::ExitCode;

use attache_guest::http::{self, Request, header};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (words, most) = match words.as_slice() {
        [words @ .., "--lines", number] => (words, number.parse().unwrap_or(usize::MAX)),
        words => (words, usize::MAX),
    };
    let outcome = match words {
        [method, uri] => ask(method, uri, "", most),
        [method, uri, body] => ask(method, uri, body, most),
        _ => Err("usage: http-sdk METHOD URI [BODY] [--lines N]".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(method: &str, uri: &str, body: &str, most: usize) -> Result<(), Box<dyn std::error::Error>> {
    let request = Request::builder().method(method).uri(uri).header(header::CONTENT_TYPE, "application/json");
    let answer = http::send(request.body(body)?)?;
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    println!("{} {}", answer.status().as_u16(), kind.unwrap_or_default());
    for line in answer.into_body().lines().take(most) {
        println!("{}", line?);
    }
    Ok(())
}
