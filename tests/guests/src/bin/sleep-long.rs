//! Sleeps in a host call, `sleep-long [SECONDS]`, an hour by default: the deadline covers host calls too.

use std::time::Duration;

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok());
    println!("sleeping");
    std::thread::sleep(Duration::from_secs(seconds.unwrap_or(3600)));
    println!("slept");
}
