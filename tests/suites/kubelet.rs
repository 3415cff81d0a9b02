//! The kubelet's part for one pod, with a real API server and real files.

#[path = "devcluster_api/client.rs"]
#[expect(dead_code, reason = "the other suites look at more of an answer")]
mod client;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use attache_devcluster::kubelet::{FileSource, Kubelet, KubeletError, MountPoint, Outcome, RunningPod};
use attache_devcluster::{DevCluster, DevClusterSettings, Fault, manifest};
use serde_json::{Value, json};
use tempfile::TempDir;

use client::Client;

/// The longest that anything here may take.
const PATIENCE: Duration = Duration::from_secs(30);

const PODS: &str = "/api/v1/namespaces/default/pods";

/// Where every container finds its credentials.
const CREDENTIALS: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Everything that a pod can be told of itself, at once.
const FULL: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue, shape: round}
binaryData: {raw: AP8=}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {password: open-sesame}
---
apiVersion: v1
kind: Pod
metadata:
  name: full
  labels: {app: web, tier: front}
  annotations:
    note: "two\nlines and a \"quote\""
spec:
  initContainers:
  - name: prepare
    image: registry.invalid/x:1
    resources: {limits: {memory: 1Gi}}
  containers:
  - name: main
    image: registry.invalid/x:1
    resources:
      requests: {cpu: 125m, memory: 32Mi}
      limits: {cpu: 250m, memory: 64Mi}
    envFrom:
    - {prefix: CFG_, configMapRef: {name: settings}}
    - {secretRef: {name: keys}}
    - {configMapRef: {name: nowhere, optional: true}}
    env:
    - {name: PLAIN, value: "1"}
    - {name: EXPANDED, value: "$(PLAIN)-$(CFG_colour)-$$(PLAIN)-$(NOBODY)"}
    - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: HOST_IPS, valueFrom: {fieldRef: {fieldPath: status.hostIPs}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: ACCOUNT, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: NO_SUCH_LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['none']"}}}
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: CPU_MILLI, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
    - {name: MEMORY_KI, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Ki}}}
    - {name: SCRATCH_GI, valueFrom: {resourceFieldRef: {resource: limits.ephemeral-storage, divisor: 1Gi}}}
    - {name: OTHERS, valueFrom: {resourceFieldRef: {containerName: prepare, resource: limits.memory, divisor: 1Mi}}}
    - {name: SHAPE, valueFrom: {configMapKeyRef: {name: settings, key: shape}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: keys, key: password}}}
    - {name: UNSET, valueFrom: {secretKeyRef: {name: keys, key: none, optional: true}}}
    volumeMounts:
    - {name: podinfo, mountPath: /etc/podinfo}
    - {name: settings, mountPath: /etc/settings}
    - {name: some, mountPath: /etc/some}
    - {name: keys, mountPath: /etc/keys}
    - {name: all, mountPath: /etc/all}
    - {name: scratch, mountPath: /scratch}
    - {name: scratch, mountPath: /own, subPathExpr: of/$(POD_NAME), readOnly: true}
    - {name: podinfo, mountPath: /labels-then, subPath: labels}
  volumes:
  - name: podinfo
    downwardAPI:
      defaultMode: 0400
      items:
      - {path: labels, fieldRef: {fieldPath: metadata.labels}}
      - {path: annotations, mode: 0644, fieldRef: {fieldPath: metadata.annotations}}
      - {path: deep/name, mode: 511, fieldRef: {fieldPath: metadata.name}}
      - {path: app, fieldRef: {fieldPath: "metadata.labels['app']"}}
      - {path: cpu, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}
      - {path: memory, resourceFieldRef: {containerName: prepare, resource: limits.memory, divisor: 1Mi}}
  - {name: settings, configMap: {name: settings}}
  - name: some
    configMap: {name: settings, defaultMode: 0440, items: [{key: colour, path: a/b, mode: 0600}, {key: shape, path: shape}]}
  - {name: keys, secret: {secretName: keys, defaultMode: 0400}}
  - name: all
    projected:
      defaultMode: 0444
      sources:
      - configMap: {name: settings, items: [{key: colour, path: colour}]}
      - secret: {name: keys}
      - secret: {name: nowhere, optional: true}
      - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}
      - serviceAccountToken: {path: token, audience: vault, expirationSeconds: 600}
  - {name: scratch, emptyDir: {}}
"#;

const SMALL: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: small, labels: {app: web}}
spec:
  containers:
  - name: main
    image: registry.invalid/x:1
    volumeMounts:
    - {name: podinfo, mountPath: /etc/podinfo}
    - {name: podinfo, mountPath: /labels-then, subPath: labels}
  volumes:
  - {name: podinfo, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
";

/// A cluster and a node's directory.
struct Stage {
    cluster: Arc<DevCluster>,
    root: TempDir,
}

impl Stage {
    fn new(yaml: &str) -> Result<Self> {
        let cluster = DevCluster::start(DevClusterSettings::default())?;
        let documents = manifest::parse(yaml, "pod.yaml")?;
        cluster.load(documents.into_iter().map(manifest::Document::into_object))?;
        Ok(Self { cluster: Arc::new(cluster), root: tempfile::tempdir()? })
    }

    fn kubelet(&self) -> Kubelet {
        let cluster = Arc::clone(&self.cluster);
        let kubelet = Kubelet::builder(self.cluster.url(), self.cluster.admin_token());
        kubelet.authority_from(move || cluster.ca_pem()).root(self.root.path())
    }

    async fn start(&self, pod: &str) -> Result<RunningPod> {
        Ok(self.kubelet().start("default", pod).await?)
    }

    async fn admin(&self, method: &str, target: &str, body: Value) -> Result<Value> {
        let reply = Client::new(&self.cluster).ask(self.cluster.admin_token(), method, target, &body).await?;
        ensure!(reply.status.is_success(), "{method} {target}: {} {:?}", reply.status, reply.body);
        Ok(reply.json())
    }

    /// What the API server answers to the bearer of a token.
    async fn status_for(&self, token: &str) -> Result<u16> {
        let reply = Client::new(&self.cluster).ask(token, "GET", "/api", &Value::Null).await?;
        Ok(reply.status.as_u16())
    }

    async fn label(&self, pod: &str, labels: Value) -> Result<Value> {
        self.admin("PATCH", &format!("{PODS}/{pod}"), json!({"metadata": {"labels": labels}})).await
    }

    fn is_empty(&self) -> Result<bool> {
        let pods = self.root.path().join("pods");
        Ok(!pods.exists() || fs::read_dir(pods)?.next().is_none())
    }
}

fn mount(pod: &RunningPod, path: &str) -> Result<MountPoint> {
    let main = pod.container("main").context("no container main")?;
    main.mounts.iter().find(|mount| mount.mount_path == path).cloned().with_context(|| format!("nothing at {path}"))
}

fn host_path(pod: &RunningPod, path: &str) -> Result<PathBuf> {
    Ok(mount(pod, path)?.host_path)
}

/// `MODE CONTENT` of a file, through all links.
fn shown(path: &Path) -> Result<String> {
    let mode = fs::metadata(path).with_context(|| path.display().to_string())?.permissions().mode() & 0o777;
    Ok(format!("{mode:o} {}", String::from_utf8_lossy(&fs::read(path)?)))
}

/// Waits until `holds`, asking again whenever a volume has been written.
async fn until(pod: &RunningPod, holds: impl Fn() -> Result<bool>) -> Result<()> {
    let mut versions = pod.versions();
    let wait = async {
        while !holds()? {
            versions.changed().await.context("the volumes are no longer kept")?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, wait).await.context("the files did not change in time")?
}

async fn until_reads(pod: &RunningPod, path: &Path, content: &str) -> Result<()> {
    // Between two versions a file may be missing for one moment: then it is not what is waited for.
    until(pod, || Ok(fs::read_to_string(path).is_ok_and(|text| text == content))).await
}

#[tokio::test]
async fn each_volume_has_its_files_and_modes_in_the_kubelets_layout() -> Result<()> {
    let stage = Stage::new(FULL)?;
    let pod = stage.start("full").await?;
    let table = [
        ("/etc/podinfo", "labels", "400 app=\"web\"\ntier=\"front\""),
        ("/etc/podinfo", "annotations", "644 note=\"two\\nlines and a \\\"quote\\\"\""),
        ("/etc/podinfo", "deep/name", "777 full"),
        ("/etc/podinfo", "app", "400 web"),
        ("/etc/podinfo", "cpu", "400 250"),
        ("/etc/podinfo", "memory", "400 1024"),
        ("/etc/settings", "colour", "644 blue"),
        ("/etc/settings", "raw", "644 \0\u{fffd}"),
        ("/etc/some", "a/b", "600 blue"),
        ("/etc/some", "shape", "440 round"),
        ("/etc/keys", "password", "400 open-sesame"),
        ("/etc/all", "colour", "444 blue"),
        ("/etc/all", "password", "444 open-sesame"),
        ("/etc/all", "name", "444 full"),
    ];
    for (path, file, expected) in table {
        let found = shown(&host_path(&pod, path)?.join(file))?;
        ensure!(found == expected, "{path}/{file}: {found:?}");
    }
    let podinfo = host_path(&pod, "/etc/podinfo")?;
    ensure!(fs::read_link(podinfo.join("labels"))? == Path::new("..data/labels"));
    ensure!(fs::read_link(podinfo.join("deep"))? == Path::new("..data/deep"));
    let version = fs::read_link(podinfo.join("..data"))?;
    ensure!(version.to_string_lossy().starts_with("..20") && podinfo.join(&version).is_dir(), "{version:?}");
    ensure!(podinfo.ends_with("volumes/kubernetes.io~downward-api/podinfo"), "{podinfo:?}");
    let settings: Vec<_> = fs::read_dir(host_path(&pod, "/etc/some")?)?.collect::<Result<_, _>>()?;
    ensure!(settings.len() == 4, "{settings:?}");
    Ok(())
}

#[tokio::test]
async fn mounts_say_what_is_seen_where_and_whether_it_may_be_written() -> Result<()> {
    let stage = Stage::new(FULL)?;
    let pod = stage.start("full").await?;
    for (path, read_only) in [("/etc/podinfo", true), ("/etc/all", true), ("/scratch", false), ("/own", true)] {
        ensure!(mount(&pod, path)?.read_only == read_only, "{path}");
    }
    let podinfo = mount(&pod, "/etc/podinfo")?;
    let items: Vec<_> = podinfo.downward_items().collect();
    ensure!(items.len() == 6 && items[0]["path"] == "annotations" && items[0]["mode"] == 0o644, "{items:?}");
    let all = mount(&pod, "/etc/all")?;
    let sources: Vec<_> = all.files.iter().map(|file| (file.path.as_str(), file.source)).collect();
    let expected = [
        ("colour", FileSource::ConfigMap),
        ("name", FileSource::DownwardApi),
        ("password", FileSource::Secret),
        ("token", FileSource::ServiceAccountToken),
    ];
    ensure!(sources == expected, "{sources:?}");
    let part = mount(&pod, "/labels-then")?;
    ensure!(part.sub_path.as_deref() == Some("labels") && part.is_file() && part.files.len() == 1, "{part:?}");
    ensure!(mount(&pod, "/own")?.sub_path.as_deref() == Some("of/full"));
    let scratch = host_path(&pod, "/scratch")?;
    ensure!(fs::metadata(&scratch)?.permissions().mode() & 0o777 == 0o777);
    ensure!(host_path(&pod, "/own")? == scratch.join("of/full") && scratch.join("of/full").is_dir());
    ensure!(shown(&host_path(&pod, "/labels-then")?)?.starts_with("400 app="));
    ensure!(fs::metadata(pod.directory())?.permissions().mode() & 0o777 == 0o700);
    Ok(())
}

#[tokio::test]
async fn env_is_what_the_spec_says() -> Result<()> {
    let stage = Stage::new(FULL)?;
    let kubelet = stage.kubelet().addresses(["10.1.2.3".parse()?], ["192.0.2.7".parse()?, "fd00::7".parse()?]);
    let pod = kubelet.node_name("lap").start("default", "full").await?;
    let env = &pod.container("main").context("no main")?.env;
    let uid = pod.object().context("no pod")?["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let server = stage.cluster.address();
    let table = [
        ("PLAIN", "1"),
        ("EXPANDED", "1-blue-$(PLAIN)-$(NOBODY)"),
        ("POD_NAME", "full"),
        ("POD_UID", &uid),
        ("POD_IP", "10.1.2.3"),
        ("HOST_IPS", "192.0.2.7,fd00::7"),
        ("NODE", "lap"),
        ("ACCOUNT", "default"),
        ("APP", "web"),
        ("NO_SUCH_LABEL", ""),
        ("CPU", "1"),
        ("CPU_MILLI", "125"),
        ("MEMORY_KI", "65536"),
        ("SCRATCH_GI", "100"),
        ("OTHERS", "1024"),
        ("SHAPE", "round"),
        ("PASSWORD", "open-sesame"),
        ("CFG_colour", "blue"),
        ("password", "open-sesame"),
        ("KUBERNETES_SERVICE_HOST", &server.ip().to_string()),
        ("KUBERNETES_SERVICE_PORT", &server.port().to_string()),
        ("KUBERNETES_SERVICE_PORT_HTTPS", &server.port().to_string()),
    ];
    for (name, value) in table {
        ensure!(env.get(name).is_some_and(|found| found == value), "{name}: {:?}", env.get(name));
    }
    ensure!(!env.contains_key("UNSET") && !env.contains_key("CFG_raw"), "{env:?}");
    let object = pod.object().context("no pod")?;
    ensure!(object["spec"]["nodeName"] == "lap" && object["status"]["podIP"] == "10.1.2.3", "{object}");
    Ok(())
}

#[tokio::test]
async fn a_label_changed_through_the_api_shows_in_the_file() -> Result<()> {
    let stage = Stage::new(SMALL)?;
    let pod = stage.start("small").await?;
    let labels = host_path(&pod, "/etc/podinfo")?.join("labels");
    let then = host_path(&pod, "/labels-then")?;
    stage.label("small", json!({"app": "db", "new": "line\u{e9}"})).await.map_or(Ok(()), |_| bail!("not a label"))?;
    stage.label("small", json!({"app": "db", "new": "yes"})).await?;
    until_reads(&pod, &labels, "app=\"db\"\nnew=\"yes\"").await?;
    stage.label("small", json!({"app": null, "new": null})).await?;
    until_reads(&pod, &labels, "").await?;
    ensure!(fs::read_to_string(then)? == "app=\"web\"", "a subPath mount never updates");
    ensure!(pod.object().context("no pod")?["metadata"]["labels"].get("app").is_none());
    Ok(())
}

/// A pod with limits of its own, beside which its containers have none, some or all.
const LIMITED: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {colour: blue}
---
apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  resources: {limits: {cpu: 500m, memory: 96Mi}}
  initContainers:
  - {name: side, image: registry.invalid/x:1, restartPolicy: Always}
  containers:
  - name: main
    image: registry.invalid/x:1
    env:
    - {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: ASKED, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
    - {name: OTHERS, valueFrom: {resourceFieldRef: {containerName: own, resource: limits.cpu, divisor: 1m}}}
    volumeMounts: [{name: all, mountPath: /etc/all}]
  - name: own
    image: registry.invalid/x:1
    resources: {limits: {cpu: 250m}}
  volumes:
  - name: all
    projected:
      sources:
      - downwardAPI:
          items:
          - {path: cpu_limit, resourceFieldRef: {containerName: main, resource: limits.cpu, divisor: 1m}}
          - {path: mem_limit, resourceFieldRef: {containerName: main, resource: limits.memory, divisor: 1Mi}}
          - {path: mem_request, resourceFieldRef: {containerName: main, resource: requests.memory, divisor: 1Mi}}
          - {path: own_cpu, resourceFieldRef: {containerName: own, resource: limits.cpu, divisor: 1m}}
          - {path: own_mem, resourceFieldRef: {containerName: own, resource: limits.memory, divisor: 1Mi}}
          - {path: scratch, resourceFieldRef: {containerName: main, resource: limits.ephemeral-storage, divisor: 1Gi}}
      - configMap: {name: settings}
";

#[tokio::test]
async fn a_container_without_a_limit_has_its_pods_and_else_its_nodes() -> Result<()> {
    let stage = Stage::new(LIMITED)?;
    let pod = stage.start("limited").await?;
    let all = host_path(&pod, "/etc/all")?;
    for (file, expected) in [
        ("cpu_limit", "500"),
        ("mem_limit", "96"),
        ("mem_request", "0"),
        ("own_cpu", "250"),
        ("own_mem", "96"),
        ("scratch", "100"),
    ] {
        let found = fs::read_to_string(all.join(file))?;
        ensure!(found == expected, "{file}: {found}");
    }
    let env = &pod.container("main").context("no main")?.env;
    for (name, expected) in [("CPU", "500"), ("MEMORY", "96"), ("ASKED", "0"), ("OTHERS", "250")] {
        ensure!(env.get(name).is_some_and(|value| value == expected), "{name}: {:?}", env.get(name));
    }
    let object = pod.object().context("no pod")?;
    ensure!(object["spec"]["resources"]["requests"] == json!({"cpu": "250m", "memory": "96Mi"}), "{object}");
    ensure!(object["spec"]["containers"][0]["resources"] == json!({}), "{object}");
    ensure!(object["status"]["qosClass"] == "Burstable", "{object}");
    ensure!(object["status"]["initContainerStatuses"][0]["state"]["running"].is_object(), "{object}");
    Ok(())
}

#[tokio::test]
async fn an_in_place_resize_reaches_every_file_and_the_status_but_no_variable() -> Result<()> {
    let stage = Stage::new(LIMITED)?;
    let pod = stage.kubelet().sync_period(Duration::from_millis(50)).start("default", "limited").await?;
    let all = host_path(&pod, "/etc/all")?;
    let told = stage.admin("GET", &format!("{PODS}/limited"), Value::Null).await?["status"].clone();
    ensure!(told["containerStatuses"][1]["resources"]["limits"]["cpu"] == "250m", "{told}");
    let change = json!({"spec": {
        "resources": {"limits": {"memory": "128Mi"}},
        "containers": [{"name": "main", "image": "registry.invalid/x:1", "resources": {"limits": {"cpu": "100m"}}},
                       {"name": "own", "image": "registry.invalid/x:1", "resources": {"limits": {"cpu": "400m"}}}],
    }});
    let (target, media) = (format!("{PODS}/limited/resize"), "application/strategic-merge-patch+json");
    let token = stage.cluster.admin_token();
    let answer = Client::new(&stage.cluster).ask_as(token, "PATCH", &target, media, change.to_string()).await?;
    ensure!(answer.status.is_success(), "{:?}", answer.body);
    for (file, expected) in [("cpu_limit", "100"), ("mem_limit", "128"), ("own_cpu", "400"), ("own_mem", "128")] {
        until_reads(&pod, &all.join(file), expected).await?;
    }
    stage.admin("PATCH", "/api/v1/namespaces/default/configmaps/settings", json!({"data": {"colour": "red"}})).await?;
    until_reads(&pod, &all.join("colour"), "red").await?;
    ensure!(pod.container("main").context("no main")?.env["CPU"] == "500", "a variable never follows");
    let resized = |object: &Value| {
        let status = &object["status"];
        status["containerStatuses"][0]["resources"]["limits"]["cpu"] == "100m"
            && status["containerStatuses"][1]["resources"]["limits"]["cpu"] == "400m"
            && status["resources"]["limits"]["memory"] == "128Mi"
            && status["containerStatuses"][0]["state"]["running"].is_object()
            && status["observedGeneration"] == object["metadata"]["generation"]
    };
    let told = tokio::time::timeout(PATIENCE, pod.wait_for(resized)).await;
    ensure!(told.is_ok_and(|told| told), "the status did not change in time: {:?}", pod.object());
    Ok(())
}

#[tokio::test]
async fn volumes_of_other_kinds_stop_nothing_and_are_named() -> Result<()> {
    let kinds = [
        "persistentVolumeClaim: {claimName: c}",
        "hostPath: {path: /var/log}",
        "csi: {driver: secrets-store.csi.k8s.io, readOnly: true}",
        "nfs: {server: nfs.invalid, path: /}",
        "ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}",
        "image: {reference: \"registry.invalid/files:1\"}",
        "iscsi: {targetPortal: 192.0.2.1, iqn: iqn.2001-04.com.example, lun: 0}",
        "fc: {targetWWNs: [\"50060e801049cfd1\"], lun: 0}",
        "rbd: {monitors: [\"192.0.2.1\"], image: i}",
        "cephfs: {monitors: [\"192.0.2.1\"]}",
        "glusterfs: {endpoints: e, path: p}",
        "gitRepo: {repository: \"https://git.invalid/x\"}",
        "awsElasticBlockStore: {volumeID: v}",
        "gcePersistentDisk: {pdName: p}",
        "azureDisk: {diskName: d, diskURI: u}",
        "azureFile: {secretName: s, shareName: share}",
        "cinder: {volumeID: v}",
        "flexVolume: {driver: example.com/d}",
        "flocker: {datasetName: d}",
        "photonPersistentDisk: {pdID: p}",
        "portworxVolume: {volumeID: v}",
        "quobyte: {registry: \"192.0.2.1:1\", volume: v}",
        "scaleIO: {gateway: g, system: s, secretRef: {name: login}, volumeName: v}",
        "storageos: {volumeName: v}",
        "vsphereVolume: {volumePath: p}",
    ];
    let volumes: String =
        (0..).zip(kinds).map(|(index, source)| format!("  - {{name: v{index}, {source}}}\n")).collect();
    let mounts: String =
        (0..kinds.len()).map(|index| format!("    - {{name: v{index}, mountPath: /mnt/{index}}}\n")).collect();
    let bundles = "  - name: trust\n    projected:\n      sources:\n      - clusterTrustBundle: {name: roots, path: ca.pem}\n      \
                   - podCertificate: {signerName: example.com/s, keyType: ED25519, credentialBundlePath: bundle.pem}\n      \
                   - downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}\n";
    let yaml = SMALL
        .replace(
            "    volumeMounts:\n",
            &format!("    volumeMounts:\n    - {{name: trust, mountPath: /etc/trust}}\n{mounts}"),
        )
        .replace("  volumes:\n", &format!("  volumes:\n{bundles}{volumes}"));
    let stage = Stage::new(&yaml)?;
    let pod = stage.start("small").await?;
    ensure!(fs::read_to_string(host_path(&pod, "/etc/podinfo")?.join("labels"))? == "app=\"web\"");
    let main = pod.container("main").context("no main")?;
    let absent: Vec<_> = main.absent.iter().map(|mount| mount.kind.as_str()).collect();
    let expected: Vec<_> = kinds.iter().filter_map(|kind| kind.split(':').next()).collect();
    ensure!(absent == expected, "{absent:?}");
    ensure!(main.absent[0].mount_path == "/mnt/0" && main.absent[0].volume == "v0");
    let trust = mount(&pod, "/etc/trust")?;
    ensure!(fs::read_to_string(trust.host_path.join("name"))? == "small");
    let left_out: Vec<_> = trust.left_out.iter().map(|file| (file.path.as_str(), file.source)).collect();
    let expected = [("ca.pem", FileSource::ClusterTrustBundle), ("bundle.pem", FileSource::PodCertificate)];
    ensure!(left_out == expected, "{left_out:?}");
    Ok(())
}

#[tokio::test]
async fn config_maps_and_secrets_are_read_again() -> Result<()> {
    let stage = Stage::new(FULL)?;
    let pod = stage.kubelet().sync_period(Duration::from_millis(50)).start("default", "full").await?;
    let settings = host_path(&pod, "/etc/settings")?;
    let change = json!({"data": {"colour": "red", "shape": null, "size": "xl"}});
    stage.admin("PATCH", "/api/v1/namespaces/default/configmaps/settings", change).await?;
    until_reads(&pod, &settings.join("size"), "xl").await?;
    ensure!(fs::read_to_string(settings.join("colour"))? == "red");
    ensure!(!settings.join("shape").exists(), "a key that is gone is still read");
    // A volume that asks for a key that is gone keeps what it has, and so does one whose object is gone.
    ensure!(fs::read_to_string(host_path(&pod, "/etc/some")?.join("a/b"))? == "blue");
    stage.admin("DELETE", "/api/v1/namespaces/default/secrets/keys", Value::Null).await?;
    stage.label("full", json!({"app": "late"})).await?;
    until_reads(&pod, &host_path(&pod, "/etc/podinfo")?.join("app"), "late").await?;
    ensure!(fs::read_to_string(host_path(&pod, "/etc/keys")?.join("password"))? == "open-sesame");
    Ok(())
}

#[tokio::test]
async fn the_service_accounts_token_is_there_and_rotates() -> Result<()> {
    let stage = Stage::new(SMALL)?;
    let pod = stage.kubelet().token_period(Duration::from_millis(50)).start("default", "small").await?;
    let credentials = mount(&pod, CREDENTIALS)?;
    ensure!(credentials.read_only);
    let read = |name: &str| fs::read_to_string(credentials.host_path.join(name));
    ensure!(read("namespace")? == "default");
    ensure!(read("ca.crt")? == stage.cluster.ca_pem());
    let first = read("token")?;
    ensure!(stage.status_for(&first).await? == 200);
    until(&pod, || Ok(read("token").is_ok_and(|token| token != first))).await?;
    let second = read("token")?;
    ensure!(stage.status_for(&second).await? == 200 && stage.status_for(&first).await? == 200);
    // Revoked tokens are no obstacle: the next ones are good.
    stage.cluster.faults().rotate_tokens()?;
    ensure!(stage.status_for(&first).await? == 401);
    let revoked = read("token")?;
    until(&pod, || Ok(read("token").is_ok_and(|token| token != revoked && token != second))).await?;
    ensure!(stage.status_for(&read("token")?).await? == 200);
    Ok(())
}

#[tokio::test]
async fn a_pod_that_wants_no_token_gets_none() -> Result<()> {
    let stage = Stage::new(
        &SMALL.replace("spec:\n  containers", "spec:\n  automountServiceAccountToken: false\n  containers"),
    )?;
    let pod = stage.start("small").await?;
    ensure!(mount(&pod, CREDENTIALS).is_err());
    Ok(())
}

#[tokio::test]
async fn a_new_ca_reaches_the_volume_and_the_kubelet_itself() -> Result<()> {
    let stage = Stage::new(SMALL)?;
    let pod = stage.kubelet().sync_period(Duration::from_millis(50)).start("default", "small").await?;
    let ca = host_path(&pod, CREDENTIALS)?.join("ca.crt");
    stage.cluster.faults().rotate_ca()?;
    until_reads(&pod, &ca, &stage.cluster.ca_pem()).await?;
    Ok(())
}

#[tokio::test]
async fn trouble_with_the_api_server_delays_a_label_and_loses_none() -> Result<()> {
    let stage = Stage::new(SMALL)?;
    let pod = stage.start("small").await?;
    let labels = host_path(&pod, "/etc/podinfo")?.join("labels");
    let faults = stage.cluster.faults();
    faults.reset_connections();
    stage.label("small", json!({"app": "one"})).await?;
    until_reads(&pod, &labels, "app=\"one\"").await?;
    faults.restart(Duration::from_millis(20))?;
    stage.label("small", json!({"app": "two"})).await?;
    until_reads(&pod, &labels, "app=\"two\"").await?;
    faults.expire_history();
    faults.reset_connections();
    faults.next(Fault::Unavailable(None), &format!("{PODS}?"), 1);
    stage.label("small", json!({"app": "three"})).await?;
    until_reads(&pod, &labels, "app=\"three\"").await?;
    Ok(())
}

#[tokio::test]
async fn the_status_says_that_it_runs_and_how_it_ended() -> Result<()> {
    for (outcome, phase, reason) in [
        (Outcome::exit(0), "Succeeded", "Completed"),
        (Outcome { exit_code: 126, message: Some("unreachable executed".into()) }, "Failed", "Error"),
    ] {
        let stage = Stage::new(SMALL)?;
        let pod = stage.start("small").await?;
        let running = stage.admin("GET", &format!("{PODS}/small"), Value::Null).await?;
        ensure!(running["status"]["phase"] == "Running" && running["spec"]["nodeName"] == "attache", "{running}");
        ensure!(running["status"]["containerStatuses"][0]["state"]["running"].is_object());
        let directory = pod.directory().to_owned();
        pod.stop(&outcome).await?;
        ensure!(!directory.exists() && stage.is_empty()?);
        let ended = stage.admin("GET", &format!("{PODS}/small"), Value::Null).await?;
        ensure!(ended["status"]["phase"] == phase, "{ended}");
        let terminated = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
        ensure!(terminated["exitCode"] == outcome.exit_code && terminated["reason"] == reason, "{terminated}");
        let again = stage.kubelet().start("default", "small").await;
        ensure!(matches!(&again, Err(KubeletError::Ended { phase: told, .. }) if told == phase), "{again:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_deleted_pod_is_let_go_with_its_token() -> Result<()> {
    let stage = Stage::new(SMALL)?;
    let pod = stage.start("small").await?;
    let token = fs::read_to_string(host_path(&pod, CREDENTIALS)?.join("token"))?;
    stage.admin("DELETE", &format!("{PODS}/small"), Value::Null).await?;
    tokio::time::timeout(PATIENCE, pod.deleted()).await.context("the deletion was not seen")?;
    pod.stop(&Outcome::exit(0)).await?;
    let gone = stage.admin("GET", &format!("{PODS}/small"), Value::Null).await;
    ensure!(gone.is_err_and(|error| error.to_string().contains("404")), "a kubelet lets its pod go for good");
    ensure!(stage.is_empty()?, "files stay");
    ensure!(stage.status_for(&token).await? == 401, "the token outlives its pod");
    Ok(())
}

#[tokio::test]
async fn what_cannot_be_set_up_says_why_and_leaves_nothing_behind() -> Result<()> {
    let volume = |source: &str| {
        SMALL.replace("downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}", source)
    };
    let cases = [
        (volume("configMap: {name: nowhere}"), "volume \"podinfo\" cannot be set up: configmap \"nowhere\" not found"),
        (volume("secret: {secretName: nowhere}"), "volume \"podinfo\" cannot be set up: secret \"nowhere\" not found"),
        (
            SMALL.replace(
                "    volumeMounts:",
                "    env: [{name: A, valueFrom: {configMapKeyRef: {name: nowhere, key: a}}}]\n    volumeMounts:",
            ),
            "the env of container \"main\" cannot be made: configmap \"nowhere\" not found",
        ),
    ];
    for (yaml, words) in cases {
        let stage = Stage::new(&yaml)?;
        let Err(error) = stage.start("small").await else { bail!("started, in spite of {words}") };
        let told = format!("{error:#}");
        ensure!(told.contains(words), "{told}");
        ensure!(stage.is_empty()?, "files stay after: {words}");
        let pod = stage.admin("GET", &format!("{PODS}/small"), Value::Null).await?;
        ensure!(pod["status"]["phase"] == "Pending", "{pod}");
    }
    let stage = Stage::new(SMALL)?;
    ensure!(matches!(stage.kubelet().start("default", "none").await, Err(KubeletError::NoPod { .. })));
    ensure!(matches!(stage.kubelet().start("default", "../x").await, Err(KubeletError::Name(_))));
    let stranger =
        Kubelet::builder(stage.cluster.url(), "no-token").authority(stage.cluster.ca_pem()).root(stage.root.path());
    let Err(error) = stranger.start("default", "small").await else { bail!("a stranger got the pod") };
    ensure!(format!("{:#}", anyhow::Error::new(error)).contains("401"));
    Ok(())
}

#[tokio::test]
async fn a_kubelet_needs_no_more_than_the_rights_of_a_node() -> Result<()> {
    let stage = Stage::new(FULL)?;
    stage.cluster.load([
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "node"}}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "node"}, "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["pods/binding", "serviceaccounts/token"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]},
            {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get"]},
        ]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "node"},
               "roleRef": {"kind": "Role", "name": "node"},
               "subjects": [{"kind": "ServiceAccount", "name": "node", "namespace": "default"}]}),
    ])?;
    let token = stage.cluster.token_for("default", "node", Duration::from_mins(5))?;
    let kubelet =
        Kubelet::builder(stage.cluster.url(), token).authority(stage.cluster.ca_pem()).root(stage.root.path());
    let pod = kubelet.start("default", "full").await?;
    let labels = host_path(&pod, "/etc/podinfo")?.join("app");
    stage.label("full", json!({"app": "seen"})).await?;
    until_reads(&pod, &labels, "seen").await?;
    pod.stop(&Outcome::exit(0)).await?;
    Ok(())
}
