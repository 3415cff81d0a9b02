//! The real `kubectl` through the proxy. Where there is none, the tests say so and pass.

use std::process::{Command, Output, Stdio};

use crate::world::{Proxy, World, within};

const OBJECTS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: colours, labels: {app: web}}
data: {sky: blue}
---
apiVersion: v1
kind: Pod
metadata: {name: talker, annotations: {devcluster.attache.dev/log: "first\nsecond\n"}}
spec: {containers: [{name: main, image: "registry.invalid/talker:1"}]}
"#;

pub(crate) fn installed() -> bool {
    attache_built::kubectl::program().unwrap().is_some()
}

pub(crate) fn kubectl() -> Command {
    Command::new(attache_built::kubectl::program().unwrap().unwrap())
}

fn command(world: &World, server: &str, arguments: &[&str]) -> Command {
    let mut command = kubectl();
    command.arg(format!("--server={server}")).args(arguments);
    command.env("HOME", world.folder.path()).env("KUBECONFIG", world.path("no-such-config"));
    command
}

fn output(world: &World, server: &str, arguments: &[&str]) -> Output {
    let mut command = command(world, server, arguments);
    within(move || command.output().unwrap())
}

fn run(world: &World, proxy: &Proxy, arguments: &[&str]) -> String {
    let output = output(world, &proxy.url(), arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "kubectl {arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn kubectl_works_through_it() {
    if !installed() {
        return;
    }
    let world = World::new();
    let proxy = world.open();
    let file = world.path("objects.yaml");
    let apply = |text: &str| {
        std::fs::write(&file, text).unwrap();
        run(&world, &proxy, &["apply", "-f", file.to_str().unwrap()])
    };
    assert!(apply(OBJECTS).contains("configmap/colours created"));
    assert!(apply(OBJECTS).lines().all(|line| line.ends_with("unchanged")));
    assert!(apply(&OBJECTS.replace("blue", "grey")).contains("configmap/colours configured"));
    assert!(run(&world, &proxy, &["get", "cm", "-l", "app=web", "-o", "wide"]).contains("colours"));
    assert!(run(&world, &proxy, &["get", "cm", "colours", "-o", "yaml"]).contains("sky: grey"));
    assert!(run(&world, &proxy, &["describe", "pod", "talker"]).contains("registry.invalid/talker:1"));
    assert_eq!(run(&world, &proxy, &["logs", "talker"]), "first\nsecond\n");
    assert!(run(&world, &proxy, &["version"]).contains("Server Version"));
    assert!(run(&world, &proxy, &["api-resources"]).contains("configmaps"));
    let deleted = run(&world, &proxy, &["delete", "-f", file.to_str().unwrap()]);
    assert_eq!(deleted.lines().count(), 2, "{deleted}");
}

#[test]
fn kubectl_watches_through_it() {
    if !installed() {
        return;
    }
    let world = World::new();
    let proxy = world.open();
    let mut watching =
        command(&world, &proxy.url(), &["get", "configmaps", "--watch", "-o", "name", "--request-timeout=5s"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
    let out = watching.stdout.take().unwrap();
    let seen = |wanted: &'static str, out: std::process::ChildStdout| {
        within(move || {
            use std::io::BufRead;
            let mut lines = std::io::BufReader::new(out);
            loop {
                let mut line = String::new();
                assert!(lines.read_line(&mut line).unwrap() > 0, "{wanted} comes");
                if line.contains(wanted) {
                    return;
                }
            }
        });
    };
    world.config_map("news", &serde_json::json!({}));
    seen("configmap/news", out);
    watching.kill().ok();
    watching.wait().unwrap();
}

#[test]
fn kubectl_tells_what_the_filter_refuses() {
    if !installed() {
        return;
    }
    let world = World::new();
    let proxy = world.open();
    let file = world.path("objects.yaml");
    std::fs::write(&file, OBJECTS).unwrap();
    run(&world, &proxy, &["apply", "-f", file.to_str().unwrap()]);
    for arguments in [&["exec", "talker", "--", "ls"][..], &["attach", "talker"]] {
        let refused = output(&world, &proxy.url(), arguments);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        let told = error.contains("Forbidden by the proxy, its path is rejected by the filter (--reject-paths)");
        assert!(!refused.status.success() && told, "{arguments:?}: {error}");
    }
}

#[test]
fn kubectl_tells_what_a_grant_refuses() {
    if !installed() {
        return;
    }
    let world = World::new();
    let spec = "{api: [{apiGroups: [''], resources: [configmaps, pods], verbs: [get, list], namespaces: [default]}]}";
    let place = format!("/reader={}", world.grant("reader", spec).display());
    let proxy = world.start(&["--port=0", "--grant", &place]);
    let server = format!("{}/reader", proxy.url());
    let listed = output(&world, &server, &["get", "cm", "-o", "name"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("configmap/kube-root-ca.crt"));
    for (arguments, told) in [
        (&["get", "secrets"][..], "list secrets in namespace default is not granted; it needs the rule"),
        (&["get", "cm", "--all-namespaces"], "namespaces: [\"*\"]"),
        (&["delete", "cm", "kube-root-ca.crt"], "verbs: [delete]"),
        (&["get", "cm", "--as=admin"], "impersonate-user asks on behalf of another"),
        (&["create", "cm", "x"], "verbs: [create]"),
    ] {
        let refused = output(&world, &server, arguments);
        let error = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && error.contains(told), "{arguments:?}: {error}");
    }
}
