//! `attache dev` with pods as people have them.

use std::process::{Command, Stdio};

use attache_tests::guest;

use super::played::{CONTAINER, dev, pod, written};
use super::{Going, PATIENCE, end, folder, grant, manifest};

#[test]
fn a_generated_name_is_the_pods_from_then_on() {
    let folder = folder();
    let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {{generateName: of-many-}}\nspec:{CONTAINER}");
    let ended = end(dev(&written(&folder, "pod.yaml", &text)).arg(guest("cat-labels")).args(["--", "--env"]));
    let line = ended.printed().lines().find_map(|line| line.strip_prefix("POD_NAME=of-many-")).unwrap();
    assert_eq!(line.len(), 5, "{line}");
}

/// A pod with many of the features that pods can have.
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

/// Returns the development grant that a run printed.
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
