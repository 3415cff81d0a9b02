//! A cluster, the volume of an account that may do everything, and proxies before it.

use std::io::{BufRead, BufReader, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use attache_devcluster::{DevCluster, DevClusterSettings};
use attache_tests::attache;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http1::At;

/// The longest that a proxy may take to start or to end.
const PATIENCE: Duration = Duration::from_mins(2);

/// The spec of a grant for everything in the namespace `default`, with limits that no test reaches by chance.
pub(crate) const ALL: &str = "{api: [{apiGroups: ['*'], resources: ['*'], verbs: ['*'], namespaces: [default]}], \
    limits: {requestsPerSecond: 10000, burst: 10000, inFlight: 64}}";

/// A folder with an account's volume, grants and records, and the server that the account is for.
pub(crate) struct Place {
    url: String,
    pub(crate) folder: TempDir,
}

impl Place {
    pub(crate) fn new(url: String, token: &str, ca: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [("token", token), ("ca.crt", ca), ("namespace", "default")] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        Self { url, folder }
    }

    /// Returns a grant in a file.
    pub(crate) fn grant(&self, name: &str, spec: &str) -> PathBuf {
        let file = self.path(&format!("{name}.yaml"));
        let text = format!("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {{name: {name}}}\nspec: {spec}\n");
        std::fs::write(&file, text).unwrap();
        file
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the command `attache proxy` with these arguments, on a free port.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(attache());
        command.env_clear().arg("proxy").args(arguments);
        command.args(["--api-server", &self.url, "--service-account"]).arg(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Proxy {
        Proxy::start(self.command(arguments).args(["--audit"]).arg(self.path("audit.jsonl")))
    }

    /// Returns a proxy on a free port under one grant, with these flags.
    pub(crate) fn under(&self, spec: &str, flags: &[&str]) -> Proxy {
        let grant = self.grant("callers", spec);
        self.start(&[&["--port=0", "--grant", grant.to_str().unwrap()], flags].concat())
    }

    /// Starts a proxy on a free port whose callers may use everything in the namespace `default`.
    pub(crate) fn open(&self) -> Proxy {
        let grant = self.grant("all", ALL);
        self.start(&["--port=0", "--grant", grant.to_str().unwrap()])
    }

    /// Returns the first record that `wanted` accepts. Waits for the record, which another thread writes.
    pub(crate) fn record(&self, wanted: impl Fn(&Value) -> bool + Send + 'static) -> Value {
        let file = self.path("audit.jsonl");
        within(move || {
            loop {
                let text = std::fs::read_to_string(&file).unwrap_or_default();
                // The last line may not be whole yet.
                let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
                let mut lines = whole.lines().map(|line| serde_json::from_str(line).unwrap());
                if let Some(found) = lines.find(&wanted) {
                    return found;
                }
                thread::yield_now();
            }
        })
    }
}

pub(crate) struct World {
    pub(crate) cluster: DevCluster,
    place: Place,
}

impl Deref for World {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl World {
    pub(crate) fn new() -> Self {
        let mut settings = DevClusterSettings::default();
        settings.pod_stop = Duration::ZERO;
        let cluster = DevCluster::start(settings).unwrap();
        let place = Place::new(cluster.url(), cluster.admin_token(), &cluster.ca_pem());
        Self { cluster, place }
    }

    /// Makes a config map in the namespace `default`.
    pub(crate) fn config_map(&self, name: &str, data: &Value) {
        let metadata = json!({"name": name, "namespace": "default"});
        self.cluster
            .load([json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})])
            .unwrap();
    }
}

/// Waits on a thread of its own, so that what hangs fails its test instead of all.
#[track_caller]
pub(crate) fn within<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(wait()));
    receiver.recv_timeout(PATIENCE).expect("it takes no longer than that")
}

/// A proxy that runs.
pub(crate) struct Proxy {
    child: Option<Child>,
    pub(crate) pid: u32,
    lines: mpsc::Receiver<String>,
    pub(crate) at: At,
}

impl Proxy {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::of(command.stderr(Stdio::inherit()).spawn().unwrap())
    }

    /// Returns a proxy that was started, whose stdout names its address.
    pub(crate) fn of(mut child: Child) -> Self {
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            out.lines().map_while(Result::ok).take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        let mut proxy = Self { pid: child.id(), child: Some(child), lines, at: At::Tcp(String::new()) };
        proxy.at = proxy.next();
        proxy
    }

    /// Returns the socket that the next line names.
    #[track_caller]
    pub(crate) fn next(&self) -> At {
        let line = self.lines.recv_timeout(PATIENCE).expect("it says where it listens");
        let place = line.strip_prefix("Starting to serve on ").unwrap_or_else(|| panic!("{line}"));
        if Path::new(place).is_absolute() { At::Unix(place.into()) } else { At::Tcp(place.to_owned()) }
    }

    pub(crate) fn url(&self) -> String {
        match &self.at {
            At::Tcp(address) => format!("http://{address}"),
            other => panic!("{other:?} has no URL"),
        }
    }

    pub(crate) fn terminate(&self) {
        assert!(Command::new("kill").args(["-s", "TERM", &self.pid.to_string()]).status().unwrap().success());
    }

    pub(crate) fn code(mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        within(move || child.wait().unwrap()).code()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Returns the message of a proxy that does not start.
pub(crate) fn refused(command: &mut Command) -> String {
    let mut child = command.spawn().unwrap();
    let code = child.wait().unwrap().code();
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(matches!(code, Some(125 | 2)), "{code:?}: {text}");
    text
}
