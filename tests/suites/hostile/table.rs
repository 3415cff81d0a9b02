//! The measured effect of an attack on the neighbour, and the table of all attacks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::stage::Stage;

/// Calls of the neighbour before each attack.
const BEFORE: usize = 30;

/// Calls during it at least: they go on until the attack is over.
const DURING: usize = 10;

/// The longest time of a call of the neighbour. A call takes some milliseconds, and 99 of 100 calls less than a hundred
/// on a machine of two processors during four other builds. The longest host call, unoptimised, takes half a second. A
/// neighbour that is blocked rather than slowed takes far longer.
const LONGEST: Duration = Duration::from_secs(2);

/// The largest factor between the neighbour's median call during the attack and before it, and a time that is short
/// enough either way. A guest that yields shares its processor with a few others.
const SLOWER: u32 = 20;
const NO_MATTER: Duration = Duration::from_millis(50);

/// The longest time of an attack. Each attack is bounded by its grant.
const PATIENCE: Duration = Duration::from_secs(60);

/// One attack, as it went.
pub(crate) struct Row {
    name: &'static str,
    answered: Result<String, String>,
    before: Vec<Duration>,
    during: Vec<Duration>,
}

impl Row {
    /// Runs an attack while the neighbour is called.
    pub(crate) async fn of(name: &'static str, attack: fn(Arc<Stage>) -> super::Acted, stage: &Arc<Stage>) -> Self {
        let before = calls(stage, BEFORE, &AtomicBool::new(true)).await;
        stage.audit.clear();
        let over = Arc::new(AtomicBool::new(false));
        let (neighbour, flag) = (Arc::clone(stage), Arc::clone(&over));
        let during = tokio::spawn(async move { calls(&neighbour, DURING, &flag).await });
        let acted = tokio::spawn(attack(Arc::clone(stage)));
        let answered = match tokio::time::timeout(PATIENCE, acted).await {
            Ok(Ok(answered)) => Ok(answered),
            Ok(Err(panicked)) => Err(panicked.to_string()),
            Err(_) => Err("did not end".to_owned()),
        };
        over.store(true, Ordering::Relaxed);
        let (mut answered, during) = joined(answered, during).await;
        let (usual, slowed) = (median(&before), median(&during));
        if slowed > NO_MATTER.max(usual.saturating_mul(SLOWER)) {
            answered =
                answered.and(Err(format!("half of the neighbour's calls took {slowed:?}, before that {usual:?}")));
        }
        Self { name, answered, before, during }
    }

    pub(crate) fn passed(&self) -> bool {
        self.answered.is_ok()
    }

    pub(crate) fn verdict(&self) -> String {
        match &self.answered {
            Ok(_) => "ok".to_owned(),
            Err(why) => format!("FAILED: {why}"),
        }
    }
}

async fn joined(
    answered: Result<String, String>,
    during: JoinHandle<Vec<Duration>>,
) -> (Result<String, String>, Vec<Duration>) {
    match during.await {
        Ok(during) if during.iter().any(|call| *call > LONGEST) => {
            (Err(format!("a neighbour's call took {:?}", during.iter().max())), during)
        }
        Ok(during) => (answered, during),
        Err(panicked) => (Err(format!("the neighbour: {panicked}")), Vec::new()),
    }
}

/// Calls the neighbour at least so often, and until the flag is set.
async fn calls(stage: &Stage, least: usize, over: &AtomicBool) -> Vec<Duration> {
    let mut taken = Vec::new();
    while taken.len() < least || !over.load(Ordering::Relaxed) {
        taken.push(stage.neighbour().await);
    }
    taken
}

/// Returns the percentile `of` of the calls' durations.
fn percentile(calls: &[Duration], of: usize) -> Option<Duration> {
    let mut sorted = calls.to_vec();
    sorted.sort();
    let at = (sorted.len() * of).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied()
}

fn median(calls: &[Duration]) -> Duration {
    percentile(calls, 50).unwrap_or_default()
}

/// Returns the 99th percentile in milliseconds.
fn p99(calls: &[Duration]) -> String {
    percentile(calls, 99).map_or("-".to_owned(), |call| format!("{:.1}", call.as_secs_f64() * 1000.0))
}

pub(crate) fn print(way: &str, rows: &[Row]) {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or_default();
    println!(
        "\n{way}: neighbour's p99 in ms, before and during, and its calls during; nothing of it failed unless it says so\n"
    );
    println!("{:width$}  {:>7}  {:>7}  {:>5}  answered", "attack", "before", "during", "calls");
    for row in rows {
        let answered = row.answered.as_ref().unwrap_or_else(|why| why);
        let (before, during, calls) = (p99(&row.before), p99(&row.during), row.during.len());
        println!("{:width$}  {before:>7}  {during:>7}  {calls:>5}  {answered}", row.name);
    }
}
