//! Reads a mount while it changes, `race MOUNT MILLISECONDS`: through each name, through the links beneath them, and by
//! ways that lead out. Prints every content that it saw, once each, and how often it looked.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

/// Paths to the same file, and paths out of the volume that a swap might open for a moment.
const NAMES: [&str; 8] = [
    "labels",
    "..data/labels",
    "..data/../labels",
    "..data/../..data/labels",
    "..data/../../outside",
    "labels/../../outside",
    "../outside",
    "leak",
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mount = arguments.next().unwrap_or_default();
    let millis = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1000);
    let (begun, mut seen, mut looks) = (Instant::now(), BTreeSet::new(), 0_u64);
    while begun.elapsed() < Duration::from_millis(millis) {
        for name in NAMES {
            seen.extend(fs::read_to_string(format!("{mount}/{name}")));
            looks += 1;
        }
    }
    for content in seen {
        println!("saw {content}");
    }
    println!("looked {looks} times");
}
