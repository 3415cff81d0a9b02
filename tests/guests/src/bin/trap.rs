//! Traps: `trap panic` (the default) with a message on stderr, `trap abort` without, `trap stack` by endless
//! recursion.

use std::hint::black_box;

fn main() {
    match std::env::args().nth(1).as_deref() {
        None | Some("panic") => panic!("a guest that panics"),
        Some("abort") => std::process::abort(),
        Some("stack") => println!("{}", deeper(0)),
        Some(other) => eprintln!("trap: unknown way `{other}`"),
    }
}

/// Uses stack without end, in a way that cannot be turned into a loop.
#[expect(unconditional_recursion, reason = "the stack is to run out")]
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    deeper(depth.wrapping_add(1)).wrapping_add(frame[0])
}
