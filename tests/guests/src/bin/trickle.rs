//! Has a stream do nothing, or next to nothing, again and again, `trickle WHAT [TIMES]`, and says how often it did
//! where the host does not end it.
//!
//! ```text
//! trickle empty        writes of nothing to stdout
//! trickle bytes        writes of a byte to stdout, while there is room
//! trickle zeroes       writes of no zeroes to stdout
//! trickle flushes      flushes of stdout
//! trickle subscribed   pollables of stdout, dropped at once
//! trickle streams      a byte to stdout from a stream of its own each, which is kept
//! trickle splices      of stdin to stdout
//! trickle reads        of nothing from stdin
//! trickle bodies       writes of nothing to the body of a request that is never sent
//! trickle flushed      flushes of such a body
//! ```

use std::mem::forget;

use wasip2::cli::{stdin::get_stdin, stdout::get_stdout};
use wasip2::http::types::{Fields, OutgoingRequest};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let times = arguments.next().and_then(|times| times.parse().ok()).unwrap_or(u64::MAX);
    let stdout = get_stdout();
    let done = match what.as_str() {
        "empty" => count(times, || stdout.write(&[]).is_ok()),
        "bytes" => count(times, || stdout.check_write().is_ok_and(|room| room > 0) && stdout.write(b"x").is_ok()),
        "zeroes" => count(times, || stdout.write_zeroes(0).is_ok()),
        "flushes" => count(times, || stdout.flush().is_ok()),
        "subscribed" => count(times, || {
            drop(stdout.subscribe());
            true
        }),
        "streams" => count(times, || {
            let stream = get_stdout();
            let taken = stream.check_write().is_ok_and(|room| room > 0) && stream.write(b"x").is_ok();
            forget(stream);
            taken
        }),
        "splices" => {
            let stdin = get_stdin();
            count(times, || stdout.splice(&stdin, 1).is_ok())
        }
        "reads" => {
            let stdin = get_stdin();
            count(times, || stdin.read(0).is_ok())
        }
        "bodies" | "flushed" => of_body(&what, times),
        _ => 0,
    };
    eprintln!("{done} times");
}

fn of_body(what: &str, times: u64) -> u64 {
    let request = OutgoingRequest::new(Fields::new());
    let Ok(body) = request.body() else { return 0 };
    let Ok(stream) = body.write() else { return 0 };
    let done = if what == "flushed" {
        count(times, || stream.flush().is_ok())
    } else {
        // It ends where the host has no room for one more.
        count(times, || stream.check_write().is_ok_and(|room| room > 0) && stream.write(&[]).is_ok())
    };
    forget((stream, body, request));
    done
}

fn count(times: u64, act: impl Fn() -> bool) -> u64 {
    (0..times).take_while(|_| act()).count() as u64
}
