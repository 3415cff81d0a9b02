//! Stderr, which log, audit, messages and the guest share.

use std::ffi::OsStr;

use attache_tests::guest;
use serde_json::Value;

use super::run::ByHand;
use super::{command, end, folder, grant, within};

#[test]
fn what_a_guest_prints_cannot_be_taken_for_the_hosts() {
    let (pod, folder) = (ByHand::new(), folder());
    let spec = "{api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [default]}]}";
    let ended = end(pod.run("forge").arg("--grant").arg(grant(&folder, spec)).args(["--log", "info"]));
    ended.printed();
    let (guests, hosts): (Vec<&str>, Vec<&str>) = ended.err.lines().partition(|line| line.starts_with("tried| "));
    assert_eq!(guests.len(), 5, "{}", ended.err);
    assert!(!hosts.iter().any(|line| line.contains("forged")), "{}", ended.err);
    assert!(!ended.err.contains(['\r', '\u{1b}']), "{}", ended.err);
    let records: Vec<Value> =
        hosts.iter().filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(line).unwrap()).collect();
    let asked = records.iter().filter(|record| record["extension"] == "tried" && record["resource"] == "pods");
    assert_eq!(asked.count(), 1, "{}", ended.err);
}

#[test]
fn a_stderr_that_is_the_guests_alone_is_passed_on_as_it_is() {
    let run = command([OsStr::new("run"), guest("env-args-stdio").as_os_str()]);
    let alone = |mut run: std::process::Command| end(run.args(["--log", "off", "--audit", "none"])).err;
    assert_eq!(alone(run), "done\n");
}

#[test]
fn a_stderr_that_nobody_reads_holds_no_deadline_up() {
    let (pod, folder) = (ByHand::new(), folder());
    let spec = "{podinfo: {}, api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [default]}], \
                limits: {deadline: 1s, cpu: 30s, logBytesPerSecond: 16Mi}}";
    let mut run = pod.run("flood");
    let run = run.arg("--grant").arg(grant(&folder, spec)).args(["--log", "debug", "--", "stderr"]);
    let mut child = run.spawn().unwrap();
    let unread = child.stderr.take();
    let status = within(child.id(), move || child.wait().unwrap());
    drop(unread);
    assert_eq!(status.code(), Some(124));
}
