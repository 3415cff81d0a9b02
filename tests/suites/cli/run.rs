//! `attache run`: exit codes, and a pod laid out by hand.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use attache_devcluster::{DevCluster, DevClusterSettings, manifest as manifests};
use attache_tests::guest;
use attache_tests::pod::{PodTree, Volume};
use serde_json::Value;

use super::{Going, cache, command, end, folder, grant, manifest};

#[test]
fn without_a_grant_a_guest_has_arguments_and_output_and_nothing_else() {
    let mut run = command([OsStr::new("run"), guest("env-args-stdio").as_os_str(), OsStr::new("--")]);
    let ended = end(run.args(["one", "two"]).env("SECRET", "hidden"));
    assert_eq!(ended.printed(), "argument one\nargument two\n");
    assert_eq!(ended.err, "env-args-stdio| done\n");
}

#[test]
fn the_exit_code_says_who_ended_the_guest() {
    let folder = folder();
    let short = grant(&folder, "{limits: {deadline: 1s}}");
    let run = |name: &str| command([OsStr::new("run"), guest(name).as_os_str()]);
    assert_eq!(end(run("exit-code").args(["--", "exactly", "3"])).code, Some(3));
    assert_eq!(end(run("exit-code").args(["--", "3"])).code, Some(1), "all that std of Rust says through WASI 0.2");
    let late = end(run("sleep-long").arg("--grant").arg(&short));
    assert_eq!(late.code, Some(124));
    assert!(late.err.contains("deadline of 1s") && late.err.contains("limits.deadline"), "{}", late.err);
    let spinning = end(&mut run("spin"));
    assert_eq!(spinning.code, Some(124));
    assert!(spinning.err.contains("limits.cpu"), "{}", spinning.err);
    let trapped = end(run("trap").args(["--", "abort"]));
    assert_eq!(trapped.code, Some(126));
    assert!(trapped.err.contains("trapped"), "{}", trapped.err);
}

#[test]
fn a_signal_ends_the_guest_and_the_host() {
    let folder = folder();
    let long = grant(&folder, "{limits: {deadline: 1h}}");
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut run = command([OsStr::new("run"), guest("sleep-long").as_os_str()]);
        let run = Going::start(run.arg("--grant").arg(&long));
        run.line(|line| line == "sleeping");
        run.signal(signal);
        assert_eq!(run.code(), Some(code));
    }
}

/// Loops within loops over thousands of locals: its machine code takes half a minute to make.
fn long_to_compile() -> Vec<u8> {
    let locals = " i32".repeat(49_000);
    let begin: String =
        (0..2000).map(|at| format!("loop local.get {at} i32.const 1 i32.add local.set {} ", at + 1)).collect();
    let end: String = (0..2000).map(|at| format!("local.get {at} br_if 0 end ")).collect();
    wat::parse_str(format!("(component (core module (func (local{locals}) {begin}{end})))")).unwrap()
}

/// Returns the processes that a process has started and not waited for.
fn children(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of =
        |thread: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(thread.ok()?.path().join("children")).ok();
    threads
        .filter_map(of)
        .flat_map(|all| all.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_signal_ends_the_host_while_it_compiles_and_the_compiler_too() {
    let folder = folder();
    let component = folder.path().join("long.wasm");
    std::fs::write(&component, long_to_compile()).unwrap();
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let run = Going::start(&mut command([OsStr::new("run"), component.as_os_str()]));
        let compiler = loop {
            match children(run.pid).first() {
                Some(child) => break *child,
                None => std::thread::yield_now(),
            }
        };
        run.signal(signal);
        assert_eq!(run.code(), Some(code));
        while std::path::Path::new(&format!("/proc/{compiler}")).exists() {
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_scraper_sees_what_an_extension_does_while_it_runs() {
    let (pod, folder) = (ByHand::new(), folder());
    let spec = "{podinfo: {}, credentials: scoped, limits: {deadline: 1h}, \
                api: [{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [default]}]}";
    let mut run = pod.run("sleep-long");
    let run = run.arg("--grant").arg(grant(&folder, spec)).args(["--audit=none", "--metrics=127.0.0.1:0"]);
    let run = Going::start_quiet(run);
    let line = run.line(|line| line.starts_with("Metrics at "));
    let address = line.strip_prefix("Metrics at http://").and_then(|url| url.strip_suffix("/metrics")).unwrap();
    let mut scraper = TcpStream::connect(address).unwrap();
    scraper.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    scraper.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    // What the host asks for itself at its start, and the figures of what is watched.
    let asked = "attache_requests_total{extension=\"attache\",way=\"host\",verdict=\"allowed\",status=\"2xx\"} ";
    for series in [asked, "attache_watches 0", "attache_followers 0", "attache_watched_bytes 0", "# EOF"] {
        assert!(text.contains(series), "{series} is not in\n{text}");
    }
    run.signal("TERM");
    assert_eq!(run.code(), Some(143));
}

/// An API server with the demo's objects, and a pod's directories as a kubelet would have laid them out for it.
pub(crate) struct ByHand {
    pub(crate) cluster: DevCluster,
    pub(crate) tree: PodTree,
    pub(crate) account: Volume,
}

impl ByHand {
    pub(crate) fn new() -> Self {
        let cluster = DevCluster::start(DevClusterSettings::default()).unwrap();
        let files = ["access.yaml", "workloads.yaml", "pod.yaml"].map(|file| manifest("demo").join(file));
        let objects = manifests::load(files).unwrap();
        cluster.load(objects.into_iter().map(manifests::Document::into_object)).unwrap();
        let tree = PodTree::new().unwrap();
        tree.podinfo(&[("labels", "rack=\"rack-22\"\nzone=\"here\""), ("annotations", "build=\"two\"")]).unwrap();
        let token = cluster.token_for("default", "pod-card", Duration::from_secs(600)).unwrap();
        let account = tree.service_account(&token, &cluster.ca_pem(), "default").unwrap();
        Self { cluster, tree, account }
    }

    /// Puts other credentials in place of the pod's.
    pub(crate) fn give(&mut self, token: &str, ca_pem: &str) {
        self.account.swap(&[("token", token), ("ca.crt", ca_pem), ("namespace", "default")]).unwrap();
    }

    /// Returns the command `attache run` in that pod, with a pod's variables, and flags for paths that differ here.
    pub(crate) fn run(&self, name: &str) -> std::process::Command {
        let root = self.tree.root();
        let mut run = command([OsStr::new("run"), guest(name).as_os_str()]);
        run.env("POD_NAME", "kubernetes-downwardapi-volume-example").env("POD_NAMESPACE", "default");
        let address = self.cluster.address();
        run.env("KUBERNETES_SERVICE_HOST", address.ip().to_string());
        run.env("KUBERNETES_SERVICE_PORT", address.port().to_string());
        run.arg("--podinfo").arg(root.join("etc/podinfo"));
        run.arg("--service-account").arg(root.join("var/run/secrets/kubernetes.io/serviceaccount"));
        run
    }
}

const CARD: &str = "
  podinfo: {mountPath: /etc/podinfo}
  env: [POD_NAME, POD_NAMESPACE]
  api:
  - {apiGroups: ['', apps, batch], resources: [pods, deployments, jobs], verbs: [get, list]}
  limits: {deadline: 1m, cpu: 30s}";

#[test]
fn an_extension_sees_a_pod_that_was_laid_out_by_hand() {
    let (pod, folder) = (ByHand::new(), folder());
    let audit = folder.path().join("audit.jsonl");
    let mut run = pod.run("pod-card");
    let ended = end(run.arg("--grant").arg(grant(&folder, CARD)).arg("--audit").arg(&audit));
    let card = ended.printed();
    for line in ["kubernetes-downwardapi-volume-example", "rack  rack-22", "migrate-schema  1/1", "worker  1/2"] {
        assert!(card.contains(line), "{line:?} is not in:\n{card}");
    }
    let lines = std::fs::read_to_string(&audit).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let jobs = lines.iter().find(|line| line["resource"] == "jobs").unwrap();
    assert_eq!((&jobs["extension"], &jobs["way"], &jobs["verb"]), (&"tried".into(), &"api".into(), &"list".into()));
    assert_eq!(
        (&jobs["verdict"], &jobs["status"], &jobs["namespace"]),
        (&"allowed".into(), &200.into(), &"default".into())
    );
    assert!(jobs["bytes"].as_u64().unwrap() > 100 && jobs["time"].is_string(), "{jobs}");
}

#[test]
fn what_a_grant_does_not_open_is_denied_with_the_rule_that_would_and_recorded() {
    let (pod, folder) = (ByHand::new(), folder());
    let audit = folder.path().join("audit.jsonl");
    let spec = "{podinfo: {}, env: [POD_NAMESPACE], api: [{apiGroups: [''], resources: [pods], verbs: [list]}]}";
    let ended = end(pod.run("pod-card").arg("--grant").arg(grant(&folder, spec)).arg("--audit").arg(&audit));
    let card = ended.printed();
    assert!(card.contains("web-6d4cf56db6-9kqzt") && !card.contains("migrate-schema"), "{card}");
    assert!(card.contains("jobs") && card.contains("batch"), "the rule:\n{card}");
    let lines = std::fs::read_to_string(&audit).unwrap();
    assert!(lines.contains("\"denied\""), "{lines}");
}

#[test]
fn the_servers_own_refusal_reaches_the_guest() {
    let (mut pod, folder) = (ByHand::new(), folder());
    let token = pod.cluster.token_for("default", "default", Duration::from_secs(600)).unwrap();
    let ca = pod.cluster.ca_pem();
    pod.give(&token, &ca);
    let ended = end(pod.run("pod-card").arg("--grant").arg(grant(&folder, CARD)).args(["--audit", "none"]));
    let card = ended.printed();
    assert!(
        card.contains("cannot list resource \"jobs\" in API group \"batch\" in the namespace \"default\""),
        "{card}"
    );
}

#[test]
fn a_second_run_takes_the_compiled_guest_from_the_cache() {
    let folder = folder();
    let run = || {
        let mut run = command([OsStr::new("run"), guest("empty").as_os_str()]);
        run.arg("--cache").arg(folder.path()).env_remove("ATTACHE_CACHE");
        run
    };
    let kept = || std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    end(&mut run()).printed();
    let first = kept();
    assert!(!first.is_empty());
    end(&mut run()).printed();
    assert_eq!(first, kept());
    let none =
        end(command([OsStr::new("run"), guest("empty").as_os_str(), OsStr::new("--no-cache")])
            .env_remove("ATTACHE_CACHE"));
    assert_eq!(none.code, Some(0));
    assert!(cache().is_dir());
}

#[test]
fn a_cache_for_all_runs_is_not_for_one_that_wants_none() {
    let folder = folder();
    let run = |flags: &[&str]| {
        let mut run = command([OsStr::new("run"), guest("empty").as_os_str()]);
        end(run.args(flags).env("ATTACHE_CACHE", folder.path()))
    };
    run(&["--no-cache"]).printed();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    run(&[]).printed();
    assert_ne!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    assert_eq!(run(&["--no-cache", "--cache", "elsewhere"]).code, Some(2), "both on one command line");
}

#[test]
fn a_filter_that_mutes_all_because_it_names_nothing_is_refused() {
    for filter in ["json", "verbose,warn", "atache=debug", "hyper=info"] {
        let ended = end(command([OsStr::new("run"), guest("empty").as_os_str()]).args(["--log", filter]));
        ended.ended_with(2, &["--log", "nothing here logs as", "attache=debug,warn"]);
    }
    for filter in ["warn", "off", "attache=debug,warn", "info,attache::limits=off"] {
        end(command([OsStr::new("run"), guest("empty").as_os_str()]).args(["--log", filter])).printed();
    }
}
