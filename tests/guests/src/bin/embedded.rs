//! An extension of a service's own world: does what each call asks for, and keeps what it has from call to call.
//!
//! ```text
//! count                  returns how many times it was asked
//! seen WORD              hands a word to the service and returns its answer
//! arguments | variable NAME | read PATH | input | label KEY
//! print WORDS            prints a line
//! flood LINES            prints so many lines
//! churn                  computes for some ten milliseconds
//! spin | recurse | trap | exit CODE | sleep MILLISECONDS
//! allocate MEBIBYTES     keeps so much more memory, or fails and keeps what it had
//! handles COUNT          keeps so many more timers
//! keep timer|watch|input keeps something that will be ready one day
//! ready timer|watch|input
//! open                   keeps the collection of the namespace's pods
//! get NAME               reads a pod through it
//! ```

#![allow(unsafe_code, reason = "the export macro, expanded below, hands functions to the component model")]

use std::cell::RefCell;
use std::io::Read;
use std::str::FromStr;
use std::time::Duration;

use bindings::example::embedded::service;
use raw::attache::pod::{api, metadata};
use raw::wasi::clocks::monotonic_clock;
use raw::wasi::io::poll::Pollable;
use wasip2::cli::stdin::{InputStream, get_stdin};

#[path = "../raw.rs"]
mod raw;

mod bindings {
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
        inline: "
            package example:embedded@1.2.0;
            interface service { seen: func(word: string) -> result<u32, string>; }
            world guest {
                import service;
                export work: func(task: string) -> result<string, string>;
            }
        ",
        world: "example:embedded/guest",
    });
}

const MEBIBYTE: usize = 1 << 20;
const HOUR: u64 = 3_600_000_000_000;
const LINE: &str = "a line of the length that a line in a log mostly has, which is some eighty bytes or so";

/// The state that outlives a call.
#[derive(Default)]
struct Kept {
    count: u64,
    memory: Vec<Vec<u8>>,
    timers: Vec<Pollable>,
    /// Each after what is waited for on it: a pollable is dropped first.
    input: Option<(wasip2::io::poll::Pollable, InputStream)>,
    watch: Option<(Pollable, api::Watch)>,
    pods: Option<api::Collection>,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

struct Guest;

impl bindings::Guest for Guest {
    fn work(task: String) -> Result<String, String> {
        let words: Vec<&str> = task.split_whitespace().collect();
        KEPT.with_borrow_mut(|kept| kept.work(&words))
    }
}

impl Kept {
    fn work(&mut self, words: &[&str]) -> Result<String, String> {
        match words {
            ["allocate", count] => self.allocate(number(count)?),
            ["handles", count] => self.handles(number(count)?),
            ["keep", what] => self.keep(what),
            ["ready", what] => self.ready(what),
            ["open"] => {
                self.pods = Some(pods()?);
                Ok("opened".into())
            }
            ["get", name] => self.get(name),
            ["count"] => {
                self.count += 1;
                Ok(self.count.to_string())
            }
            ["churn"] => {
                (0..40_000_000_u32).for_each(|turn| {
                    std::hint::black_box(turn);
                });
                Ok("churned".into())
            }
            ["spin"] => loop {
                std::hint::black_box(());
            },
            ["recurse"] => Ok(deeper(0).to_string()),
            ["trap"] => std::process::abort(),
            ["exit", code] => std::process::exit(number(code)?),
            ["sleep", milliseconds] => {
                std::thread::sleep(Duration::from_millis(number(milliseconds)?));
                Ok("slept".into())
            }
            _ => look(words),
        }
    }

    fn allocate(&mut self, mebibytes: usize) -> Result<String, String> {
        for _ in 0..mebibytes {
            let mut block = Vec::new();
            block.try_reserve_exact(MEBIBYTE).map_err(|error| error.to_string())?;
            block.resize(MEBIBYTE, 1);
            self.memory.push(block);
        }
        Ok(format!("{} MiB", self.memory.len()))
    }

    fn handles(&mut self, count: usize) -> Result<String, String> {
        self.timers.extend((0..count).map(|_| monotonic_clock::subscribe_duration(HOUR)));
        Ok(self.timers.len().to_string())
    }

    fn keep(&mut self, what: &str) -> Result<String, String> {
        match what {
            "timer" => self.timers.push(monotonic_clock::subscribe_duration(HOUR)),
            "input" => {
                let input = get_stdin();
                self.input = Some((input.subscribe(), input));
            }
            "watch" => {
                let watch = pods()?.watch(&everything()).map_err(said)?;
                self.watch = Some((watch.subscribe(), watch));
            }
            _ => return Err(format!("cannot keep {what}")),
        }
        Ok(format!("kept a {what}"))
    }

    fn ready(&mut self, what: &str) -> Result<String, String> {
        let ready = match what {
            "timer" => self.timers.last().map(Pollable::ready),
            "input" => self.input.as_ref().map(|(pollable, _)| pollable.ready()),
            "watch" => self.watch.as_ref().map(|(pollable, _)| pollable.ready()),
            _ => None,
        };
        ready.map(|ready| ready.to_string()).ok_or_else(|| format!("no {what} is kept"))
    }

    fn get(&self, name: &str) -> Result<String, String> {
        let pods = self.pods.as_ref().ok_or("no collection is open")?;
        pods.get(name).map(|object| format!("{} bytes", object.len())).map_err(said)
    }
}

fn look(words: &[&str]) -> Result<String, String> {
    match words {
        ["seen", word] => service::seen(word).map(|times| times.to_string()),
        ["arguments"] => Ok(std::env::args().collect::<Vec<_>>().join(" ")),
        ["variable", name] => std::env::var(name).map_err(|error| error.to_string()),
        ["read", path] => std::fs::read_to_string(path).map_err(|error| error.to_string()),
        ["input"] => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| error.to_string())?;
            Ok(text)
        }
        ["label", key] => match metadata::get_label(key) {
            Ok(label) => label.ok_or_else(|| format!("no label {key}")),
            Err(error) => Err(format!("{error:?}")),
        },
        ["print", words @ ..] => {
            println!("{}", words.join(" "));
            Ok("printed".into())
        }
        ["flood", lines] => {
            (0..number::<u32>(lines)?).for_each(|_| println!("{LINE}"));
            Ok("printed".into())
        }
        other => Err(format!("no such task: {other:?}")),
    }
}

fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("no number: {word}"))
}

fn pods() -> Result<api::Collection, String> {
    let pods = api::ResourceType { group: String::new(), version: "v1".into(), plural: "pods".into() };
    api::open(&pods, Some("demo")).map_err(said)
}

fn everything() -> api::Selector {
    api::Selector { labels: String::new(), fields: String::new() }
}

fn said(error: api::Error) -> String {
    format!("{error:?}")
}

/// Uses stack without end, in a way that cannot be turned into a loop.
#[expect(unconditional_recursion, reason = "the stack is to run out")]
fn deeper(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 64]);
    deeper(depth.wrapping_add(1)).wrapping_add(frame[0])
}

bindings::export!(Guest with_types_in bindings);

fn main() {}
