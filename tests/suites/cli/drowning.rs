//! A stderr that is read slowly, and guests that flood it: the audit has all decisions, or the number of those that are
//! missing.

use std::io::Read;
use std::process::ChildStderr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::run::ByHand;
use super::{Ended, folder, grant, within};

/// The bytes of one read of a slowly read stderr; a [`PAUSE`] follows each read, which makes 20 KB a second.
const PIECE: usize = 1000;
const PAUSE: Duration = Duration::from_millis(50);

/// The longest line of the log, in bytes. No useful line is longer.
const LONGEST_LINE: usize = 8 << 10;

/// The rest of a grant with which a guest may ask as fast as it can, for some seconds.
const SPEC: &str = "{podinfo: {}, credentials: scoped, egress: ['https://granted.example'], \
     api: [{apiGroups: [''], resources: [pods], verbs: [get, list, watch], namespaces: [default]}], limits: LIMITS}";
const FAST: &str = "{deadline: 3s, cpu: 30s, requestsPerSecond: 100000, burst: 100000, inFlight: 20, watches: 20, \
     logBytesPerSecond: 16Mi}";
const POOR: &str = "{deadline: 3s, cpu: 30s, requestsPerSecond: 2, burst: 2}";

/// Runs the guest until its deadline, and reads its stderr slowly meanwhile.
fn drowned(what: &str, limits: &str, log: &str) -> Ended {
    let (pod, folder) = (ByHand::new(), folder());
    let mut run = pod.run("drown");
    let grant = grant(&folder, &SPEC.replace("LIMITS", limits));
    let mut child = run.arg("--grant").arg(grant).args(["--log", log, "--", what]).spawn().unwrap();
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let out = thread::spawn(move || text(out));
    let err = {
        let over = Arc::clone(&over);
        thread::spawn(move || slowly(err, &over))
    };
    let status = within(child.id(), move || child.wait().unwrap());
    over.store(true, Ordering::Relaxed);
    Ended { code: status.code(), out: out.join().unwrap(), err: err.join().unwrap() }
}

fn text(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn slowly(mut from: ChildStderr, over: &AtomicBool) -> String {
    let (mut bytes, mut piece) = (Vec::new(), [0; PIECE]);
    while let length @ 1.. = from.read(&mut piece).unwrap() {
        bytes.extend_from_slice(&piece[..length]);
        if !over.load(Ordering::Relaxed) {
            thread::sleep(PAUSE);
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Asserts that each decision that the guest has caused is recorded or counted. Returns the records.
fn all_decisions(ended: &Ended) -> Vec<Value> {
    let asked: u64 = ended.out.lines().filter_map(|line| line.strip_prefix("asked ")?.parse().ok()).max().unwrap();
    let lines: Vec<Value> = ended
        .err
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let number = |field: &str| lines.iter().filter_map(|line| line[field].as_u64()).sum::<u64>();
    let (lost, unrecorded) = (number("lost"), number("unrecorded"));
    let kept = lines.iter().filter(|line| line["extension"] == "tried" && line["verdict"].is_string()).count() as u64;
    println!("asked {asked}: {kept} records, {lost} lost, {unrecorded} not recorded");
    assert!(kept > 0 && kept + lost + unrecorded >= asked, "{asked} asked, {kept} kept, {lost} lost, {unrecorded} not");
    lines
}

/// Runs a flood, and sees that nothing is missing and all lines are whole.
fn drown(what: &str, limits: &str, log: &str) -> (Ended, Vec<Value>) {
    let ended = drowned(what, limits, log);
    assert_eq!(ended.code, Some(124), "{}", ended.err);
    let lines = all_decisions(&ended);
    for line in ended.err.lines() {
        assert!(line.len() <= LONGEST_LINE, "{line}");
        let known = line.starts_with('{') || line.starts_with("tried|") || !line.contains("tried|");
        assert!(known, "no whole line: {line}");
    }
    (ended, lines)
}

#[test]
fn output_on_stdout_drowns_nothing() {
    drown("stdout", FAST, "warn");
}

#[test]
fn line_breaks_drown_nothing_and_are_metered_as_the_lines_that_they_become() {
    let (ended, _) = drown("stderr", &FAST.replace("16Mi", "64Ki"), "warn");
    let printed: usize = ended.err.lines().filter(|line| line.starts_with("tried|")).map(|line| line.len() + 1).sum();
    // A second's worth at once, the rate for three, and what is left at the end.
    assert!((1..=8 * (64 << 10)).contains(&printed), "{printed}");
    drown("stderr", FAST, "warn");
}

#[test]
fn watches_that_are_refused_drown_nothing_and_their_selectors_are_not_repeated() {
    let (ended, _) = drown("selectors", FAST, "warn");
    let told: Vec<_> = ended.err.lines().filter(|line| line.contains("a watch is over")).collect();
    assert!(!told.is_empty() && told.len() <= 30, "{}", told.len());
    assert!(told.iter().all(|line| line.len() < 2 << 10), "{told:?}");
}

#[test]
fn plain_http_without_a_path_is_for_the_root_and_drowns_nothing() {
    for log in ["warn", "trace"] {
        let (ended, lines) = drown("pathless", FAST, log);
        assert!(!ended.err.contains("http request error"), "{log}");
        assert!(lines.iter().any(|line| line["way"] == "wasi-http" && line["path"] == "/"), "{log}");
    }
}

#[test]
fn errors_of_plain_http_drown_nothing() {
    for log in ["warn", "debug"] {
        drown("egress", FAST, log);
    }
}

#[test]
fn limits_that_are_reached_drown_nothing() {
    let (ended, lines) = drown("limits", POOR, "warn");
    let told = lines.iter().filter(|line| line["limit"] == "requestsPerSecond").count();
    assert!((1..=3).contains(&told), "{told}");
    assert!(ended.err.lines().filter(|line| line.contains("attache::limits")).count() <= 4, "{}", ended.err);
}

#[test]
fn malformed_requests_drown_nothing() {
    let (_, lines) = drown("malformed", FAST, "warn");
    assert!(lines.iter().any(|line| line["verdict"] == "invalid"));
}
