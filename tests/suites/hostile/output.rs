//! Guests that print without end.

use std::sync::Arc;
use std::time::Instant;

use attache::extension::{BufferedOutput, Invocation};
use attache::policy::Limit;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use super::stage::{Ran, Stage, opening, run};
use super::{Attack, attacks};

pub(crate) const ALL: &[Attack] = attacks! {
    "flood of output" => flood,
    "flood of lines on stderr" => errors,
    "flood of output of several calls at once" => floods,
    "flood of output where there is to be none" => silenced,
    "line breaks alone, each of which becomes a line with a name" => breaks,
    "nothing, again and again, to a stdout that nobody reads" => nothing,
    "bytes, one by one, to a stdout that nobody reads" => bytes,
};

/// Bytes a second that the guest may print, and the seconds that it has.
const RATE: usize = 16 << 10;
const SECONDS: usize = 3;

const LIMITS: &str = "{logBytesPerSecond: 16Ki, deadline: 3s, cpu: 10s}";

async fn flood(stage: Arc<Stage>) -> String {
    let extension = stage.guest("flood", &opening(LIMITS)).await;
    let ran = run(&extension, &["stdout"]).await;
    // One second's worth immediately, then the rate. The first lines are there, so only late lines are lost.
    assert!((RATE..=RATE * (SECONDS + 2)).contains(&ran.out.len()), "{}", ran.out.len());
    let answered = stage.limited(&ran, Limit::Deadline);
    let few = run(&extension, &["200", "stdout"]).await;
    let outcome = few.ended.as_ref().unwrap();
    assert_eq!(few.out.lines().count(), 201, "all of it came, late");
    let reached = outcome.reached.expect("it was slowed");
    assert_eq!(reached.limit, Limit::LogBytesPerSecond);
    stage.told(Limit::LogBytesPerSecond, false);
    format!("slowed at {reached}, {answered}")
}

/// Both streams share the rate.
async fn errors(stage: Arc<Stage>) -> String {
    let extension = stage.guest("flood", &opening(LIMITS)).await;
    let printed = MemoryOutputPipe::new(RATE * 100);
    let call = Invocation::new().args(["stderr"]).stderr(printed.clone());
    let begun = Instant::now();
    let ended = extension.run(call).await;
    let ran = Ran { ended, out: String::new(), elapsed: begun.elapsed() };
    let printed = printed.contents().len();
    assert!((RATE..=RATE * (SECONDS + 2)).contains(&printed), "{printed}");
    format!("{printed} bytes in {SECONDS} s, {}", stage.limited(&ran, Limit::Deadline))
}

/// The rate is the extension's, not the call's.
async fn floods(stage: Arc<Stage>) -> String {
    let extension = stage.guest("flood", &opening(LIMITS)).await;
    let calls = (0..4).map(|_| {
        let extension = extension.clone();
        tokio::spawn(async move { run(&extension, &["stdout"]).await.out.len() })
    });
    let mut printed = 0;
    for call in calls.collect::<Vec<_>>() {
        printed += call.await.unwrap();
    }
    assert!(printed <= RATE * (SECONDS + 2), "{printed}");
    format!("{printed} bytes of four calls in {SECONDS} s")
}

/// Line breaks are metered by the bytes that are written for them, with the prefix of each line.
async fn breaks(stage: Arc<Stage>) -> String {
    let extension = stage.guest("drown", &format!("{{api: [{PODS}], limits: {LIMITS}}}")).await;
    let printed = MemoryOutputPipe::new(RATE * 100);
    let call = Invocation::new().args(["stderr"]).named_stderr(printed.clone());
    let begun = Instant::now();
    let ended = extension.run(call).await;
    let ran = Ran { ended, out: String::new(), elapsed: begun.elapsed() };
    let printed = printed.contents();
    let lines = printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    assert!(lines.clone().count() > 0 && lines.clone().all(|line| line == b"attacker|"));
    // What is left at the end comes out on credit.
    assert!((RATE..=RATE * (SECONDS + 6)).contains(&printed.len()), "{}", printed.len());
    format!("{} bytes in {SECONDS} s, {}", printed.len(), stage.limited(&ran, Limit::Deadline))
}

const PODS: &str = "{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [default]}";

/// The host's memory for one stream, in bytes: the waiting output, twice while the buffer grows.
const OF_STREAM: usize = 64 << 10;

/// Runs a guest whose stdout is not read. Returns the largest amount of waiting output.
async fn trickle(stage: &Stage, what: &str, limits: &str) -> (Ran, usize) {
    let extension = stage.guest("trickle", &format!("{{limits: {limits}}}")).await;
    let (reader, writer) = tokio::io::duplex(1);
    let output = BufferedOutput::new(writer);
    let begun = Instant::now();
    let ended = extension.run(Invocation::new().args([what]).stdout(output.clone())).await;
    drop(reader);
    (Ran { ended, out: String::new(), elapsed: begun.elapsed() }, output.unwritten())
}

async fn nothing(stage: Arc<Stage>) -> String {
    let mut answers = Vec::new();
    for what in ["empty", "zeroes", "flushes", "subscribed"] {
        let (ran, waiting) = trickle(&stage, what, "{cpu: 300ms, logBytesPerSecond: 16Mi}").await;
        assert_eq!(waiting, 0, "{what}");
        answers.push(format!("{what}: {}", stage.limited(&ran, Limit::Cpu)));
    }
    answers.join(", ")
}

async fn bytes(stage: Arc<Stage>) -> String {
    for what in ["bytes", "streams"] {
        let (ran, waiting) = trickle(&stage, what, "{cpu: 10s, deadline: 20s, logBytesPerSecond: 16Mi}").await;
        assert!(waiting > 0 && waiting <= OF_STREAM, "{what}: {waiting}, {:?}", ran.ended);
    }
    format!("{OF_STREAM} bytes wait at most")
}

async fn silenced(stage: Arc<Stage>) -> String {
    let extension = stage.guest("flood", &opening("{logBytesPerSecond: 0, cpu: 300ms}")).await;
    let ran = run(&extension, &["stdout"]).await;
    assert!(ran.out.is_empty());
    stage.limited(&ran, Limit::Cpu)
}
