//! Makes one host call many times and prints what each round took on average, in nanoseconds, one number a line.
//!
//! ```text
//! bench-calls ROUNDS CALLS nothing                        the cheapest call of WASI: the clock's resolution
//! bench-calls ROUNDS CALLS label KEY
//! bench-calls ROUNDS CALLS get TYPE NAMESPACE NAME        the object as bytes, not parsed
//! bench-calls ROUNDS CALLS get-copy TYPE NAMESPACE NAME   the same from the host's copy, of all maps of a watch
//! bench-calls ROUNDS CALLS count TYPE NAMESPACE           a list, page by page, each object parsed; calls are lists
//! bench-calls ROUNDS CALLS get-value TYPE NAMESPACE NAME  parsed into a `serde_json::Value`
//! ```
//!
//! The time is read twice a round, so that reading it weighs nothing.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use attache_guest::api::{Collection, ResourceType, Selector};
use attache_guest::pod;
use serde_json::Value;

mod clock {
    //! The clock by itself: `std` keeps its own bindings private and asks for no resolution.
    #![allow(
        unsafe_code,
        missing_docs,
        unreachable_pub,
        dead_code,
        clippy::all,
        clippy::pedantic,
        reason = "generated code"
    )]

    wit_bindgen::generate!({
        inline: "package attache:bench; world clock { import wasi:clocks/monotonic-clock@0.2.12; }",
        path: "../../wit",
        world: "attache:bench/clock",
        generate_all,
    });
}

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-calls: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> Outcome {
    let [rounds, calls, what @ ..] = words else {
        return Err("arguments: ROUNDS CALLS CALL…".into());
    };
    let (rounds, calls) = (rounds.parse()?, calls.parse()?);
    match what {
        ["nothing"] => measure(rounds, calls, || {
            black_box(clock::wasi::clocks::monotonic_clock::resolution());
            Ok(())
        }),
        ["label", key] => measure(rounds, calls, || {
            black_box(pod::label(key)?);
            Ok(())
        }),
        ["get", of, namespace, name] => {
            let objects = open(of, namespace)?;
            measure(rounds, calls, || {
                black_box(objects.get_json(name)?);
                Ok(())
            })
        }
        ["get-copy", of, namespace, name] => {
            let copy = open(of, namespace)?.watch::<Value>(&Selector::all())?;
            measure(rounds, calls, || {
                black_box(copy.get_json(name)?);
                Ok(())
            })
        }
        ["count", of, namespace] => {
            let objects = open(of, namespace)?;
            measure(rounds, calls, || {
                for object in objects.list().items::<Value>() {
                    black_box(object?);
                }
                Ok(())
            })
        }
        ["get-value", of, namespace, name] => {
            let objects = open(of, namespace)?;
            measure(rounds, calls, || {
                black_box(objects.get::<Value>(name)?);
                Ok(())
            })
        }
        _ => Err(format!("no such call: {what:?}").into()),
    }
}

fn open(of: &str, namespace: &str) -> Result<Collection, Box<dyn std::error::Error>> {
    Ok(Collection::namespaced(&of.parse::<ResourceType>()?, namespace)?)
}

fn measure(rounds: u32, calls: u32, call: impl Fn() -> Outcome) -> Outcome {
    for _ in 0..rounds {
        let start = Instant::now();
        for _ in 0..calls {
            call()?;
        }
        println!("{:.1}", start.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    Ok(())
}
