//! `attache dev` with pods and workloads as people have them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use attache_tests::guest;
use tempfile::TempDir;

use super::{Going, PATIENCE, command, end, folder, grant, manifest};

/// A container that tells its labels, its annotations and its name.
const CONTAINER: &str = r"
      containers:
      - name: main
        image: registry.invalid/x:1
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        volumeMounts: [{name: podinfo, mountPath: /etc/podinfo}]
      volumes:
      - name: podinfo
        downwardAPI:
          items:
          - {path: labels, fieldRef: {fieldPath: metadata.labels}}
          - {path: annotations, fieldRef: {fieldPath: metadata.annotations}}
";

fn written(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    file
}

fn dev(pod: &Path) -> Command {
    let mut dev = command(["dev", "--pod"]);
    dev.arg(pod);
    dev
}

/// A pod of which `spec` is written below `spec:`.
fn pod(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: tried, labels: {{app: web}}}}\nspec:{spec}")
}

/// A pod template with that container, written after so many spaces. `more` stands before its containers.
fn template(indent: &str, more: &str) -> String {
    let text = format!("template:\n  metadata: {{labels: {{app: web}}}}\n  spec:{more}{CONTAINER}");
    text.lines().map(|line| format!("{indent}{line}\n")).collect()
}

/// A workload whose spec is `spec` and a template.
fn workload(version: &str, kind: &str, spec: &str, template: &str) -> String {
    format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: web}}\nspec:\n{spec}{template}")
}

/// The output of a guest in the place of the container.
fn told(file: &Path) -> String {
    end(dev(file).arg(guest("cat-labels")).args(["--", "--env"])).printed().to_owned()
}

#[test]
fn a_generated_name_is_the_pods_from_then_on() {
    let folder = folder();
    let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{generateName: of-many-}}\nspec:{CONTAINER}");
    let ended = end(dev(&written(&folder, "pod.yaml", &text)).arg(guest("cat-labels")).args(["--", "--env"]));
    let line = ended.printed().lines().find_map(|line| line.strip_prefix("POD_NAME=of-many-")).unwrap();
    assert_eq!(line.len(), 5, "{line}");
}

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

/// A pod with much that pods may have at once.
const RICH: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, "9.lives": cat}
binaryData: {raw: dGV4dA==}
---
apiVersion: v1
kind: Service
metadata: {name: redis-primary}
spec: {clusterIP: 10.96.0.11, ports: [{port: 6379}]}
---
apiVersion: v1
kind: Pod
metadata: {name: rich, labels: {app: web}}
spec:
  hostNetwork: true
  automountServiceAccountToken: false
  securityContext: {runAsUser: 65532, fsGroup: 2000}
  initContainers:
  - {name: once, image: "registry.invalid/x:1"}
  - name: side
    image: registry.invalid/x:1
    restartPolicy: Always
    env: [{name: SIDE, value: "$(REDIS_PRIMARY_SERVICE_HOST):$(REDIS_PRIMARY_SERVICE_PORT)"}]
  containers:
  - name: main
    image: registry.invalid/x:1
    resources: {limits: {memory: 64Mi, cpu: 1500m}}
    envFrom:
    - {prefix: S_, configMapRef: {name: settings}}
    - {secretRef: {name: nowhere, optional: true}}
    env:
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: HOST_IP, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
    - {name: CORES, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: MEBIBYTES, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: MIXED, value: "$(S_colour)-$$(S_colour)-$(NOBODY)-$(CORES)"}
    - {name: ABSENT, valueFrom: {configMapKeyRef: {name: settings, key: none, optional: true}}}
    - {name: FROM_FILE, valueFrom: {fileKeyRef: {volumeName: scratch, path: a.env, key: A, optional: true}}}
    volumeMounts:
    - {name: podinfo, mountPath: /etc/podinfo}
    - {name: scratch, mountPath: /scratch}
    - {name: own, mountPath: /own}
  volumes:
  - name: podinfo
    projected:
      defaultMode: 0400
      sources:
      - downwardAPI: {items: [{path: labels, mode: 292, fieldRef: {fieldPath: metadata.labels}}]}
      - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}
      - configMap: {name: nowhere, optional: true}
      - secret: {name: nowhere, optional: true}
  - {name: scratch, emptyDir: {medium: Memory}}
  - {name: own, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}
"#;

#[test]
fn a_pod_with_much_that_pods_may_have_runs() {
    let folder = folder();
    let file = written(&folder, "rich.yaml", RICH);
    let ended = end(dev(&file).arg(guest("cat-labels")).args(["--", "--env"]));
    let lines: Vec<_> = ended.printed().lines().collect();
    for line in [
        "app=\"web\"",
        "rich",
        "POD_IP=127.0.0.1",
        "HOST_IP=127.0.0.1",
        "CORES=2",
        "MEBIBYTES=64",
        "MIXED=blue-$(S_colour)-$(NOBODY)-2",
        "S_9.lives=cat",
        "REDIS_PRIMARY_SERVICE_PORT=6379",
    ] {
        assert!(lines.contains(&line), "{line} is not in:\n{}", ended.out);
    }
    let absent = ["ABSENT=", "FROM_FILE=", "S_raw=", "REDIS_PRIMARY_PORT="];
    assert!(!lines.iter().any(|line| absent.iter().any(|name| line.starts_with(name))), "{}", ended.out);
    assert!(!ended.err.contains("credentials:"), "a pod without a token has none to give:\n{}", ended.err);
    let side = end(dev(&file).args(["--container", "side"]).arg(guest("cat-labels")).args(["--", "--env"]));
    assert!(side.printed().contains("SIDE=10.96.0.11:6379"), "{}", side.out);
    let modes = end(dev(&file).arg(guest("modes")));
    assert_eq!(modes.printed(), "labels 0444 9\nname 0440 4\n");
}

#[test]
fn volumes_that_a_grant_has_no_place_for_are_told_once() {
    let spec = r"
  containers:
  - name: main
    image: registry.invalid/x:1
    volumeMounts:
    - {name: podinfo, mountPath: /etc/podinfo}
    - {name: disk, mountPath: /data}
    - {name: logs, mountPath: /logs}
    - {name: trust, mountPath: /etc/trust}
    volumeDevices: [{name: raw, devicePath: /dev/xvda}]
  volumes:
  - {name: podinfo, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: disk, persistentVolumeClaim: {claimName: c}}
  - {name: raw, persistentVolumeClaim: {claimName: d}}
  - {name: logs, hostPath: {path: /var/log}}
  - {name: trust, projected: {sources: [{clusterTrustBundle: {name: roots, path: ca.pem}}]}}
";
    let folder = folder();
    let file = written(&folder, "pod.yaml", &pod(spec));
    let ended = end(dev(&file).arg(guest("cat-labels")));
    assert_eq!(ended.printed(), "\n\napp=\"web\"\n");
    for words in [
        "\"disk\" at /data is not mounted: it is of kind persistentVolumeClaim",
        "\"raw\" at /dev/xvda is not mounted: it is of kind persistentVolumeClaim",
        "\"logs\" at /logs is not mounted: it is of kind hostPath",
        "\"trust\" at /etc/trust is not mounted: a grant has no place for it",
        "\"trust\" lacks its file \"ca.pem\": it comes of a clusterTrustBundle",
    ] {
        assert_eq!(ended.err.matches(words).count(), 1, "{words}:\n{}", ended.err);
    }
}

/// The development grant that a run printed.
fn printed_grant(err: &str) -> String {
    let (_, text) = err.split_once("  apiVersion").unwrap();
    let lines = text.lines().skip(1).map_while(|line| line.strip_prefix("  "));
    let first = text.lines().next().unwrap();
    format!("apiVersion{first}\n{}", lines.map(|line| format!("{line}\n")).collect::<String>())
}

#[test]
fn the_development_grant_can_be_saved_and_given_back() {
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let dumped = pod(&format!(
        "
  containers:
  - name: main
    image: registry.invalid/x:1
    volumeMounts:
    - {{name: kube-api-access-abcde, mountPath: {account}, readOnly: true}}
    - {{name: podinfo, mountPath: /etc/podinfo}}
  volumes:
  - name: kube-api-access-abcde
    projected:
      sources:
      - serviceAccountToken: {{path: token, expirationSeconds: 3607}}
      - configMap: {{name: kube-root-ca.crt, items: [{{key: ca.crt, path: ca.crt}}]}}
      - downwardAPI: {{items: [{{path: namespace, fieldRef: {{fieldPath: metadata.namespace}}}}]}}
  - {{name: podinfo, downwardAPI: {{items: [{{path: labels, fieldRef: {{fieldPath: metadata.labels}}}}]}}}}
"
    ));
    let folder = folder();
    let dumped = written(&folder, "dumped.yaml", &dumped);
    let without = manifest("seed/curl-with-ambassador.yaml");
    for (file, labels, mounted) in [(&dumped, "\n\napp=\"web\"\n", Some("/etc/podinfo")), (&without, "\n", None)] {
        let ended = end(dev(file).arg(guest("cat-labels")));
        assert_eq!(ended.printed(), labels);
        let text = printed_grant(&ended.err);
        let parsed = attache::policy::Grant::parse(&text).unwrap();
        let found: Vec<_> = parsed.podinfo.iter().map(|mount| mount.mount_path.as_str()).collect();
        assert_eq!(found, mounted.as_slice(), "{text}");
        let saved = written(&folder, "grant.yaml", &text);
        let again = end(dev(file).arg("--grant").arg(&saved).arg(guest("cat-labels")));
        assert_eq!(again.printed(), labels);
    }
}

#[test]
fn several_volumes_and_single_files_are_all_in_the_development_grant() {
    let spec = r"
  containers:
  - name: main
    image: registry.invalid/x:1
    resources: {limits: {cpu: 250m}}
    volumeMounts:
    - {name: limits, mountPath: /etc/podlimits}
    - {name: labels, mountPath: /etc/podlabels}
    - {name: labels, mountPath: /etc/app/labels, subPath: labels}
  volumes:
  - {name: labels, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - name: limits
    downwardAPI:
      items: [{path: cpu_limit, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}]
";
    let folder = folder();
    let file = written(&folder, "pod.yaml", &pod(spec));
    let places = ["--", "/etc/podlimits", "/etc/podlabels", "/etc/app"];
    let ended = end(dev(&file).arg(guest("cat-labels")).args(places));
    assert_eq!(ended.printed(), "\n250\n\napp=\"web\"\n\napp=\"web\"\n", "{}", ended.err);
    assert!(!ended.err.contains("is not mounted"), "{}", ended.err);
    let saved = written(&folder, "grant.yaml", &printed_grant(&ended.err));
    let again = end(dev(&file).arg("--grant").arg(&saved).arg(guest("cat-labels")).args(places));
    assert_eq!(again.printed(), ended.out);
    let told = end(dev(&file).arg(guest("metadata-calls")).args(["--", "bound", "main", "cpu-limit"]));
    assert_eq!(told.printed(), "{\"ok\":250}\n");
    let whole = grant(&folder, "{podinfo: {mountPath: /etc/app/labels}}");
    end(dev(&file).arg("--grant").arg(&whole).arg(guest("cat-labels")))
        .refused(&["single file at /etc/app/labels", "subPath: labels"]);
}

#[test]
fn a_mixed_volume_shows_its_downward_api_files_alone() {
    let spec = r"
  containers:
  - name: main
    image: registry.invalid/x:1
    volumeMounts: [{name: all, mountPath: /projected-volume}]
  volumes:
  - name: all
    projected:
      sources:
      - serviceAccountToken: {path: token}
      - secret: {name: keys}
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {password: open-sesame}
";
    let folder = folder();
    let file = written(&folder, "pod.yaml", &pod(spec));
    let ended = end(dev(&file).arg(guest("cat-labels")).args(["--", "/projected-volume"]));
    assert_eq!(ended.printed(), "\n\napp=\"web\"\n");
    assert!(ended.err.contains("labels"), "{}", ended.err);
}

#[test]
fn kubectl_sees_the_deletion_of_the_pod_that_is_played() {
    let Some(program) = attache_built::kubectl::program().unwrap() else { return };
    let name = "kubernetes-downwardapi-volume-example";
    for how in [&["--grace-period=30"][..], &["--now"], &["--grace-period=0", "--force"]] {
        let folder = folder();
        let kubeconfig = folder.path().join("kubeconfig");
        let mut dev = dev(&manifest("seed/dapi-volume.yaml"));
        let dev = Going::start(dev.arg("--write-kubeconfig").arg(&kubeconfig).arg(guest("follow-labels")));
        dev.line(|line| line.contains("rack=rack-22"));
        let mut kubectl = Command::new(&program);
        kubectl.arg("--kubeconfig").arg(&kubeconfig).args(["delete", "pod", name, "--timeout=60s"]).args(how);
        kubectl.env("HOME", folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = std::time::Instant::now();
        let deleted = kubectl.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&deleted.stdout), String::from_utf8_lossy(&deleted.stderr));
        assert!(deleted.status.success() && begun.elapsed() < PATIENCE, "{how:?}: {said}");
        assert_eq!(dev.code(), Some(143), "{said}");
    }
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
    let file = folder.path().join("set.yaml");
    std::fs::write(&file, set).unwrap();
    let ended = end(command(["dev", "--pod"]).arg(&file).arg(guest("cat-labels")));
    assert!(ended.printed().contains("app=\"db\""), "{}", ended.err);
}
