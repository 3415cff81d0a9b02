//! Asks for a pod by plain HTTP, `unread TIMES`, keeps the answers unread, prints their number, and sleeps.

use std::mem::forget;
use std::time::Duration;

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{Fields, OutgoingRequest, Scheme};

fn main() {
    let times: usize = std::env::args().nth(1).and_then(|times| times.parse().ok()).unwrap_or(1);
    println!("{} answered", (0..times).take_while(|_| answer().is_some()).count());
    std::thread::sleep(Duration::from_secs(3600));
}

/// Keeps the stream of the answer's body.
fn answer() -> Option<()> {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Https)).ok()?;
    request.set_authority(Some("kubernetes")).ok()?;
    request.set_path_with_query(Some("/api/v1/namespaces/demo/pods/a")).ok()?;
    let future = handle(request, None).ok()?;
    future.subscribe().block();
    let answer = future.get()?.ok()?.ok()?;
    let body = answer.consume().ok()?;
    let stream = body.stream().ok()?;
    forget((stream, body));
    Some(())
}
