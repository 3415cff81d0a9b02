//! Asks the API server by plain HTTP many times and prints what each round took on average, in nanoseconds, one number
//! a line.
//!
//! ```text
//! bench-http ROUNDS CALLS PATH
//! ```

use std::process::ExitCode;
use std::time::Instant;

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};
use wasip2::io::streams::StreamError;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-http: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let [rounds, calls, path] = arguments else { return Err("arguments: ROUNDS CALLS PATH".into()) };
    let number = |text: &str| text.parse::<u32>().map_err(|error| error.to_string());
    let (rounds, calls) = (number(rounds)?, number(calls)?);
    for _ in 0..rounds {
        let start = Instant::now();
        for _ in 0..calls {
            get(path)?;
        }
        println!("{:.1}", start.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    Ok(())
}

/// Reads an object whole, as bytes.
fn get(path: &str) -> Result<Vec<u8>, String> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Https)).map_err(|()| "scheme")?;
    request.set_authority(Some("kubernetes.default.svc")).map_err(|()| "authority")?;
    request.set_path_with_query(Some(path)).map_err(|()| "path")?;
    let future = handle(request, None).map_err(|code| format!("{code:?}"))?;
    future.subscribe().block();
    let answer = future.get().ok_or("it was ready")?.map_err(|()| "taken")?.map_err(|code| format!("{code:?}"))?;
    if answer.status() != 200 {
        return Err(format!("the answer is a {}", answer.status()));
    }
    let body = answer.consume().map_err(|()| "body")?;
    let stream = body.stream().map_err(|()| "stream")?;
    let mut whole = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) => whole.extend_from_slice(&piece),
            Err(StreamError::Closed) => return Ok(whole),
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
}
