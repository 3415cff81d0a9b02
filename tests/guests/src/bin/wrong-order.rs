//! Drops handles in an order that the interfaces forbid, `wrong-order WHAT`: a parent while its child lives.
//!
//! ```text
//! wrong-order follower      a follower before its pollable
//! wrong-order stream        a stream before its pollable
//! wrong-order waiting       the pollable of a follower that is gone is waited for
//! ```

use raw::attache::pod::metadata;
use raw::wasi::cli::stdout;

#[path = "../raw.rs"]
mod raw;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("follower") => {
            let follower = metadata::follow();
            let pollable = follower.subscribe();
            drop(follower);
            drop(pollable);
        }
        Some("stream") => {
            let stream = stdout::get_stdout();
            let pollable = stream.subscribe();
            drop(stream);
            drop(pollable);
        }
        Some("waiting") => {
            let follower = metadata::follow();
            let pollable = follower.subscribe();
            drop(follower);
            pollable.block();
        }
        _ => {}
    }
    println!("nothing happened");
}
