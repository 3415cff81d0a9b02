//! Guests that want out of their mounts, to change them, or onto the network.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attache::policy::Limit;

use super::stage::{LABELS, Stage, opening, run};
use super::{Attack, attacks};

pub(crate) const ALL: &[Attack] = attacks! {
    "escape by name, link and `..`" => escape,
    "escape while the volume is swapped" => race,
    "writes to a read-only mount" => writes,
    "flood of file reads" => flood,
    "file reads beyond the CPU budget" => metered,
    "raw sockets and name look-ups" => sockets,
};

/// Links in the volume that lead out of it.
async fn escape(stage: Arc<Stage>) -> String {
    let link = |to: &str, name: &str| symlink(to, stage.podinfo.join(name)).unwrap();
    let links = [
        ("../outside", "out"),
        ("/etc/passwd", "passwd"),
        ("/proc/self/environ", "environ"),
        ("..data/../../outside", "far"),
        ("/", "root"),
        ("loop", "loop"),
        ("/proc/self/fd", "fds"),
    ];
    links.iter().for_each(|(to, name)| link(to, name));
    let extension = stage.guest("escape", "{podinfo: {}, limits: {cpu: 5s, deadline: 30s}}").await;
    let names = links.iter().map(|(_, name)| *name).chain(["root/etc/passwd", "out/", "fds/0", "labels/../out"]);
    let arguments: Vec<_> = ["/etc/podinfo", "--name"].into_iter().chain(names).collect();
    let ran = run(&extension, &arguments).await;
    links.iter().for_each(|(_, name)| std::fs::remove_file(stage.podinfo.join(name)).unwrap());
    let shown: String = ran.out.chars().take(3000).collect();
    assert!(ran.ended.is_ok(), "{} {shown}", ran.out.len());
    let done: Vec<_> = ran.out.lines().filter(|line| line.contains(": done")).collect();
    let beyond = |line: &&&str| !inside(line);
    assert_eq!(done.iter().filter(beyond).count(), 0, "{done:?}");
    format!("{} attempts refused", ran.out.lines().count() - done.len())
}

/// Returns whether what was done is listing directories of the guest's own root.
fn inside(line: &str) -> bool {
    let own = |name: &str| {
        matches!(name, "etc" | "podinfo" | "labels" | "annotations" | "..data") || name.starts_with("..2026")
    };
    let names = line.split_once(": done (").map_or("", |(_, names)| names).replace('\\', "");
    // The text is quoted twice: the names are every second piece between quotes, after the outermost.
    line.starts_with("list ") && names.split('"').skip(2).step_by(2).filter(|name| !name.starts_with(')')).all(own)
}

async fn race(stage: Arc<Stage>) -> String {
    let extension = stage.guest("race", "{podinfo: {}, limits: {cpu: 10s, deadline: 30s}}").await;
    let swaps = swap_for(&stage, Duration::from_millis(1500));
    let (ran, swaps) = tokio::join!(run_race(&extension), swaps);
    assert_eq!(ran.ended.as_ref().unwrap().code, 0);
    let saw: Vec<_> = ran.out.lines().filter_map(|line| line.strip_prefix("saw ")).collect();
    assert!(saw.iter().all(|content| content.starts_with("version=") || content.starts_with("app=")), "{saw:?}");
    assert!(saw.len() > 1, "{saw:?}");
    let looks = ran.out.lines().last().unwrap_or_default().to_owned();
    stage.volume.lock().unwrap().swap(LABELS).unwrap();
    format!("{looks} during {swaps} swaps, nothing else seen")
}

async fn run_race(extension: &super::attacker::Attacker) -> super::stage::Ran {
    run(extension, &["/etc/podinfo", "1500"]).await
}

/// Swaps the volume, and beside that a link that leads out for half of the time.
async fn swap_for(stage: &Arc<Stage>, time: Duration) -> u32 {
    let stage = Arc::clone(stage);
    let swapping = move || {
        let (begun, mut swaps) = (std::time::Instant::now(), 0);
        let leak = stage.podinfo.join("leak");
        while begun.elapsed() < time {
            swaps += 1;
            let text = format!("app=\"web\"\nversion=\"{swaps}\"");
            let files = [("labels", text.as_str()), ("annotations", "note=\"two\"")];
            put_link(&leak, if swaps % 2 == 0 { "../outside" } else { "..data/labels" });
            stage.volume.lock().unwrap().swap(&files).unwrap();
        }
        let _ = std::fs::remove_file(&leak);
        swaps
    };
    tokio::task::spawn_blocking(swapping).await.unwrap()
}

/// Replaces a link atomically.
fn put_link(path: &Path, to: &str) {
    let new = path.with_extension("new");
    symlink(to, &new).unwrap();
    std::fs::rename(&new, path).unwrap();
}

async fn writes(stage: Arc<Stage>) -> String {
    let before = std::fs::read_to_string(stage.podinfo.join("labels")).unwrap();
    let extension = stage.guest("escape", "{podinfo: {}, limits: {cpu: 5s, deadline: 30s}}").await;
    let ran = run(&extension, &["/etc/podinfo"]).await;
    let changes = |line: &&str| !line.starts_with("read ") && !line.starts_with("list ");
    let attempts: Vec<_> = ran.out.lines().filter(changes).collect();
    assert!(attempts.len() > 20, "{attempts:?}");
    assert!(!attempts.iter().any(|line| line.contains(": done")), "{attempts:?}");
    assert_eq!(std::fs::read_to_string(stage.podinfo.join("labels")).unwrap(), before);
    format!("{} attempts refused", attempts.len())
}

async fn flood(stage: Arc<Stage>) -> String {
    let extension = stage.guest("flood", &opening("{deadline: 1s, cpu: 10s}")).await;
    stage.limited(&run(&extension, &["files", "/etc/podinfo/labels"]).await, Limit::Deadline)
}

/// Reads cost the guest's own CPU time. No file is read on a thread that is not metered.
async fn metered(stage: Arc<Stage>) -> String {
    let extension = stage.guest("flood", &opening("{deadline: 60s, cpu: 500ms}")).await;
    stage.limited(&run(&extension, &["files", "/etc/podinfo/labels"]).await, Limit::Cpu)
}

async fn sockets(stage: Arc<Stage>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let extension = stage.guest("sockets", "{}").await;
    let ran = run(&extension, &[&address, "localhost:80", "kubernetes.default.svc:443", "169.254.169.254:80"]).await;
    assert!(ran.out.lines().count() >= 14, "{}", ran.out);
    let raw = ran.out.lines().filter(|line| line.starts_with("raw-udp") && line.contains("refused"));
    assert_eq!(raw.count(), 2, "{}", ran.out);
    // An address that is written in digits needs no look-up, and is no way to anywhere.
    let reached =
        |line: &&str| line.ends_with(": reached") && !line.starts_with("resolve ") && !line.starts_with("udp-bind");
    assert_eq!(ran.out.lines().filter(reached).count(), 0, "{}", ran.out);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody came");
    "refused".to_owned()
}
