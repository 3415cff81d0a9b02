//! `attache dev`: manifests, the pod's sandbox, and the pod changing under its extension.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use attache_tests::guest;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use super::{Going, command, end, folder, grant, manifest};

/// The pod of the seed's and of the demo's manifest.
const POD: &str = "kubernetes-downwardapi-volume-example";

fn dev(pod: &Path) -> Command {
    let mut dev = command(["dev", "--pod"]);
    dev.arg(pod);
    dev
}

fn seed(name: &str) -> std::path::PathBuf {
    manifest("seed").join(format!("{name}.yaml"))
}

#[test]
fn manifests_that_a_server_accepts_run_to_the_end() {
    let labels = "\n\ncluster=\"test-cluster1\"\nrack=\"rack-22\"\nzone=\"us-est-coast\"\n\nbuild=\"two\"\nbuilder=\"john-doe\"\n";
    for (name, printed) in
        [("dapi-volume", labels), ("dapi-volume-resources", "\n250\n125\n64\n32\n"), ("curl-with-ambassador", "\n")]
    {
        let ended = end(dev(&seed(name)).arg(guest("cat-labels")));
        assert_eq!(ended.printed(), printed, "{name}");
    }
}

#[test]
fn manifests_that_a_server_refuses_are_refused_with_its_reason_and_the_place() {
    for (name, reasons) in [
        ("downward-env", &["34:5", "could not find expected ':'"][..]),
        ("downward-volume", &["41:7", "could not find expected ':'"]),
        (
            "downward-env-cut",
            &["13:17", "Pod in version \"v1\" cannot be handled as a Pod: unable to parse quantity's suffix"],
        ),
        (
            "downward-volume-cut",
            &[
                "40:22",
                "spec.volumes[0].downwardAPI.fieldRef.fieldPath: Invalid value: \"matadata.labels\": error converting \
                 fieldPath: field label not supported: matadata.labels",
                "26:13",
                "spec.containers[0].volumeMounts[0].name: Not found: \"downward\"",
            ],
        ),
        ("downward-volume-container-resource", &["1:1", "apiVersion not set", "kind not set"]),
    ] {
        let file = seed(name);
        let ended = end(dev(&file).arg(guest("cat-labels")));
        ended.refused(reasons);
        ended.refused(&[file.to_str().unwrap()]);
        assert_eq!(ended.out, "", "nothing runs");
    }
}

const BEFORE: &str = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: fine}\n---\n";

#[test]
fn what_is_refused_in_a_file_of_many_objects_has_its_own_line_and_column() {
    let folder = folder();
    let file = folder.path().join("many.yaml");
    for (document, words) in [
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: 7\n",
            &["many.yaml:9:6: data.a: ", "number"][..],
        ),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: BAD}\n", &["many.yaml:7:18: metadata.name: "]),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndta: {}\n", &["many.yaml:8:6: dta: ", "unknown field"]),
        ("apiVersion: none.io/v1\nkind: Thing\nmetadata: {name: c}\n", &["many.yaml:5:1: ", "no matches for kind"]),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, name: b}\n",
            &["many.yaml:7:21: ", "duplicate mapping key: name"],
        ),
    ] {
        std::fs::write(&file, format!("{BEFORE}{document}")).unwrap();
        let ended = end(command(["dev", "--manifests"]).arg(&file));
        ended.refused(words);
        assert!(!ended.err.contains(":1:1") && !ended.err.contains("Options"), "{}", ended.err);
    }
}

#[test]
fn a_value_of_the_wrong_sort_is_told_with_the_path_of_its_field() {
    let folder = folder();
    let file = folder.path().join("pod.yaml");
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {NAME}\nspec:\n  containers:\n  - name: main\n    image: none\n    env:\n    - \
               name: A\n      valueFrom: {configMapKeyRef: {name: 7, key: k}}\n";
    for (name, called) in [("name: p", "Pod \"p\""), ("generateName: p-", "Pod with the generateName \"p-\"")] {
        std::fs::write(&file, format!("{BEFORE}{}", pod.replace("NAME", name))).unwrap();
        let ended = end(&mut dev(&file));
        ended.refused(&[
            called,
            "pod.yaml:14:43: spec.containers[0].env[0].valueFrom.configMapKeyRef.name: ",
            "cannot unmarshal number into Go struct field",
        ]);
        assert!(!ended.err.contains("Pod \"\""), "{}", ended.err);
    }
    std::fs::write(&file, pod.replace("NAME", "name: p").replace("image", "imag").replace("name: 7", "name: c"))
        .unwrap();
    end(&mut dev(&file)).refused(&["pod.yaml:7:11: spec.containers[0].imag: ", "unknown field"]);
}

#[test]
fn the_refused_manifests_are_accepted_once_mended() {
    let folder = folder();
    let mended = |name: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(seed(name)).unwrap();
        assert!(text.contains(from));
        let file = folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, text.replace(from, to)).unwrap();
        file
    };
    let env = mended("downward-env-cut", "100ki", "100Ki");
    let ended = end(dev(&env).arg(guest("cat-labels")).args(["--", "--env"]));
    // The manifest fills POD_IP from metadata.namespace.
    for line in ["POD_NAME=downward", "POD_NAMESPACE=default", "POD_IP=default", "NODE_NAME=attache"] {
        assert!(ended.printed().contains(line), "{line}:\n{}", ended.out);
    }
}

#[test]
fn a_label_changed_through_the_api_reaches_the_guest() {
    let folder = folder();
    let kubeconfig = folder.path().join("kubeconfig");
    let mut dev = dev(&manifest("demo/pod.yaml"));
    dev.arg("--manifests").arg(manifest("demo/access.yaml")).arg("--write-kubeconfig").arg(&kubeconfig);
    let dev = Going::start(dev.arg(guest("follow-labels")).args(["--", "--count", "2"]));
    dev.line(|line| line.contains("rack=rack-22"));
    let change = serde_json::json!({"metadata": {"labels": {"rack": "rack-23"}}});
    with_pods(&kubeconfig, async |pods| {
        pods.patch(POD, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    });
    dev.line(|line| line.contains("rack=rack-23"));
    assert_eq!(dev.code(), Some(0));
}

/// Runs `work` with the pods of a devcluster in another process.
fn with_pods(kubeconfig: &Path, work: impl AsyncFnOnce(Api<Pod>)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let read = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
        work(Api::namespaced(Client::try_from(config).unwrap(), "default")).await;
    });
}

/// A manifest whose texts are lines of the host's, records of the audit, and commands to a terminal.
const FORGING: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: forging
spec:
  containers:
  - name: main
    image: none
    env:
    - {name: ONE, value: "a\nAll stays up: forged\n{\"extension\":\"forged\",\"verdict\":\"allowed\"}"}
    - {name: TWO, value: "\e[1A\e[2Kforged\u009b31m\u202e"}
    volumeMounts:
    - {name: labels, mountPath: "/etc/a\nforged\e[1A"}
    - {name: other, mountPath: "/etc/b\nforged\e[1A"}
  volumes:
  - {name: labels, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: other, emptyDir: {}}
"#;

#[test]
fn what_a_manifest_says_stays_within_its_line_and_moves_no_cursor() {
    let folder = folder();
    let file = folder.path().join("pod.yaml");
    std::fs::write(&file, FORGING).unwrap();
    // Reads until the pod stays up or the manifest is refused. The same checks fit both cases.
    let mut dev = command(["dev", "--pod"]);
    let going = Going::start_quiet(dev.arg(&file));
    let mut said = Vec::new();
    while let Ok(line) = going.lines.recv_timeout(super::PATIENCE) {
        let last = line.starts_with("All stays up until");
        said.push(line);
        if last {
            going.signal("TERM");
        }
    }
    assert!(said.iter().any(|line| line.contains("ONE=a\\nAll stays up: forged\\n{")), "{said:#?}");
    assert!(
        said.iter().any(|line| line.contains("TWO=\\u{1b}[1A") && line.contains("\\u{9b}31m\\u{202e}")),
        "{said:#?}"
    );
    for line in &said {
        assert!(!line.contains(['\u{1b}', '\u{9b}', '\u{202e}', '\r']), "{line:?}");
        assert!(
            !line.starts_with("forged") && !line.starts_with('{') && !line.starts_with("All stays up:"),
            "{line:?}"
        );
    }
}

#[test]
fn a_deleted_pod_ends_its_extension() {
    let folder = folder();
    let kubeconfig = folder.path().join("kubeconfig");
    let mut dev = dev(&seed("dapi-volume"));
    let dev = Going::start(dev.arg("--write-kubeconfig").arg(&kubeconfig).arg(guest("follow-labels")));
    dev.line(|line| line.contains("rack=rack-22"));
    with_pods(&kubeconfig, async |pods| {
        pods.delete(POD, &DeleteParams::default()).await.unwrap();
    });
    assert_eq!(dev.code(), Some(143));
}

#[test]
fn without_a_grant_the_development_grant_is_printed_and_reads_back() {
    let ended = end(dev(&seed("dapi-volume")).arg(guest("cat-labels")));
    ended.printed();
    let (_, text) = ended.err.split_once("apiVersion").unwrap();
    let text = format!("  apiVersion{text}");
    let text: String = text.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
    let grant = attache::policy::Grant::parse(&text).unwrap();
    assert_eq!(grant.podinfo[0].mount_path.as_str(), "/etc/podinfo");
    assert_eq!(grant.api.len(), 1);
    assert_eq!(grant.api[0].verbs, ["get", "list", "watch"]);
    assert_eq!(grant.api[0].namespaces, ["default"]);
}

#[test]
fn a_grant_of_ones_own_is_held_against_the_container() {
    let folder = folder();
    let elsewhere = grant(&folder, "{podinfo: {mountPath: /etc/elsewhere}}");
    let ended = end(dev(&seed("dapi-volume")).arg("--grant").arg(&elsewhere).arg(guest("cat-labels")));
    ended.refused(&["/etc/elsewhere", "client-container", "one at /etc/podinfo"]);
    let narrow = grant(&folder, "{podinfo: {items: [annotations]}}");
    let ended = end(dev(&seed("dapi-volume")).arg("--grant").arg(&narrow).arg(guest("cat-labels")));
    assert_eq!(ended.printed(), "\n\nbuild=\"two\"\nbuilder=\"john-doe\"\n");
}

#[test]
fn rbac_judges_the_pods_own_account_under_any_grant() {
    let mut dev = dev(&manifest("demo/pod.yaml"));
    let without_role = folder();
    let account = without_role.path().join("account.yaml");
    std::fs::write(&account, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: pod-card}\n").unwrap();
    let ended = end(dev.arg("--manifests").arg(&account).arg(guest("pod-card")));
    let card = ended.printed();
    let who = "User \"system:serviceaccount:default:pod-card\" cannot list resource \"jobs\"";
    assert!(card.contains(who), "{card}");
}

#[test]
fn another_container_and_no_such_container() {
    let pod = seed("curl-with-ambassador");
    let ended = end(dev(&pod).args(["--container", "ambassador"]).arg(guest("cat-labels")));
    ended.printed();
    let ended = end(dev(&pod).args(["--container", "absent"]).arg(guest("cat-labels")));
    ended.refused(&["\"absent\"", "ambassador, main"]);
}

#[test]
fn what_cannot_be_played_is_told() {
    let account = manifest("demo/access.yaml");
    let ended = end(dev(&account).arg(guest("cat-labels")));
    ended.refused(&["no Pod in", account.to_str().unwrap()]);
    let ended = end(command(["dev"]).arg(guest("cat-labels")));
    assert!(ended.code == Some(2) && ended.err.contains("--pod <FILE>"), "{}", ended.err);
    // Its service account is in another file.
    let ended = end(dev(&manifest("demo/pod.yaml")).arg(guest("cat-labels")));
    ended.refused(&["pod-card", "service account"]);
}

#[test]
fn a_kubeconfig_is_written_for_this_user_alone_and_never_through_a_link() {
    let folder = folder();
    let (file, link) = (folder.path().join("kubeconfig"), folder.path().join("link"));
    std::fs::write(&file, "somebody's").unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let mut through_link = command(["dev", "--write-kubeconfig"]);
    end(through_link.arg(&link)).refused(&["symbolic link", "name the file itself"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's");
    let dev = Going::start_quiet(command(["dev", "--write-kubeconfig"]).arg(&file));
    dev.line(|line| line.contains("export KUBECONFIG="));
    assert!(std::fs::read_to_string(&file).unwrap().contains("token:"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    dev.signal("INT");
    assert_eq!(dev.code(), Some(130));
}

#[test]
fn without_an_extension_it_stays_until_a_signal_and_leaves_nothing_behind() {
    let folder = folder();
    let kubeconfig = folder.path().join("kubeconfig");
    let temporary = folder.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut dev = dev(&seed("dapi-volume"));
    let dev = dev.arg("--write-kubeconfig").arg(&kubeconfig).env("TMPDIR", &temporary).env("ATTACHE_LOG", "info");
    let dev = Going::start_quiet(dev);
    dev.line(|line| line.contains("/etc/podinfo is "));
    dev.line(|line| line.contains("until Ctrl-C"));
    with_pods(&kubeconfig, async |pods| {
        let status = pods.get(POD).await.unwrap().status.unwrap();
        assert_eq!(status.phase.as_deref(), Some("Running"));
    });
    dev.signal("INT");
    assert_eq!(dev.code(), Some(130));
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "the pod's folder is removed");
}
