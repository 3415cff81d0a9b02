//! Spins, and waits for nothing shortly before each millisecond has passed, so that it never seems to have run for one.

use wasip2::clocks::monotonic_clock::{now, subscribe_duration};

/// The length of a slice, in nanoseconds.
const SLICE: u64 = 800_000;

fn main() {
    println!("fidgeting");
    loop {
        let began = now();
        while now() - began < SLICE {
            std::hint::black_box(());
        }
        subscribe_duration(0).block();
    }
}
