//! `attache dev --kubeconfig`: a pod in a cluster that people have, which here is a devcluster of the test's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use attache_devcluster::{DevCluster, DevClusterSettings, manifest as manifests};
use attache_tests::guest;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use super::{Going, command, end, folder, manifest};

/// The pod of the seed's manifest.
const POD: &str = "kubernetes-downwardapi-volume-example";
const LABELS: &str =
    "\n\ncluster=\"test-cluster1\"\nrack=\"rack-22\"\nzone=\"us-est-coast\"\n\nbuild=\"two\"\nbuilder=\"john-doe\"\n";

struct World {
    server: DevCluster,
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let server = DevCluster::start(DevClusterSettings::default()).unwrap();
        let world = Self { server, folder: folder(), runtime: tokio::runtime::Runtime::new().unwrap() };
        fs::write(world.kubeconfig(), world.server.kubeconfig()).unwrap();
        world
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("config")
    }

    fn dev(&self, pod: &Path, guest_name: &str) -> Command {
        let mut dev = command(["dev", "--kubeconfig"]);
        dev.arg(self.kubeconfig()).arg("--pod").arg(pod).arg(guest(guest_name));
        dev
    }

    fn pods<T>(&self, work: impl AsyncFnOnce(Api<Pod>) -> T) -> T {
        self.runtime.block_on(async {
            let read = Kubeconfig::read_from(self.kubeconfig()).unwrap();
            let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
            work(Api::namespaced(Client::try_from(config).unwrap(), "default")).await
        })
    }

    fn there(&self) -> Option<Pod> {
        self.pods(async |pods| pods.get_opt(POD).await.unwrap())
    }
}

fn seed() -> PathBuf {
    manifest("seed/dapi-volume.yaml")
}

#[test]
fn a_pod_that_is_not_there_is_made_for_the_run_and_leaves_nothing_behind() {
    let world = World::new();
    assert_eq!(end(&mut world.dev(&seed(), "cat-labels")).printed(), LABELS);
    assert!(world.there().is_none(), "it is deleted");
    let temporary = world.folder.path().join("tmp");
    fs::create_dir(&temporary).unwrap();
    let dev = Going::start(world.dev(&seed(), "follow-labels").env("TMPDIR", &temporary));
    dev.line(|line| line.contains("rack=rack-22"));
    let spec = world.there().unwrap().spec.unwrap();
    assert_eq!(spec.node_name, None);
    assert_eq!(spec.scheduler_name.as_deref(), Some("attache.dev"), "nobody's");
    assert_eq!(spec.scheduling_gates.unwrap()[0].name, "attache.dev/played-elsewhere");
    let change = json!({"metadata": {"labels": {"rack": "rack-23"}}});
    world.pods(async |pods| pods.patch(POD, &PatchParams::default(), &Patch::Merge(change)).await.unwrap());
    dev.line(|line| line.contains("rack=rack-23"));
    dev.signal("INT");
    assert_eq!(dev.code(), Some(130));
    assert!(world.there().is_none(), "it is deleted after a signal too");
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0, "and so are the volumes");
}

#[test]
fn a_pod_that_is_there_is_left_as_it_is() {
    let world = World::new();
    let there: Vec<_> = manifests::load([seed()]).unwrap().iter().map(|document| document.object().clone()).collect();
    world.server.load(there).unwrap();
    let change = json!({"metadata": {"labels": {"rack": "stored"}}});
    world.pods(async |pods| pods.patch(POD, &PatchParams::default(), &Patch::Merge(change)).await.unwrap());
    let before = world.there().unwrap();
    assert_eq!(end(&mut world.dev(&seed(), "cat-labels")).printed(), LABELS.replace("rack-22", "stored"));
    let after = world.there().unwrap();
    assert_eq!((after.metadata, after.spec, after.status), (before.metadata, before.spec, before.status));
    let dev = Going::start(&mut world.dev(&seed(), "follow-labels"));
    dev.line(|line| line.contains("rack=stored"));
    world.pods(async |pods| pods.delete(POD, &DeleteParams::default()).await.map(drop).unwrap());
    assert_eq!(dev.code(), Some(143), "its deletion ends the run");
}

#[test]
fn it_asks_with_a_client_certificate_and_the_guest_with_its_own_account() {
    let world = World::new();
    let client = world.server.client_certificate("jane", &["system:masters"]).unwrap();
    let write = |name: &str, text: String| fs::write(world.folder.path().join(name), text).unwrap();
    write("jane.crt", client.certificate_pem);
    write("jane.key", client.key_pem);
    let token = format!("token: {}", world.server.admin_token());
    let config = world.server.kubeconfig().replace(&token, "{client-certificate: jane.crt, client-key: jane.key}");
    write("by-certificate", config);
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "pod-card", "namespace": "default"}});
    world.server.load([account]).unwrap();
    let pod = fs::read_to_string(manifest("demo/pod.yaml")).unwrap();
    write("pod.yaml", pod.replace("  nodeName: node-1\n", ""));
    let mut dev = command(["dev", "--kubeconfig"]);
    dev.arg(world.folder.path().join("by-certificate")).arg("--pod").arg(world.folder.path().join("pod.yaml"));
    let card = end(dev.arg(guest("pod-card")));
    let card = card.printed();
    let who = "User \"system:serviceaccount:default:pod-card\" cannot list resource \"jobs\"";
    assert!(card.contains(who), "{card}");
    world.pods(async |pods| assert_eq!(pods.list(&kube::api::ListParams::default()).await.unwrap().items.len(), 0));
}

#[test]
fn what_was_left_behind_is_taken_away_the_next_time() {
    let world = World::new();
    let mut left: Pod = serde_json::from_value(manifests::load([seed()]).unwrap()[0].object().clone()).unwrap();
    left.spec.as_mut().unwrap().scheduling_gates =
        Some(vec![k8s_openapi::api::core::v1::PodSchedulingGate { name: "attache.dev/played-elsewhere".into() }]);
    world.pods(async |pods| pods.create(&PostParams::default(), &left).await.map(drop).unwrap());
    let ended = end(&mut world.dev(&seed(), "cat-labels"));
    ended.printed();
    assert!(ended.err.contains("made by an earlier `attache dev`"), "{}", ended.err);
    assert!(world.there().is_none());
}

#[test]
fn what_is_not_done_in_a_cluster_of_others_is_refused() {
    let world = World::new();
    let more = manifest("demo/access.yaml");
    end(world.dev(&seed(), "cat-labels").arg("--manifests").arg(&more)).ended_with(2, &["--manifests", "kubectl"]);
    end(command(["dev", "--kubeconfig"]).arg(world.kubeconfig())).ended_with(2, &["say --pod FILE"]);
    let beside = world.folder.path().join("beside.yaml");
    let text = fs::read_to_string(seed()).unwrap();
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n---\n";
    fs::write(&beside, format!("{account}{}", text.trim_end().trim_end_matches("...").trim_end())).unwrap();
    end(&mut world.dev(&beside, "cat-labels")).refused(&["one Pod and nothing else"]);
    let bound = world.folder.path().join("bound.yaml");
    fs::write(&bound, text.replace("spec:\n", "spec:\n  nodeName: node-1\n")).unwrap();
    end(&mut world.dev(&bound, "cat-labels")).refused(&["names a node", "leave `spec.nodeName` out"]);
    assert!(world.there().is_none());
}

#[test]
fn what_makes_pods_is_no_pod_and_the_reason_is_given() {
    let world = World::new();
    let file = world.folder.path().join("deployment.yaml");
    let template = "template: {metadata: {labels: {a: b}}, spec: {containers: [{name: main, image: none}]}}";
    let deployment =
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {selector: {matchLabels: {a: b}}, ";
    fs::write(&file, format!("{deployment}{template}}}\n")).unwrap();
    let place = format!("{}:2:7: ", file.display());
    end(&mut world.dev(&file, "cat-labels")).refused(&[
        &place,
        "only a Pod is played",
        "a Deployment",
        "nodes would run",
    ]);
}

#[test]
fn a_cluster_that_goes_away_is_told() {
    let world = World::new();
    let mut dev = command(["dev", "--kubeconfig"]);
    dev.arg(world.kubeconfig()).arg("--pod").arg(seed());
    let dev = Going::start_quiet(&mut dev);
    dev.line(|line| line.contains("until Ctrl-C"));
    let World { server, folder: _folder, runtime: _runtime } = world;
    std::thread::spawn(move || server.shutdown()).join().unwrap();
    let line = dev.line(|line| line.contains("cannot be followed"));
    assert!(line.contains("refused") && line.contains("until the API server answers"), "{line}");
    dev.signal("INT");
    assert_eq!(dev.code(), Some(130));
}
