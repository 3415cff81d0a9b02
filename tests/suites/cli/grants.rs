//! Grants that are drawn up: from imports, from a run that is recorded, and the rights that an account needs for one.

use std::ffi::OsStr;
use std::time::Duration;

use attache::policy::Grant;
use attache_tests::guest;
use serde_json::{Value, json};

use super::run::ByHand;
use super::{command, end, folder, grant, manifest};

fn rules(grant: &Grant) -> Vec<String> {
    grant.api.iter().map(ToString::to_string).collect()
}

#[test]
fn the_smallest_grant_that_imports_tell_of_reads_back() {
    let ended = end(command([OsStr::new("inspect"), guest("pod-card").as_os_str()]).arg("--draft"));
    let draft = Grant::parse(ended.printed()).unwrap();
    assert_eq!((draft.name.as_str(), draft.api.len(), draft.env.len()), ("pod-card", 0, 0));
    assert_eq!(draft.podinfo[0].mount_path.as_str(), "/etc/podinfo");
    assert!(draft.component.is_some());
    for comment in ["# env: [POD_NAME, POD_NAMESPACE]", "# - {apiGroups: [\"\"], resources: [pods], verbs: [get, list]"]
    {
        assert!(ended.out.contains(comment), "{comment}:\n{}", ended.out);
    }
    // With the signs off it is a grant under which the component loads.
    let folder = folder();
    let file = folder.path().join("grant.yaml");
    std::fs::write(&file, ended.out.replace("  # api:", "  api:").replace("  # - {", "  - {")).unwrap();
    end(command([OsStr::new("inspect"), guest("pod-card").as_os_str()]).arg("--grant").arg(file)).printed();
    let bare = end(command([OsStr::new("inspect"), guest("empty").as_os_str()]).arg("--draft"));
    let mut bare = Grant::parse(bare.printed()).unwrap();
    bare.component = None;
    assert_eq!(bare, Grant::nothing("empty"));
}

#[test]
fn a_recorded_run_gives_the_rules_that_it_used_and_those_that_it_was_denied() {
    let (pod, folder) = (ByHand::new(), folder());
    let record = folder.path().join("needed.yaml");
    let spec = "{podinfo: {}, env: [POD_NAMESPACE], limits: {deadline: 1m, cpu: 30s}, \
                api: [{apiGroups: ['', apps], resources: ['*'], verbs: [get, list, watch]}]}";
    let run = |grant: &std::path::Path| {
        let mut run = pod.run("pod-card");
        end(run.arg("--grant").arg(grant).args(["--audit", "none", "--record"]).arg(&record)).printed().to_owned()
    };
    assert!(!run(&grant(&folder, spec)).contains("migrate-schema"));
    let text = std::fs::read_to_string(&record).unwrap();
    let recorded = Grant::parse(&text).unwrap();
    assert_eq!(recorded.limits.deadline, Duration::from_mins(1));
    assert!(rules(&recorded).iter().all(|rule| rule.contains("$(POD_NAMESPACE)") && !rule.contains('*')), "{text}");
    let denied = "  # - {apiGroups: [batch], resources: [jobs], verbs: [list], namespaces: [\"$(POD_NAMESPACE)\"]}";
    assert!(text.contains(denied), "{text}");
    // What was recorded is enough, and with what was denied the run goes further.
    let recorded = folder.path().join("recorded.yaml");
    std::fs::write(&recorded, text.replace("  # - {", "  - {")).unwrap();
    assert!(run(&recorded).contains("migrate-schema"));
}

#[test]
fn a_run_that_never_begins_leaves_an_earlier_record_as_it_was() {
    let folder = folder();
    let (record, fresh) = (folder.path().join("needed.yaml"), folder.path().join("fresh.yaml"));
    std::fs::write(&record, "of an earlier run").unwrap();
    let open = "{api: [{apiGroups: [''], resources: [pods], verbs: [list], namespaces: [default]}]}";
    let run = |spec: &str, into: &std::path::Path| {
        let mut run = command([OsStr::new("run"), guest("pod-card").as_os_str()]);
        run.args(["--service-account", "/nowhere", "--api-server", "https://127.0.0.1:1", "--record"]).arg(into);
        end(run.arg("--grant").arg(grant(&folder, spec)))
    };
    // A grant that is not valid, a mount and a server that are not there, an import that is not granted.
    for spec in ["{limits: {memory: 64Mo}}", "{podinfo: {mountPath: /etc/no-such-volume}}", open, "{env: [A]}"] {
        for into in [&record, &fresh] {
            assert_eq!(run(spec, into).code, Some(125), "{spec}");
        }
        assert_eq!(std::fs::read_to_string(&record).unwrap(), "of an earlier run", "{spec}");
        assert!(!fresh.exists(), "{spec}");
    }
    let mut dev = command(["dev", "--pod"]);
    dev.arg(manifest("demo/pod.yaml")).arg("--record").arg(&record).arg(guest("pod-card"));
    assert_eq!(end(&mut dev).code, Some(125), "its service account is in another file");
    assert_eq!(std::fs::read_to_string(&record).unwrap(), "of an earlier run");
}

#[test]
fn without_a_grant_there_is_nothing_to_record() {
    let mut run = command([OsStr::new("run"), guest("empty").as_os_str()]);
    let ended = end(run.args(["--record", "/dev/null"]));
    assert!(ended.code == Some(2) && ended.err.contains("--grant"), "{}", ended.err);
}

#[test]
fn dev_records_under_the_development_grant() {
    let folder = folder();
    let record = folder.path().join("needed.yaml");
    let mut dev = command(["dev", "--pod"]);
    dev.arg(manifest("demo/pod.yaml"));
    for file in ["demo/access.yaml", "demo/workloads.yaml"] {
        dev.arg("--manifests").arg(manifest(file));
    }
    end(dev.arg("--record").arg(&record).arg(guest("pod-card"))).printed();
    let recorded = Grant::parse(&std::fs::read_to_string(&record).unwrap()).unwrap();
    assert!(!recorded.podinfo.is_empty() && !recorded.api.is_empty());
    let broad = rules(&recorded).into_iter().find(|rule| rule.contains('*') || !rule.contains("$(POD_NAMESPACE)"));
    assert_eq!(broad, None, "the development grant's wildcards do not come back");
}

#[test]
fn an_accounts_roles_let_it_do_what_the_grant_opens_and_no_more() {
    let (mut pod, folder) = (ByHand::new(), folder());
    let file = grant(
        &folder,
        "{podinfo: {}, api: [{apiGroups: [''], resources: [pods], verbs: ['*']}, \
         {apiGroups: [apps], resources: [deployments], verbs: [list], namespaces: ['*']}, \
         {nonResourceURLs: [/metrics], verbs: [get]}]}",
    );
    let token = pod.cluster.token_for("default", "default", Duration::from_secs(600)).unwrap();
    let ca = pod.cluster.ca_pem();
    pod.give(&token, &ca);
    let access = || {
        let mut inspect = command(["inspect", "--access", "--output", "json", "--api-server", &pod.cluster.url()]);
        let account = pod.tree.root().join("var/run/secrets/kubernetes.io/serviceaccount");
        end(inspect.arg("--service-account").arg(account).arg("--grant").arg(&file))
    };
    let before = access();
    assert_eq!(before.code, Some(125), "{}", before.err);
    let beyond: Value = serde_json::from_str(&before.out).unwrap();
    let beyond = beyond["access"]["beyond"].as_array().unwrap().clone();
    assert_eq!(beyond.len(), 3, "{beyond:?}");
    let mut rbac = command(["inspect", "--rbac", "default:default", "--output", "json", "--grant"]);
    let list: Value = serde_json::from_str(end(rbac.arg(&file)).printed()).unwrap();
    let objects = list["items"].as_array().unwrap().clone();
    let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"]);
    pod.cluster.load(objects).unwrap();
    let after = access();
    let after: Value = serde_json::from_str(after.printed()).unwrap();
    assert_eq!(after["access"]["beyond"], Value::Array(Vec::new()));
}

#[test]
fn types_of_one_group_are_not_missed_in_another() {
    let (mut pod, folder) = (ByHand::new(), folder());
    let rule = "{apiGroups: ['', apps, batch], resources: [pods, pods/log, deployments, jobs], verbs: [get, list]}";
    let file = grant(&folder, &format!("{{podinfo: {{}}, api: [{rule}]}}"));
    let token = pod.cluster.token_for("default", "default", Duration::from_secs(600)).unwrap();
    let ca = pod.cluster.ca_pem();
    pod.give(&token, &ca);
    let mut inspect = command(["inspect", "--access", "--output", "json", "--api-server", &pod.cluster.url()]);
    let account = pod.tree.root().join("var/run/secrets/kubernetes.io/serviceaccount");
    let ended = end(inspect.arg("--service-account").arg(account).arg("--grant").arg(&file));
    assert_eq!(ended.code, Some(125), "{}", ended.err);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    let beyond = report["access"]["beyond"].as_array().unwrap();
    let pairs: Vec<_> = beyond.iter().map(|rule| (&rule["apiGroups"], &rule["resources"])).collect();
    let expected = json!([[[""], ["pods", "pods/log"]], [["apps"], ["deployments"]], [["batch"], ["jobs"]]]);
    assert_eq!(json!(pairs), expected, "{report}");
}

#[test]
fn the_manifest_of_roles_is_yaml_and_says_where_rbac_is_wider() {
    let folder = folder();
    let file =
        grant(&folder, "{api: [{apiGroups: [''], resources: ['*'], verbs: [get], resourceNames: [\"$(POD_NAME)\"]}]}");
    let mut rbac = command(["inspect", "--rbac", "demo:pod-card", "--grant"]);
    let ended = end(rbac.arg(&file));
    let text = ended.printed();
    assert!(text.contains("# spec.api[0] covers all that is ordinary; RBAC's `*` also covers secrets"), "{text}");
    assert!(text.contains("for all names"), "{text}");
    let documents = attache_devcluster::manifest::parse(text, "rbac.yaml").unwrap();
    assert_eq!(documents.len(), 2);
    assert_eq!((documents[1].kind(), documents[1].namespace()), ("RoleBinding", "demo"));
}
