//! Counts the jobs of a namespace by state. The example reads page by page and keeps only the counts and a few names.
//!
//! ```text
//! job-report [--namespace N] [--labels SELECTOR] [--page-size N]
//! ```
//!
//! The default namespace is the pod's own.

use std::collections::BTreeMap;
use std::fmt;
use std::process::ExitCode;

use attache_guest::api::{Api, Error};
use attache_guest::k8s_openapi::api::batch::v1::Job;
use attache_guest::pod;

/// The maximum number of names for each state, so that a person can read the report.
const MOST_NAMES: usize = 5;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            return failed(format_args!("{text}\nusage: job-report [--namespace N] [--labels S] [--page-size N]"));
        }
    };
    match Report::of(&options) {
        Ok(report) => {
            print!("{report}");
            ExitCode::SUCCESS
        }
        Err(Error::Denied(rule)) => failed(format_args!("the grant does not open the jobs: {rule}")),
        Err(Error::Forbidden(status)) => failed(format_args!("the service account may not list jobs: {status}")),
        Err(error) => failed(format_args!("{error}")),
    }
}

fn failed(why: fmt::Arguments<'_>) -> ExitCode {
    eprintln!("job-report: {why}");
    ExitCode::FAILURE
}

struct Options {
    namespace: String,
    labels: String,
    page_size: u32,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { namespace: String::new(), labels: String::new(), page_size: 500 };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--namespace" => options.namespace = value,
                "--labels" => options.labels = value,
                "--page-size" => options.page_size = value.parse().map_err(|_| format!("`{value}` is no number"))?,
                _ => return Err(format!("unexpected argument `{flag}`")),
            }
        }
        if options.namespace.is_empty() {
            let identity = pod::identity().map_err(|error| error.to_string())?;
            options.namespace = identity.namespace.ok_or("the pod's namespace is not projected: name one")?;
        }
        Ok(options)
    }
}

/// The state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Succeeded,
    Failed,
    Suspended,
    Running,
    Waiting,
}

impl State {
    fn of(job: &Job) -> Self {
        let status = job.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let is = |kind: &str| conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True");
        let active = status.and_then(|status| status.active).unwrap_or(0);
        match () {
            () if is("Complete") => Self::Succeeded,
            () if is("Failed") => Self::Failed,
            () if is("Suspended") => Self::Suspended,
            () if active > 0 => Self::Running,
            () => Self::Waiting,
        }
    }
}

/// The number of jobs in one state, and the first names.
#[derive(Default)]
struct Jobs {
    count: usize,
    names: Vec<String>,
}

struct Report {
    namespace: String,
    pages: usize,
    states: BTreeMap<State, Jobs>,
}

impl Report {
    fn of(options: &Options) -> Result<Self, Error> {
        let jobs = Api::<Job>::namespaced(&options.namespace)?;
        let mut report = Self { namespace: options.namespace.clone(), pages: 0, states: BTreeMap::new() };
        for page in jobs.list().labels(&options.labels).page_size(options.page_size).pages() {
            page?.items.into_iter().for_each(|job| report.count(job));
            report.pages += 1;
        }
        Ok(report)
    }

    fn count(&mut self, job: Job) {
        let jobs = self.states.entry(State::of(&job)).or_default();
        jobs.count += 1;
        if jobs.names.len() < MOST_NAMES {
            jobs.names.extend(job.metadata.name);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: usize = self.states.values().map(|jobs| jobs.count).sum();
        writeln!(f, "{total} jobs in {}, in {} pages", self.namespace, self.pages)?;
        for (state, Jobs { count, names }) in &self.states {
            let more = if *count > names.len() { ", …" } else { "" };
            writeln!(f, "  {:<10} {count:>6}  {}{more}", format!("{state:?}"), names.join(", "))?;
        }
        Ok(())
    }
}
