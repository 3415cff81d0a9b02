//! The triggers that call `wasi:cli/run`.

use std::sync::Arc;
use std::time::Duration;

use attache::extension::{Invocation, Runtime};
use attache::podinfo::PodInfo;
use attache::policy::Grant;
use attache::service::State;
use attache::telemetry::NoAudit;
use attache_tests::guest;
use attache_tests::pod::PodTree;

use super::stage::Stage;

fn command(args: &str, rest: &str) -> String {
    format!("{{component: {{file: service.wasm}}, grant: {{}}, trigger: {{command: {{args: [{args}]}}}}, {rest}}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_runs_until_it_is_asked_to_stop() {
    let stage = Stage::new();
    stage.apply("x", &command("until-stopped", "env: [{name: VERSION, value: one}]")).await;
    stage.until_printed("x| started one\n").await;
    assert_eq!(stage.status("x").unwrap().state, State::Ready);
    assert!(stage.supervisor.remove("x").await);
    stage.until_printed("x| stopped true\n").await;
    assert!(stage.status("x").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_ended_by_no_sum_and_held_to_its_rate() {
    let runtime = Runtime::builder().audit(Arc::new(NoAudit)).build().unwrap();
    let grant = Grant::parse(
        "{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {name: x}, spec: {limits: {cpu: 50ms, deadline: 500ms}}}",
    );
    let extension = runtime.load_command_file(&guest("service"), grant.unwrap()).await.unwrap();
    let rounds = "600000000";
    let outcome = extension.run_as_service(Invocation::new().args(["work", rounds])).await.unwrap();
    // The budget of one window may be used immediately, and the rest takes its time. One poll may exceed it by an
    // epoch.
    let beyond = outcome.cpu.saturating_sub(Duration::from_millis(60));
    assert!(beyond > Duration::from_millis(20), "the guest worked for {:?} only: nothing is shown", outcome.cpu);
    assert!(outcome.elapsed >= beyond * 9, "{:?} of CPU time in {:?}", outcome.cpu, outcome.elapsed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_ends_is_started_again_by_its_policy() {
    let stage = Stage::new();
    let backoff = "restart: {backoff: {first: 10ms, most: 50ms}}";
    stage.apply("always", &command("exit, '0'", backoff)).await;
    stage.apply("crashes", &command("trap", backoff)).await;
    let never = "restart: {policy: Never}";
    stage.apply("never", &command("exit, '1'", never)).await;
    stage.apply("onfailure", &command("exit, '0'", "restart: {policy: OnFailure}")).await;
    assert_eq!(stage.until_state("never", State::Failed).await.reason, "exit code 1");
    assert_eq!(stage.until_state("onfailure", State::Stopped).await.counts.failed, 0);
    for name in ["always", "crashes"] {
        let status = stage.until(name, |status| status.counts.restarts >= 3).await;
        assert!(status.counts.calls >= 3, "{status:?}");
    }
    let waiting = stage.until_state("crashes", State::Waiting).await;
    assert!(waiting.reason.contains("starts again in"), "{}", waiting.reason);
    assert!(waiting.counts.failed >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_pods_labels_calls_an_extension() {
    let tree = PodTree::new().unwrap();
    let mut volume = tree.podinfo(&[("labels", "rack=\"rack-22\"")]).unwrap();
    let pod = PodInfo::builder().volume(volume.path()).build().unwrap();
    let stage = Stage::with(|builder| builder.pod_info(pod));
    let spec = "{component: {file: service.wasm}, grant: {podinfo: {}}, \
                trigger: {podinfo: {args: [labels, /etc/podinfo/labels]}}}";
    stage.apply("x", spec).await;
    stage.until_printed("rack=\"rack-22\"").await;
    stage.until("x", |status| status.reason.starts_with("waits for a change")).await;
    volume.swap(&[("labels", "rack=\"rack-23\"")]).unwrap();
    stage.until_printed("rack=\"rack-23\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_kept_is_refused_with_its_reason() {
    let stage = Stage::new();
    let refused = async |spec: &str| {
        let error = stage.supervisor.apply(stage.definition("x", spec)).await.unwrap_err();
        format!("{error}: {}", std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default())
    };
    let file = "component: {file: service.wasm}";
    let schedule = format!("{{{file}, grant: {{}}, trigger: {{schedule: {{cron: 'every day'}}}}}}");
    assert!(refused(&schedule).await.contains("cron"));
    let missing = "{component: {file: none.wasm}, grant: {}, trigger: {command: {}}}";
    assert!(refused(missing).await.contains("none.wasm"));
    let http = format!("{{{file}, grant: {{}}, trigger: {{http: {{listen: '127.0.0.1:0'}}}}}}");
    assert!(refused(&http).await.contains("wasi:http/incoming-handler"));
    let pinned = format!(
        "{{component: {{file: service.wasm, sha256: '{}'}}, grant: {{}}, trigger: {{command: {{}}}}}}",
        "0".repeat(64)
    );
    assert!(refused(&pinned).await.contains("pins"));
    assert!(stage.supervisor.statuses().is_empty());
}
