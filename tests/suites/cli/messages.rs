//! The messages of errors: each names the operation, its object, and the remedy.

use std::ffi::OsStr;

use attache_tests::guest;

use super::run::ByHand;
use super::{command, end, folder, grant};

const API: &str = "{api: [{apiGroups: [''], resources: [pods], verbs: [list], namespaces: [default]}]}";

#[test]
fn outside_a_pod_it_says_what_it_looked_for_and_names_dev() {
    let folder = folder();
    let nowhere = folder.path().join("nothing");
    let mut run = command([OsStr::new("run"), guest("api-calls").as_os_str()]);
    let run = run.arg("--grant").arg(grant(&folder, API)).arg("--service-account").arg(&nowhere);
    end(run).refused(&["KUBERNETES_SERVICE_HOST", nowhere.to_str().unwrap(), "attache dev"]);
}

#[test]
fn a_missing_podinfo_volume_is_named() {
    let folder = folder();
    let mut run = command([OsStr::new("run"), guest("cat-labels").as_os_str()]);
    let run = run.arg("--grant").arg(grant(&folder, "{podinfo: {mountPath: /etc/no-such-volume}}"));
    end(run).refused(&["/etc/no-such-volume", "--podinfo DIR", "attache dev"]);
}

#[test]
fn a_missing_token_names_the_file_and_the_setting() {
    let (pod, folder) = (ByHand::new(), folder());
    let account = pod.tree.root().join("var/run/secrets/kubernetes.io/serviceaccount");
    std::fs::remove_file(account.join("token")).unwrap();
    let ended = end(pod.run("api-calls").arg("--grant").arg(grant(&folder, API)));
    ended.refused(&["no token at", account.to_str().unwrap(), "automountServiceAccountToken"]);
}

#[test]
fn a_wrong_ca_says_which_file_did_not_vouch_for_the_server() {
    let (mut pod, other, folder) = (ByHand::new(), ByHand::new(), folder());
    let token = pod.cluster.token_for("default", "pod-card", std::time::Duration::from_secs(600)).unwrap();
    pod.give(&token, &other.cluster.ca_pem());
    let ended = end(pod.run("api-calls").arg("--grant").arg(grant(&folder, API)));
    ended.refused(&[&pod.cluster.url(), "certificate", "ca.crt"]);
}

#[test]
fn a_token_that_the_server_does_not_take_is_told_without_being_shown() {
    let (mut pod, folder) = (ByHand::new(), folder());
    let ca = pod.cluster.ca_pem();
    pod.give("stale-and-secret", &ca);
    let ended = end(pod.run("api-calls").arg("--grant").arg(grant(&folder, API)));
    ended.refused(&["Unauthorized"]);
    assert!(!ended.err.contains("stale-and-secret"), "{}", ended.err);
}

#[test]
fn a_server_that_is_not_there_is_named_with_its_address() {
    let (pod, folder) = (ByHand::new(), folder());
    let url = pod.cluster.url();
    let mut run = pod.run("api-calls");
    let ByHand { cluster, tree: _tree, .. } = pod;
    std::thread::spawn(move || cluster.shutdown()).join().unwrap();
    end(run.arg("--grant").arg(grant(&folder, API))).ended_with(75, &[&url, "refused"]);
}

#[test]
fn a_grant_with_a_slip_names_line_and_field() {
    let folder = folder();
    for (spec, words) in [
        ("\n  podinfos: {}", ["podinfos", "5:3", "podinfo"]),
        ("\n  limits: {memory: 64Mo}", ["memory", "5:20", "64Mo"]),
        ("\n  api:\n  - {apiGroups: [''], resources: [pods], verbs: []}", ["verbs", "6:", "verb"]),
    ] {
        let file = grant(&folder, spec);
        let mut run = command([OsStr::new("run"), guest("empty").as_os_str()]);
        let ended = end(run.arg("--grant").arg(&file));
        ended.refused(&words);
        ended.refused(&[file.to_str().unwrap()]);
    }
}

#[test]
fn a_manifest_in_the_place_of_a_grant_is_told_by_its_kind() {
    let folder = folder();
    let file = folder.path().join("other.yaml");
    for (kind, rest) in [("Pod", "status: {}\n"), ("Deployment", "spec: {replicas: 1}\n"), ("grant", "")] {
        std::fs::write(&file, format!("apiVersion: v1\nmetadata: {{name: p}}\n{rest}kind: {kind}\n")).unwrap();
        let ended = end(command([OsStr::new("run"), guest("empty").as_os_str()]).arg("--grant").arg(&file));
        ended.refused(&[&format!("kind: `{kind}` is not valid"), "a grant is of the kind `Grant`"]);
    }
}

#[test]
fn a_variable_without_a_value_is_told_with_the_places_in_their_order() {
    let folder = folder();
    let spec = |name: &str| {
        format!("{{api: [{{apiGroups: [''], resources: [pods], verbs: [list], namespaces: ['$({name})']}}]}}")
    };
    let run = |name: &str| {
        let mut run = command([OsStr::new("run"), guest("api-calls").as_os_str()]);
        end(run.arg("--grant").arg(grant(&folder, &spec(name))).args(["--service-account", "/nowhere"]))
    };
    let ended = run("POD_NAMESPACE");
    ended.refused(&["error: the grant's `$(…)` cannot be resolved: spec.api[0].namespaces[0]", "attache dev"]);
    let at = |words: &str| ended.err.find(words).unwrap_or_else(|| panic!("{words:?} is not in {}", ended.err));
    assert!(
        at("looked in the environment") < at("then in the service account's volume") && at("/nowhere/namespace") > 0
    );
    let other = run("TEAM");
    other.refused(&["TEAM", "(looked in the environment)"]);
    assert!(!other.err.contains("/nowhere"), "{}", other.err);
}

#[test]
fn words_of_a_grant_that_open_nothing_are_told() {
    let folder = folder();
    let volume = folder.path().join("podinfo");
    let dated = volume.join("..2026_01_01_00_00_00.1");
    std::fs::create_dir_all(&dated).unwrap();
    std::fs::write(dated.join("labels"), "a=\"b\"\n").unwrap();
    std::os::unix::fs::symlink(dated.file_name().unwrap(), volume.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/labels", volume.join("labels")).unwrap();
    let spec = "{podinfo: {items: [labels, lables]}, env: [HERE, AWAY], \
                egress: ['http://localhost:8080', 'https://hooks.example.com', 'http://0.0.0.0']}";
    let mut run = command([OsStr::new("run"), guest("empty").as_os_str()]);
    run.env("HERE", "1").arg("--podinfo").arg(&volume).arg("--grant").arg(grant(&folder, spec));
    let ended = end(&mut run);
    ended.printed();
    let told: Vec<_> = ended.err.lines().filter(|line| line.contains("the grant's `")).collect();
    assert_eq!(told.len(), 4, "{}", ended.err);
    for words in ["`env` names AWAY", "http://localhost:8080", "http://0.0.0.0", "the file lables"] {
        assert!(told.iter().any(|line| line.contains(words)), "{words}: {}", ended.err);
    }
}

#[test]
fn a_word_for_the_audit_is_never_taken_for_a_file() {
    let folder = folder();
    for place in ["STDERR", "Stderr", "None", "stdout", "-", ""] {
        let mut run = command([OsStr::new("run"), guest("empty").as_os_str()]);
        let ended = end(run.args(["--audit", place]).current_dir(folder.path()));
        assert!(ended.code == Some(2) && ended.err.contains("it is `stderr`, `none` or a file"), "{}", ended.err);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let mut run = command([OsStr::new("run"), guest("empty").as_os_str()]);
    end(run.args(["--audit", "./STDERR"]).current_dir(folder.path())).printed();
    assert!(folder.path().join("STDERR").exists());
}

#[test]
fn a_grant_of_the_proxy_without_a_place_or_a_file_is_a_wrong_command_line() {
    for wrong in ["jobs=jobs.yaml", "unix:=a.yaml", "unix:/run/a.sock", "/ui=", ""] {
        let ended = end(&mut command(["proxy", "--grant", wrong]));
        assert!(ended.code == Some(2) && ended.err.contains("/PREFIX=FILE or unix:SOCKET=FILE"), "{}", ended.err);
    }
    let help = end(&mut command(["proxy", "--help"]));
    assert!(help.printed().contains("--grant <FILE|/PREFIX=FILE|unix:SOCKET=FILE>"), "{}", help.out);
}

#[test]
fn what_is_no_component_is_told_apart() {
    let folder = folder();
    let core = folder.path().join("core.wasm");
    std::fs::write(&core, b"\0asm\x01\0\0\0").unwrap();
    end(&mut command([OsStr::new("run"), core.as_os_str()])).refused(&["core module", "wasm32-wasip2"]);
    let text = folder.path().join("text.wasm");
    std::fs::write(&text, "hello").unwrap();
    end(&mut command([OsStr::new("run"), text.as_os_str()])).refused(&["not a WebAssembly component"]);
    let missing = folder.path().join("missing.wasm");
    end(&mut command([OsStr::new("run"), missing.as_os_str()])).refused(&["missing.wasm", "No such file"]);
}

#[test]
fn a_component_that_is_cut_off_or_empty_is_told_by_what_is_wrong_with_it() {
    let folder = folder();
    let (file, whole) = (folder.path().join("cut.wasm"), std::fs::read(guest("empty")).unwrap());
    for (length, words) in [(0, "the file is empty"), (300, "unexpected end-of-file"), (5000, "out of bounds")] {
        std::fs::write(&file, &whole[..length]).unwrap();
        end(&mut command([OsStr::new("run"), file.as_os_str()])).refused(&[words]);
    }
}

#[test]
fn an_artefact_that_is_cut_off_or_damaged_is_told_apart_from_one_that_is_not_pinned() {
    let folder = folder();
    let artefact = folder.path().join("empty.cwasm");
    let made = end(command([OsStr::new("compile"), guest("empty").as_os_str()]).arg("-o").arg(&artefact));
    let pinned = grant(&folder, &format!("{{{}}}", made.printed().trim()));
    let whole = std::fs::read(&artefact).unwrap();
    let run = |bytes: &[u8]| {
        std::fs::write(&artefact, bytes).unwrap();
        end(command([OsStr::new("run"), artefact.as_os_str()]).arg("--grant").arg(&pinned))
    };
    for length in [6, 63, 64, 20_000, whole.len() - 1] {
        run(&whole[..length]).refused(&["the artefact is cut off", &format!("has {length} bytes")]);
        end(&mut command([OsStr::new("run"), artefact.as_os_str()])).refused(&["the artefact is cut off"]);
    }
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    run(&damaged).refused(&["the grant pins component.artefactSha256", "was damaged on its way"]);
    run(&whole).printed();
}

#[test]
fn a_compiler_without_memory_names_the_option_that_gives_it_more() {
    let mut run = command([OsStr::new("run"), guest("pod-card").as_os_str()]);
    end(run.args(["--no-cache", "--compiler-memory", "1Mi"])).refused(&["--compiler-memory", "smaller functions"]);
}

#[test]
fn an_import_that_is_not_granted_is_named_with_what_would_grant_it() {
    let ended = end(&mut command([OsStr::new("run"), guest("pod-card").as_os_str()]));
    ended.refused(&["attache:pod/api", "attache:pod/metadata", "add a rule under `api:`"]);
}
