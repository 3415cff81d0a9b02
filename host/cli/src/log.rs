//! The host's log: its filter, the form of a line, and its rate.
//!
//! Threat: a guest that makes the host, or a library in it, write a line for each of its requests, long lines, or lines
//! with the guest's own words. So each place in the code of any crate that writes lines has a rate of its own, and the
//! number of omitted lines is logged. Values are escaped and cut, and lines are cut.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail};
use attache::telemetry::{chain, legible_line};
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::debug_fn;
use tracing_subscriber::layer::{self, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter::FilterExt};

use crate::stderr::{self, say};

/// The lines of one place in the code per second, and at once after a pause. A human reader needs no more.
const A_SECOND: f64 = 10.0;
const AT_ONCE: f64 = 100.0;

/// The longest line, in bytes: a pipe takes it in one piece.
const LONGEST: usize = 4 << 10;

/// The crates that log in this program, as the first word of their targets.
const SOURCES: [&str; 9] = [
    "attache",
    "h2",
    "hyper_util",
    "kube_client",
    "tower",
    "tower_http",
    "wasmtime_wasi",
    "wasmtime_wasi_http",
    "wasmtime_wasi_io",
];

static THROTTLE: OnceLock<Arc<Throttle>> = OnceLock::new();

/// Reads the filter of `--log`, for [`start`].
pub(crate) fn filter(text: &str) -> Result<String, String> {
    check(text).map_err(|error| format!("it is not a filter: {error}"))?;
    EnvFilter::builder().parse(text).map_err(|error| format!("it is not a filter: {}", chain(&error)))?;
    Ok(text.to_owned())
}

/// Starts the log with a filter that [`filter`] has read.
pub(crate) fn start(filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(filter).with_context(|| format!("--log {filter:?} is not a filter"))?;
    let throttle = Arc::clone(THROTTLE.get_or_init(Arc::default));
    let fields = debug_fn(|out, field, value| match field.name() {
        "message" => write!(out, "{}", legible_line(&format_args!("{value:?}"))),
        name => write!(out, "{name}={}", legible_line(&format_args!("{value:?}"))),
    });
    let lines = tracing_subscriber::fmt::layer()
        .fmt_fields(fields.delimited(" "))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(|| Cut(stderr::Log));
    tracing_subscriber::registry().with(lines.with_filter(filter.and(Shared(throttle)))).init();
    Ok(())
}

/// Logs the numbers of omitted lines that are not logged yet.
pub(crate) fn end() {
    let left_out = THROTTLE.get().map(|throttle| throttle.rest()).unwrap_or_default();
    for (of, number) in left_out {
        tell(of, number);
    }
}

fn tell(of: &Metadata<'_>, number: u64) {
    let (target, level) = (of.target(), of.level());
    let (file, line) = (of.file().unwrap_or_default(), of.line().unwrap_or_default());
    let file = file.rsplit_once("/src/").map_or(file, |(_, file)| file);
    say!("{number} lines of the log at {level} from {target} ({file}:{line}) were left out for their number");
}

/// Fails if a filter names a target that does not exist here. [`EnvFilter`] takes any word that is no level as a
/// target, and that target would mute all others, including warnings.
fn check(filter: &str) -> anyhow::Result<()> {
    for directive in directives(filter).map(str::trim).filter(|directive| !directive.is_empty()) {
        if directive.parse::<LevelFilter>().is_ok() || directive.starts_with('[') {
            continue;
        }
        let target = directive.split(['=', '[']).next().unwrap_or_default();
        let source = target.split("::").next().unwrap_or_default();
        if !SOURCES.contains(&source) {
            bail!(
                "nothing here logs as {source:?}: a filter is a level (off, error, warn, info, debug, trace), or has a level for \
                 a target, as in `attache=debug,warn`; targets begin with {}",
                SOURCES.join(", ")
            );
        }
    }
    Ok(())
}

/// Returns the directives of a filter. Commas in brackets belong to a directive.
fn directives(filter: &str) -> impl Iterator<Item = &str> {
    let mut open = 0_u32;
    filter.split(move |letter| {
        match letter {
            '[' | '{' => open = open.saturating_add(1),
            ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        letter == ',' && open == 0
    })
}

/// Cuts lines that are too long.
struct Cut<W>(W);

impl<W: Write> Write for Cut<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if line.len() <= LONGEST {
            return self.0.write(line);
        }
        let text = String::from_utf8_lossy(line);
        let cut = text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default();
        self.0.write_all(format!("{cut}…\n").as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The rates of all places in the code that write lines. The program bounds their number.
#[derive(Default)]
struct Throttle(Mutex<HashMap<Identifier, Rate>>);

struct Rate {
    of: &'static Metadata<'static>,
    bucket: Bucket,
}

/// Lines that may be written, and the number of omitted ones.
struct Bucket {
    left: f64,
    filled: Instant,
    left_out: u64,
}

impl Bucket {
    fn full(now: Instant) -> Self {
        Self { left: AT_ONCE, filled: now, left_out: 0 }
    }

    /// Returns the number of lines that were omitted before this one. Returns `None` if this one is omitted, too.
    fn spend(&mut self, now: Instant) -> Option<u64> {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * A_SECOND;
        (self.left, self.filled) = ((self.left + gained).min(AT_ONCE), now);
        if self.left < 1.0 {
            self.left_out = self.left_out.saturating_add(1);
            return None;
        }
        self.left -= 1.0;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Throttle {
    fn admits(&self, of: &'static Metadata<'static>) -> bool {
        let now = Instant::now();
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = rates.entry(of.callsite()).or_insert_with(|| Rate { of, bucket: Bucket::full(now) });
        let admitted = rate.bucket.spend(now);
        drop(rates);
        if let Some(before @ 1..) = admitted {
            tell(of, before);
        }
        admitted.is_some()
    }

    fn rest(&self) -> Vec<(&'static Metadata<'static>, u64)> {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = rates.values_mut().map(|rate| (rate.of, std::mem::take(&mut rate.bucket.left_out)));
        rest.filter(|(_, number)| *number > 0).collect()
    }
}

struct Shared(Arc<Throttle>);

impl<S: Subscriber> layer::Filter<S> for Shared {
    fn enabled(&self, _: &Metadata<'_>, _: &layer::Context<'_, S>) -> bool {
        true
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn event_enabled(&self, event: &Event<'_>, _: &layer::Context<'_, S>) -> bool {
        self.0.admits(event.metadata())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_filter_names_levels_and_what_is_here() {
        for filter in [
            "warn",
            "off",
            "WARN",
            "info,attache=debug",
            "attache::limits=off,warn",
            "attache=trace",
            "attache[span{a=1,b=2}]=info",
        ] {
            check(filter).unwrap_or_else(|error| panic!("{filter}: {error}"));
        }
        for filter in ["json", "atache=debug,warn", "warn,verbose", "hyper=debug", "1x"] {
            assert!(check(filter).is_err(), "{filter}");
        }
    }

    #[test]
    fn a_place_in_the_code_writes_some_lines_and_then_its_rate() {
        let begun = Instant::now();
        let mut bucket = Bucket::full(begun);
        let written = (0..1000).filter(|_| bucket.spend(begun).is_some()).count();
        assert_eq!((written, bucket.left_out), (100, 900));
        assert_eq!(bucket.spend(begun + Duration::from_secs(1)), Some(900));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_stays_a_line() {
        let mut out = Vec::new();
        let line = format!("{}\n", "é".repeat(LONGEST));
        Cut(&mut out).write_all(line.as_bytes()).unwrap();
        assert!(out.len() <= LONGEST + 4 && out.ends_with("é…\n".as_bytes()));
    }
}
