//! The metrics of extensions and of the process.

use prometheus_client::collector::Collector as Collects;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use super::status::{Counts, Status};
use super::supervisor::Supervisor;

/// The largest number of extensions with metrics. A scraper needs some hundred bytes for each series.
const MAX_EXTENSIONS: usize = 1024;

/// The collector of the metrics of a supervisor's extensions and of the process.
#[derive(Debug)]
pub(super) struct Collector {
    supervisor: Supervisor,
}

impl Collector {
    pub(super) fn new(supervisor: Supervisor) -> Self {
        Self { supervisor }
    }
}

/// One counter of [`Counts`]: its name, its help text, and the function that reads its value.
type Counter = (&'static str, &'static str, fn(&Counts) -> u64);

const COUNTERS: [Counter; 6] = [
    ("attache_calls", "Calls of extensions that began", |counts| counts.calls),
    ("attache_failed_calls", "Calls that ended by a trap, at a limit or with an exit code", |counts| counts.failed),
    ("attache_refused_calls", "Calls beyond the grant's instances", |counts| counts.refused),
    ("attache_missed_calls", "Scheduled calls that did not begin", |counts| counts.missed),
    ("attache_restarts", "Restarts of commands", |counts| counts.restarts),
    ("attache_reloads", "Versions that took over from another", |counts| counts.reloads),
];

impl Collects for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut statuses = self.supervisor.statuses();
        statuses.truncate(MAX_EXTENSIONS);
        for (name, help, value) in COUNTERS {
            let counters = statuses.iter().map(|status| (status, ConstCounter::new(value(&status.counts))));
            family(&mut encoder, name, help, None, counters)?;
        }
        let seconds = |status: &Status| ConstCounter::new(status.counts.cpu_milliseconds as f64 / 1000.0);
        let cpu = statuses.iter().map(|status| (status, seconds(status)));
        family(&mut encoder, "attache_cpu", "CPU time of calls that ended", Some(&Unit::Seconds), cpu)?;
        states(&mut encoder, &statuses)?;
        process(&mut encoder)
    }
}

fn family<'a, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metrics: impl Iterator<Item = (&'a Status, M)>,
) -> Result<(), std::fmt::Error> {
    let mut metrics = metrics.peekable();
    let Some((_, first)) = metrics.peek() else { return Ok(()) };
    let kind = first.metric_type();
    let mut encoder = encoder.encode_descriptor(name, help, unit, kind)?;
    for (status, metric) in metrics {
        metric.encode(encoder.encode_family(&[("extension", status.name.as_str())])?)?;
    }
    Ok(())
}

/// Encodes one gauge for each extension, with the extension's state as a label.
fn states(encoder: &mut DescriptorEncoder<'_>, statuses: &[Status]) -> Result<(), std::fmt::Error> {
    let gauge = ConstGauge::new(1_i64);
    let help = "The state of each extension";
    let mut encoder = encoder.encode_descriptor("attache_state", help, None, gauge.metric_type())?;
    for status in statuses {
        let state = status.state.to_string();
        let labels = [("extension", status.name.as_str()), ("state", state.as_str()), ("trigger", status.trigger)];
        gauge.encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}

fn process(encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<i64>().ok()
    };
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| i64::try_from(entries.count()).unwrap_or(0));
    let resident = field("VmRSS:").unwrap_or(0).saturating_mul(1024);
    let gauges = [
        ("process_resident_memory", "Resident memory", Some(&Unit::Bytes), resident),
        ("process_threads", "Threads", None, field("Threads:").unwrap_or(0)),
        ("process_open_fds", "Open file descriptors", None, files),
    ];
    for (name, help, unit, value) in gauges {
        let gauge = ConstGauge::new(value);
        gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)?;
    }
    let gauge = ConstGauge::new(1_i64);
    let mut info = encoder.encode_descriptor("attache_build", "The version of the host", None, gauge.metric_type())?;
    gauge.encode(info.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)
}
