//! Replays exchanges with a real kube-apiserver 1.36.2 against the devcluster and compares the answers.
//!
//! `recordings/state.jsonl` has the objects of the real server. Steps that are not recorded (such as an object that was
//! made in between) are made here. The resource version is raised to the recorded one, so that even its numbers are
//! compared. Values that differ by their nature are masked: times, UIDs, tokens, random suffixes, the server's address.

#[path = "../devcluster_api/client.rs"]
mod client;
mod recording;
mod stage;
mod verdict;

use anyhow::{Context as _, Result, ensure};

use recording::read_all;
use stage::Stage;

/// The exchanges that are known to differ, with the reason.
const DEVIATIONS: &[(&str, &str)] = &[
    ("015", "the documents behind the index are shorter here, so their hashes differ"),
    ("018", "there are fewer parts here whose health could be told"),
    ("020", "tokens are signed with ECDSA (ES256) here; the recorded server's key is RSA"),
    ("022", "tokens are signed with ECDSA (ES256) here; the recorded server's key is RSA"),
    ("033", "no answer is written as protobuf: a client that takes nothing else gets 406"),
];

/// The least number of exchanges that must be equal.
const GOAL: usize = 95;

/// The name of the suite's one test, whose output is a table.
const NAME: &str = "the_devcluster_answers_as_a_real_server_did";

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let asked = filters.is_empty() || filters.iter().any(|filter| NAME.contains(filter.as_str()));
    if arguments.iter().any(|argument| argument == "--list") {
        println!("{NAME}: test");
    } else if asked {
        Box::pin(replay()).await?;
    }
    Ok(())
}

async fn replay() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.drive_to(662).await?;
    let (mut same, mut total, mut unexplained) = (0_usize, 0_usize, Vec::new());
    println!("{:<46} {:>6} {:>6} {:>6}", "exchange", "status", "reason", "body");
    for exchange in read_all()? {
        let verdict = stage.play(&exchange).await.with_context(|| exchange.name.clone())?;
        total += 1;
        same += usize::from(verdict.same());
        verdict.show(&exchange.name);
        let known = DEVIATIONS.iter().find(|(number, _)| *number == exchange.number);
        match (verdict.same(), known) {
            (true, None) => {}
            (true, Some(_)) => unexplained.push(format!("{} is the same by now", exchange.name)),
            (false, Some((_, why))) => println!("    {why}"),
            (false, None) => unexplained.push(format!("{} differs", exchange.name)),
        }
        if let Some(difference) = &verdict.difference {
            println!("    first at {difference}");
        }
    }
    println!("{same} of {total} exchanges the same");
    ensure!(unexplained.is_empty(), "not as the list of deviations says: {unexplained:?}");
    ensure!(same >= GOAL, "only {same} of {total} exchanges are the same");
    Ok(())
}
