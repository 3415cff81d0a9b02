//! The examples of the SDK that work with typed objects.

use std::time::{Duration, Instant};

use attache::extension::Outcome;
use attache_devcluster::Fault;
use serde_json::{Value, json};

use super::{DEMO, Stage, config_map};

/// The longest time until a change is seen, even on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(40);

const SYNC: &str = r#"{env: [POD_NAME, POD_NAMESPACE], api: [
    {apiGroups: [""], resources: [configmaps], verbs: [get, list, watch, create, patch], namespaces: [demo]}]}"#;
const JOBS: &str = "{env: [POD_NAMESPACE], api: [
    {apiGroups: [batch], resources: [jobs], verbs: [list], namespaces: [demo]}]}";

/// More than one page holds, and more than the guest could keep: together they are some 4 MB of JSON.
const MANY: usize = 3000;
/// The largest memory of the guest while it reads them all, in bytes: one or two pages of them, and the program.
const LITTLE: usize = 12 << 20;

fn source(name: &str, data: Value) -> Value {
    let mut map = config_map(name, data);
    map["metadata"]["labels"] = json!({"sync": "yes"});
    map
}

async fn sync(stage: &Stage) -> String {
    let arguments = ["--labels", "sync=yes", "--into", "all", "--count", "1"];
    let (outcome, out) = stage.run("config-sync", SYNC, &arguments).await;
    assert_eq!(outcome.unwrap().code, 0, "{out}");
    out
}

/// Polls until the gathered config map has this data.
async fn until_gathered(stage: &Stage, expected: Value) {
    let begun = Instant::now();
    loop {
        let all = stage.call(DEMO, &["get", "v1/configmaps", "demo", "all"]).await;
        if all["ok"]["data"] == expected {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{all} is not {expected}");
    }
}

#[tokio::test]
async fn config_sync_follows_its_sources_until_it_is_stopped() {
    let stage = Stage::new().with([source("paint", json!({"colour": "red"})), source("tool", json!({"a": "1"}))]);
    let spec = SYNC.replace("[demo]}]}", "[demo]}], limits: {deadline: 1m, cpu: 20s}}");
    let arguments = ["--labels", "sync=yes", "--into", "all", "--count", "4"];
    let changes = async {
        until_gathered(&stage, json!({"paint.colour": "red", "tool.a": "1"})).await;
        let patch = ["patch", "merge", "v1/configmaps", "demo", "paint", r#"{"data":{"colour":"blue"}}"#];
        stage.done(&patch).await;
        until_gathered(&stage, json!({"paint.colour": "blue", "tool.a": "1"})).await;
        stage.done(&["delete", "v1/configmaps", "demo", "tool"]).await;
        until_gathered(&stage, json!({"paint.colour": "blue"})).await;
        // One that is no longer selected is gone as well.
        let patch = ["patch", "merge", "v1/configmaps", "demo", "paint", r#"{"metadata":{"labels":null}}"#];
        stage.done(&patch).await;
        until_gathered(&stage, Value::Null).await;
    };
    let ((outcome, out), ()) = tokio::join!(stage.run("config-sync", &spec, &arguments), changes);
    assert_eq!(outcome.unwrap().code, 0, "{out}");
    assert_eq!(out.lines().count(), 4, "{out}");
}

#[tokio::test]
async fn config_sync_gathers_what_the_selector_names() {
    let other = config_map("other", json!({"not": "mine"}));
    let stage =
        Stage::new().with([source("paint", json!({"colour": "red"})), source("tool", json!({"a": "1"})), other]);
    let out = sync(&stage).await;
    assert!(out.contains("2 keys in all"), "{out}");
    let all = stage.done(&["get", "v1/configmaps", "demo", "all"]).await;
    assert_eq!(all["data"], json!({"paint.colour": "red", "tool.a": "1"}));
    // A source that goes takes its keys along. The host's copy is still there from the first run, and may hear of it
    // later than a second run begins.
    stage.done(&["delete", "v1/configmaps", "demo", "tool"]).await;
    let begun = Instant::now();
    loop {
        sync(&stage).await;
        let all = stage.done(&["get", "v1/configmaps", "demo", "all"]).await;
        if all["data"] == json!({"paint.colour": "red"}) {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{all}");
    }
}

#[tokio::test]
async fn config_sync_takes_back_what_somebody_else_has_written() {
    let stage = Stage::new().with([source("paint", json!({"colour": "red"}))]);
    let theirs = r#"{"data":{"paint.colour":"grey","their.own":"kept"}}"#;
    stage.done(&["apply", "v1/configmaps", "demo", "all", theirs, "them"]).await;
    let out = sync(&stage).await;
    assert!(out.contains("taking back") && out.contains("them"), "{out}");
    let all = stage.done(&["get", "v1/configmaps", "demo", "all"]).await;
    assert_eq!(all["data"], json!({"paint.colour": "red", "their.own": "kept"}));
    assert!(!sync(&stage).await.contains("taking back"));
}

#[tokio::test]
async fn config_sync_writes_later_what_it_cannot_write_now() {
    let stage = Stage::new().with([source("paint", json!({"colour": "red"}))]);
    let faults = stage.server.faults();
    let target = "/api/v1/namespaces/demo/configmaps/all";
    faults.next(Fault::Reset, target, 1);
    faults.next(Fault::Unavailable(None), target, 1);
    let arguments = ["--labels", "sync=yes", "--into", "all", "--count", "1"];
    let spec = SYNC.replace("[demo]}]}", "[demo]}], limits: {deadline: 1m}}");
    let (outcome, out) = stage.run("config-sync", &spec, &arguments).await;
    assert_eq!((outcome.unwrap().code, out.matches("again in").count()), (0, 2), "{out}");
    // The watch has spent the one request that there is.
    let poor = SYNC.replace("[demo]}]}", "[demo]}], limits: {deadline: 1m, requestsPerSecond: 1, burst: 1}}");
    let (outcome, out) = stage.run("config-sync", &poor, &arguments).await;
    assert_eq!(outcome.unwrap().code, 0, "{out}");
    let throttled = stage.lines().iter().filter(|line| line.verdict == "throttled").count();
    assert!(throttled > 0 && out.contains("1 keys in all"), "{out}");
}

#[tokio::test]
async fn config_sync_waits_for_its_rights_and_for_being_known() {
    for fault in [Fault::Forbidden, Fault::Unauthorized] {
        let stage = Stage::new().with([source("paint", json!({"colour": "red"}))]);
        stage.server.faults().next(fault, "/api/v1/namespaces/demo/configmaps/all", 4);
        let arguments = ["--labels", "sync=yes", "--into", "all", "--count", "1"];
        let spec = SYNC.replace("[demo]}]}", "[demo]}], limits: {deadline: 1m}}");
        let (outcome, out) = stage.run("config-sync", &spec, &arguments).await;
        assert_eq!(outcome.unwrap().code, 0, "{out}");
        assert!(out.contains("again in") && out.contains("1 keys in all"), "{out}");
    }
}

fn job(number: usize) -> Value {
    let status = match number % 3 {
        0 => json!({"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}),
        1 => json!({"failed": 6, "conditions": [{"type": "Failed", "status": "True"}]}),
        _ => json!({"active": 1}),
    };
    json!({"apiVersion": "batch/v1", "kind": "Job", "status": status,
        "metadata": {"name": format!("job-{number:04}"), "namespace": "demo", "labels": {"third": (number % 3).to_string()}},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}})
}

async fn report(stage: &Stage, arguments: &[&str]) -> (Outcome, String) {
    let spec = JOBS.replace("]}]}", "]}], limits: {deadline: 1m, cpu: 30s}}");
    let (outcome, out) = stage.run("job-report", &spec, arguments).await;
    (outcome.unwrap(), out)
}

#[tokio::test]
async fn job_report_reads_thousands_a_page_at_a_time() {
    let stage = Stage::new().with((0..MANY).map(job));
    let (outcome, out) = report(&stage, &[]).await;
    assert!(out.contains("3000 jobs in demo, in 6 pages"), "{out}");
    assert!(out.contains("Succeeded    1000  job-0000, job-0003"), "{out}");
    assert!(out.contains("Running      1000") && out.contains("Failed       1000"), "{out}");
    assert!(outcome.memory <= LITTLE, "{} bytes", outcome.memory);
    println!("{MANY} jobs: {} KiB in the guest, {:?} of CPU time", outcome.memory >> 10, outcome.cpu);
    let (_, out) = report(&stage, &["--labels", "third=1", "--page-size", "100"]).await;
    assert!(out.contains("1000 jobs in demo, in 10 pages"), "{out}");
}

#[tokio::test]
async fn job_report_says_which_rule_it_lacks() {
    let stage = Stage::new();
    let (outcome, out) = report(&stage, &["--namespace", "elsewhere"]).await;
    assert_eq!(outcome.code, 1);
    assert!(out.contains("the grant does not open the jobs") && out.contains("namespaces: [elsewhere]"), "{out}");
}
