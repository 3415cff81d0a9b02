//! Hostile guests: the host's answer to each attack, and the attack's effect on a neighbour in the same host.
//!
//! The attacks run one after another, so that each effect on the neighbour is that of one attack. A table of all
//! attacks is printed at the end. The attacks on limits run a second time, through an embedder's world and in sessions,
//! and have a table of their own. Words on the command line choose the attacks whose names contain one of the words.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::missing_panics_doc)]

mod attacker;
mod bodies;
mod compiling;
mod files;
mod handles;
mod http;
mod limits;
mod output;
mod requests;
mod shapes;
mod stage;
mod table;
mod time;

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use stage::Stage;
use table::Row;

/// The number of threads that the host's binary has on a small node. More threads would hide a guest's effect on its
/// neighbours.
const THREADS: usize = 2;

type Acted = Pin<Box<dyn Future<Output = String> + Send>>;

/// An attack: its name, and the function that runs it and returns the host's answer.
pub(crate) type Attack = (&'static str, fn(Arc<Stage>) -> Acted);

/// Names asynchronous functions as attacks.
macro_rules! attacks {
    ($($name:literal => $function:path),* $(,)?) => {
        &[$(($name, |stage| Box::pin($function(stage)))),*]
    };
}
pub(crate) use attacks;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build().unwrap();
    let passed = runtime.block_on(act(&words));
    runtime.shutdown_background();
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn act(words: &[String]) -> bool {
    let on_limits = [time::ALL, limits::ALL, handles::ALL, shapes::ALL, output::ALL, files::ALL].concat();
    let others = [requests::ALL, bodies::ALL, compiling::ALL, http::ALL].concat();
    let chosen = |(name, _): &&Attack| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let all: Vec<Attack> = on_limits.iter().chain(&others).filter(chosen).copied().collect();
    if all.is_empty() {
        return true;
    }
    let embedded: Vec<Attack> = on_limits.iter().filter(chosen).copied().collect();
    let stage = Arc::new(Stage::new().await);
    let passed = attack(&stage, "commands", &all).await;
    stage.embed();
    attack(&stage, "an embedder's world, in a session", &embedded).await && passed
}

async fn attack(stage: &Arc<Stage>, way: &str, attacks: &[Attack]) -> bool {
    let (mut rows, mut passed) = (Vec::new(), true);
    for (name, attack) in attacks {
        let row = Row::of(name, *attack, stage).await;
        println!("attack by {way}: {name} ... {}", row.verdict());
        passed &= row.passed();
        rows.push(row);
    }
    table::print(way, &rows);
    passed
}
