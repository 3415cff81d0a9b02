//! The trigger `schedule`: calls `wasi:cli/run` at the times of a cron expression.
//!
//! Times follow the wall clock of the schedule's time zone. A time that the change to summer time skips is moved to the
//! next time that exists. A time that the change to winter time repeats is used once.

use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::backoff::share;
use super::runner::Runner;
use super::status::State;
use super::version::{ServiceError, Version};
use crate::policy::{Overlap, ScheduleTrigger, Trigger};

/// The longest sleep before the wall clock is read again. The clock may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// The largest number of concurrent calls of one schedule with `overlap: Allow`. The grant's `instances` may allow
/// fewer.
const MOST_AT_ONCE: usize = 64;

/// A parsed schedule.
#[derive(Debug)]
pub(super) struct Schedule {
    cron: Cron,
    zone: TimeZone,
}

impl Schedule {
    /// Parses a schedule of five fields.
    pub(super) fn parse(trigger: &ScheduleTrigger) -> Result<Self, ServiceError> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(&trigger.cron).map_err(|error| {
            let error = crate::telemetry::legible(&error.to_string());
            ServiceError::Schedule(format!("cron: {error}"))
        })?;
        let zone = match &trigger.time_zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                ServiceError::Schedule(format!(
                    "timeZone: {} is no IANA time zone, such as Europe/Berlin",
                    crate::telemetry::legible_name(name)
                ))
            })?,
        };
        Ok(Self { cron, zone })
    }

    /// Returns the first time after `now`, if there is one.
    pub(super) fn after(&self, now: Timestamp) -> Option<Timestamp> {
        let now: Zoned = now.to_zoned(self.zone.clone());
        let next = self.cron.find_next_occurrence(&now, false).ok()?;
        Some(next.timestamp())
    }
}

/// Calls the command at the schedule's times until the extension is stopped.
pub(super) async fn keep(mut runner: Runner) {
    let mut running = JoinSet::new();
    let runner_of_calls = Arc::new(runner.clone());
    let mut last = Timestamp::now();
    loop {
        let version = Arc::clone(&runner.newest.borrow_and_update());
        let Trigger::Schedule(trigger) = &version.definition.manifest.trigger else { return };
        let Ok(schedule) = Schedule::parse(trigger) else { return };
        let Some(due) = schedule.after(last) else {
            runner.reporter.enter(State::Failed, "the schedule has no time that will come");
            tokio::select! {
                () = runner.stop.cancelled() => return,
                changed = runner.newest.changed() => if changed.is_err() { return } else { continue },
            }
        };
        runner.reporter.enter(State::Ready, format!("is called next at {due}"));
        tokio::select! {
            () = runner.stop.cancelled() => break,
            changed = runner.newest.changed() => if changed.is_err() { break } else { continue },
            () = until(due) => {}
        }
        last = due;
        while running.try_join_next().is_some() {}
        begin(&runner_of_calls, &version, trigger, due, &mut running);
    }
    finish(&runner, running).await;
}

/// Starts a call that is due, or counts it as missed.
fn begin(
    runner: &Arc<Runner>,
    version: &Arc<Version>,
    trigger: &ScheduleTrigger,
    due: Timestamp,
    running: &mut JoinSet<()>,
) {
    let late = Timestamp::now().duration_since(due);
    let missed = if late > jiff::SignedDuration::try_from(trigger.start_within).unwrap_or(jiff::SignedDuration::MAX) {
        Some("the host was not running, or was stopped for too long")
    } else if trigger.overlap == Overlap::Forbid && !running.is_empty() {
        Some("the call before still runs")
    } else if running.len() >= MOST_AT_ONCE {
        Some("as many calls as one schedule may have are running")
    } else {
        None
    };
    if let Some(why) = missed {
        runner.reporter.count(|counts| counts.missed += 1);
        tracing::warn!(extension = version.definition.manifest.name, %due, why, "a scheduled call is missed");
        return;
    }
    if trigger.overlap == Overlap::Replace {
        running.abort_all();
    }
    let (runner, version, arguments) = (Arc::clone(runner), Arc::clone(version), trigger.args.clone());
    let jitter = share(trigger.jitter);
    running.spawn(async move {
        sleep(jitter).await;
        if let Err(why) = runner.call(&version, &arguments).await {
            tracing::warn!(extension = version.definition.manifest.name, why, "a scheduled call failed");
        }
    });
}

/// Waits until the wall clock reaches this time.
async fn until(due: Timestamp) {
    loop {
        let left = due.duration_since(Timestamp::now());
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => sleep(left.min(LOOK_EVERY)).await,
            _ => return,
        }
    }
}

/// Waits for the calls in progress. Each ends within its own deadline.
async fn finish(runner: &Runner, mut running: JoinSet<()>) {
    if !running.is_empty() {
        runner.reporter.enter(State::Draining, format!("{} calls still run", running.len()));
    }
    while running.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::ExtensionManifest;

    fn times(cron: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let text = format!(
            "{{apiVersion: attache.dev/v1alpha1, kind: Extension, metadata: {{name: x}}, spec: {{component: {{file: x}}, \
             grant: {{}}, trigger: {{schedule: {{cron: '{cron}', timeZone: {zone}}}}}}}}}"
        );
        let Trigger::Schedule(trigger) = ExtensionManifest::parse(&text).unwrap().trigger else { unreachable!() };
        let schedule = Schedule::parse(&trigger).unwrap();
        let mut now: Timestamp = from.parse().unwrap();
        let mut next = || {
            now = schedule.after(now).unwrap();
            now.to_string()
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn a_time_that_summer_time_skips_is_called_at_the_next_that_exists() {
        // Berlin goes from 02:00 to 03:00 on 2026-03-29.
        let found = times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(found, ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
    }

    #[test]
    fn a_time_that_winter_time_repeats_is_called_once() {
        // Berlin goes from 03:00 back to 02:00 on 2026-10-25.
        let found = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(found, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn five_fields_are_read_and_no_more() {
        assert_eq!(
            times("*/15 * * * *", "UTC", "2026-01-01T00:01:00Z", 2),
            ["2026-01-01T00:15:00Z", "2026-01-01T00:30:00Z"]
        );
        let trigger = |cron: &str, zone: Option<&str>| {
            let text = format!(
                "{{apiVersion: attache.dev/v1alpha1, kind: Extension, metadata: {{name: x}}, spec: {{component: {{file: x}}, \
                 grant: {{}}, trigger: {{schedule: {{cron: '{cron}'{}}}}}}}}}",
                zone.map(|zone| format!(", timeZone: {zone}")).unwrap_or_default()
            );
            let Trigger::Schedule(trigger) = ExtensionManifest::parse(&text).unwrap().trigger else { unreachable!() };
            Schedule::parse(&trigger).map(drop).map_err(|error| error.to_string())
        };
        assert!(trigger("0 0 0 1 1 *", None).unwrap_err().contains("cron"));
        assert!(trigger("61 * * * *", None).unwrap_err().contains("cron"));
        assert!(trigger("* * * * *", Some("Mars/Olympus")).unwrap_err().contains("timeZone"));
    }
}
