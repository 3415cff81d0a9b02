//! Gathers the selected config maps into one config map by server-side apply, again after each change.
//!
//! ```text
//! config-sync --labels SELECTOR --into NAME [--namespace N] [--count N]
//! ```
//!
//! The key `colour` of the config map `paint` becomes `paint.colour`. If another field manager has taken a gathered
//! key, the example takes the key back and prints a message. Other keys stay as they are. A write is retried while the
//! API server is unavailable or busy, and after a 401 or 403. With `--count`, the example exits after that number of
//! writes; without it, the example runs until it is stopped.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use attache_guest::api::{Api, Error, Event, FieldManager, Selector};
use attache_guest::k8s_openapi::api::core::v1::ConfigMap;
use attache_guest::kube_core::ObjectMeta;
use attache_guest::pod;

/// The field manager that owns the gathered keys.
const MANAGER: &str = "config-sync";

/// The backoff of a write: this wait first, then doubled after each attempt up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

const USAGE: &str = "usage: config-sync --labels SELECTOR --into NAME [--namespace N] [--count N]";

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => return failed(format_args!("{text}\n{USAGE}")),
    };
    match sync(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(format_args!("{error}")),
    }
}

fn failed(why: fmt::Arguments<'_>) -> ExitCode {
    eprintln!("config-sync: {why}");
    ExitCode::FAILURE
}

struct Options {
    namespace: String,
    labels: String,
    into: String,
    count: usize,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let [namespace, labels, into] = [const { String::new() }; 3];
        let mut options = Self { namespace, labels, into, count: usize::MAX };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--namespace" => options.namespace = value,
                "--labels" => options.labels = value,
                "--into" => options.into = value,
                "--count" => options.count = value.parse().map_err(|_| format!("`{value}` is no number"))?,
                _ => return Err(format!("unexpected argument `{flag}`")),
            }
        }
        if options.labels.is_empty() || options.into.is_empty() {
            return Err("--labels and --into are needed".into());
        }
        if options.namespace.is_empty() {
            let identity = pod::identity().map_err(|error| error.to_string())?;
            options.namespace = identity.namespace.ok_or("the pod's namespace is not projected: name one")?;
        }
        Ok(options)
    }
}

fn sync(options: &Options) -> Result<(), Error> {
    let maps = Api::<ConfigMap>::namespaced(&options.namespace)?;
    let mut watch = maps.watch(&Selector::labels(&options.labels))?;
    let mut gathered = Gathered::default();
    let mut written = None;
    let mut count = 0;
    while count < options.count {
        let Some(event) = watch.next() else { break };
        gathered.take(event?);
        // All waiting events go into the same write.
        while let Some(event) = watch.waiting()? {
            gathered.take(event);
        }
        let wanted = gathered.wanted(&options.into);
        if gathered.whole && written.as_ref() != Some(&wanted) {
            apply(&maps, &wanted)?;
            written = Some(wanted);
            count += 1;
        }
    }
    Ok(())
}

/// Applies the gathered keys, and takes back those that another manager owns: the sources are the truth.
fn apply(maps: &Api<ConfigMap>, wanted: &ConfigMap) -> Result<(), Error> {
    let ours = FieldManager::new(MANAGER);
    let applied = match patiently(|| maps.apply(wanted, &ours)) {
        Err(Error::Conflict(status)) => {
            eprintln!("config-sync: taking back: {}", status.message);
            let ours = ours.forced();
            patiently(|| maps.apply(wanted, &ours))
        }
        other => other,
    }?;
    let keys = wanted.data.as_ref().map_or(0, BTreeMap::len);
    let version = applied.metadata.resource_version.unwrap_or_default();
    println!("{keys} keys in {} (version {version})", wanted.metadata.name.as_deref().unwrap_or_default());
    Ok(())
}

/// Calls `write` until it succeeds or fails for good.
fn patiently<T>(write: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
    let mut next = FIRST_WAIT;
    loop {
        let wait = match write() {
            Err(Error::Throttled { retry_after }) => retry_after,
            Err(error) if is_passing(&error) => {
                eprintln!("config-sync: again in {next:?}: {error}");
                let wait = next;
                next = (next * 2).min(LONGEST_WAIT);
                wait
            }
            other => return other,
        };
        std::thread::sleep(wait);
    }
}

/// Returns true if the same write may succeed later.
///
/// The API server may be unavailable or busy. A 401 or 403 ends when the account or its rights are known, or mended.
fn is_passing(error: &Error) -> bool {
    let passes = |code: u16| matches!(code, 401 | 403 | 429 | 500..);
    matches!(error, Error::Unavailable(_)) || error.status().is_some_and(|status| passes(status.code))
}

/// The sources, by name.
#[derive(Default)]
struct Gathered {
    sources: BTreeMap<String, BTreeMap<String, String>>,
    /// False during a replay, while some sources are missing.
    whole: bool,
}

impl Gathered {
    fn take(&mut self, event: Event<ConfigMap>) {
        match event {
            Event::Resync => *self = Self::default(),
            Event::Synced => self.whole = true,
            Event::Applied(map) => {
                let ConfigMap { metadata, data, .. } = map;
                self.sources.insert(metadata.name.unwrap_or_default(), data.unwrap_or_default());
            }
            Event::Deleted(map) => {
                self.sources.remove(&map.metadata.name.unwrap_or_default());
            }
        }
    }

    /// Returns the gathered config map. It is never its own source, even if the selector matches it.
    fn wanted(&self, name: &str) -> ConfigMap {
        let sources = self.sources.iter().filter(|(source, _)| *source != name);
        let keys = sources
            .flat_map(|(source, data)| data.iter().map(move |(key, value)| (format!("{source}.{key}"), value.clone())));
        ConfigMap {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            data: Some(keys.collect()),
            ..ConfigMap::default()
        }
    }
}
