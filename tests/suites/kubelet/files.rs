//! The files, mounts and variables of a started pod.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use attache_devcluster::kubelet::FileSource;

use crate::manifests::{FULL, SMALL};
use crate::stage::{CREDENTIALS, Stage, host_path, mount, shown};

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
async fn a_pod_that_wants_no_token_gets_none() -> Result<()> {
    let stage = Stage::new(
        &SMALL.replace("spec:\n  containers", "spec:\n  automountServiceAccountToken: false\n  containers"),
    )?;
    let pod = stage.start("small").await?;
    ensure!(mount(&pod, CREDENTIALS).is_err());
    Ok(())
}
