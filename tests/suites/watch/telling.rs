//! The log lines of the binary on a watch that is interrupted.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use attache_devcluster::Fault;
use attache_tests::{attache, guest};

use super::{ARTEFACTS, MAPS, SOON, World, all_maps};

/// Ends the process, also when its test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs `watch-calls` in the pod until there is a config map `zz`. Returns the log of the host.
fn run(world: &World) -> (Running, mpsc::Receiver<String>) {
    let grant = world.account.path().join("grant.yaml");
    let text =
        format!("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {{name: tried}}\nspec: {}\n", all_maps());
    std::fs::write(&grant, text).unwrap();
    let mut command = Command::new(attache());
    command.env_clear().env("ATTACHE_CACHE", ARTEFACTS.path()).arg("run").arg(guest("watch-calls"));
    command.args(["--api-server", &world.server.url(), "--service-account"]).arg(world.account.path());
    command.arg("--grant").arg(grant).args(["--", "picture", "v1/configmaps", "demo", "-", "-", "zz"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        errors.lines().map_while(Result::ok).take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
    });
    (Running(child), lines)
}

#[test]
fn an_interrupted_watch_is_told_once_and_so_is_that_it_goes_on() {
    let world = World::new().with(&["a"]);
    let (mut running, lines) = run(&world);
    // All messages up to that line.
    let until = |wanted: &str| {
        let mut said: Vec<String> = Vec::new();
        while !said.last().is_some_and(|line| line.contains(wanted)) {
            said.push(lines.recv_timeout(SOON).unwrap_or_else(|_| panic!("{wanted} comes after {said:#?}")));
        }
        said
    };
    until(r#""way":"host","verb":"watch""#);
    let faults = world.server.faults();
    faults.always(Fault::Unavailable(None), MAPS);
    faults.reset_connections();
    let interrupted = until("a watch is interrupted").pop().unwrap();
    assert!(
        interrupted.contains("WARN") && interrupted.contains(MAPS) && interrupted.contains("since="),
        "{interrupted}"
    );
    // One of the refusals belongs to the next attempt, which is not logged.
    let refused = r#""status":503"#;
    let mut said = [until(refused), until(refused)].concat();
    faults.clear();
    said.extend(until("a watch goes on"));
    assert!(!said.iter().any(|line| line.contains("a watch is interrupted")), "{said:#?}");
    let on = said.pop().unwrap();
    assert!(on.contains("WARN") && on.contains(MAPS) && on.contains("after="), "{on}");
    world.set("zz", "1");
    assert!(running.0.wait().unwrap().success());
}
