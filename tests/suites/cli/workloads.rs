//! `attache dev` with workloads: the pod that a controller would make is played.

use attache_tests::guest;

use super::played::{CONTAINER, dev, template, told, workload, written};
use super::{end, folder};

#[test]
fn a_workloads_pod_is_the_one_that_its_controller_would_make() {
    const SELECTOR: &str = "  selector: {matchLabels: {app: web}}\n";
    const ONCE: &str = "\n      restartPolicy: Never";
    let apps = |kind: &str, spec: &str| workload("apps/v1", kind, &format!("{SELECTOR}{spec}"), &template("  ", ""));
    let of_jobs = format!("  schedule: \"0 3 * * *\"\n  jobTemplate:\n    spec:\n{}", template("      ", ONCE));
    let table: [(String, &[&str], &str); 7] = [
        (apps("Deployment", ""), &["app=\"web\"", "pod-template-hash=\""], "web-"),
        (apps("ReplicaSet", ""), &["app=\"web\""], "web-"),
        (workload("v1", "ReplicationController", "", &template("  ", "")), &["app=\"web\""], "web-"),
        (
            apps("StatefulSet", "  serviceName: web\n"),
            &[
                "app=\"web\"",
                "apps.kubernetes.io/pod-index=\"0\"",
                "controller-revision-hash=\"web-",
                "statefulset.kubernetes.io/pod-name=\"web-0\"",
            ],
            "web-0",
        ),
        (
            apps("DaemonSet", ""),
            &["app=\"web\"", "controller-revision-hash=\"", "pod-template-generation=\"1\""],
            "web-",
        ),
        (
            workload("batch/v1", "Job", "  completionMode: Indexed\n  completions: 2\n", &template("  ", ONCE)),
            &[
                "app=\"web\"",
                "batch.kubernetes.io/controller-uid=\"",
                "batch.kubernetes.io/job-completion-index=\"0\"",
                "batch.kubernetes.io/job-name=\"web\"",
                "JOB_COMPLETION_INDEX=0",
            ],
            "web-0-",
        ),
        (
            workload("batch/v1", "CronJob", &of_jobs, ""),
            &["app=\"web\"", "batch.kubernetes.io/job-name=\"web-"],
            "web-",
        ),
    ];
    let folder = folder();
    for (text, words, name) in table {
        let told = told(&written(&folder, "workload.yaml", &text));
        for word in words {
            assert!(told.contains(word), "{word} is not in:\n{told}\n{text}");
        }
        let found = told.lines().find_map(|line| line.strip_prefix("POD_NAME=")).unwrap();
        assert!(found.starts_with(name), "{found}");
    }
}

#[test]
fn a_workload_among_other_objects_is_found_and_a_pod_comes_first() {
    let folder = folder();
    let item = |text: &str| format!("- {}", text.replace('\n', "\n  "));
    let selector = "  selector: {matchLabels: {app: web}}\n";
    let deployment = workload("apps/v1", "Deployment", selector, &template("  ", ""));
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: other}";
    let list = format!("apiVersion: v1\nkind: List\nitems:\n{}\n{}", item(account), item(&deployment));
    assert!(told(&written(&folder, "list.yaml", &list)).contains("POD_NAME=web-"));
    let typed = format!(
        "apiVersion: apps/v1\nkind: DeploymentList\nitems:\n{}",
        item(deployment.split_once("kind: Deployment\n").unwrap().1)
    );
    assert!(told(&written(&folder, "typed.yaml", &typed)).contains("POD_NAME=web-"));
    let pod = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: tried}}\nspec:{CONTAINER}");
    let both = format!("{deployment}\n---\n{pod}");
    assert!(told(&written(&folder, "both.yaml", &both)).contains("POD_NAME=tried"));
    let two = written(&folder, "two.yaml", &format!("{deployment}\n---\n{deployment}"));
    end(dev(&two).arg(guest("cat-labels"))).refused(&["a second pod template", "two.yaml:"]);
}

#[test]
fn a_stateful_set_may_mount_volumes_of_its_claims() {
    let folder = folder();
    let set = "apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: default}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - {name: main, image: db, volumeMounts: [{name: data, mountPath: /data}, {name: info, mountPath: /etc/podinfo}]}
      volumes: [{name: info, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
";
    let ended = end(dev(&written(&folder, "set.yaml", set)).arg(guest("cat-labels")));
    assert!(ended.printed().contains("app=\"db\""), "{}", ended.err);
}
