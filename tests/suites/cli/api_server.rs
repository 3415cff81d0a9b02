//! API servers as people reach them: through a kubeconfig, away at the start, or with a part that is down.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use attache_devcluster::{DevCluster, DevClusterSettings};
use attache_tests::guest;
use serde_json::{Value, json};

use super::{Going, command, end, folder, grant};

/// The spec of the grant of these tests.
const READING: &str = r#"{api: [{apiGroups: ["*"], resources: ["*"], verbs: [get, list], namespaces: ["*"]}]}"#;

struct World {
    server: DevCluster,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let server = DevCluster::start(DevClusterSettings::default()).unwrap();
        let map =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "found", "namespace": "default"}});
        server.load([map]).unwrap();
        Self { server, folder: folder() }
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Returns a kubeconfig of an administrator with a client certificate in files beside it, under the context
    /// `by-certificate`.
    fn by_certificate(&self) -> PathBuf {
        let client = self.server.client_certificate("jane", &["system:masters"]).unwrap();
        self.write("ca.crt", self.server.ca_pem());
        self.write("jane.crt", client.certificate_pem);
        self.write("jane.key", client.key_pem);
        let url = self.server.url();
        self.write(
            "by-certificate",
            format!(
                "contexts: [{{name: by-certificate, context: {{cluster: c, user: jane}}}}]\n\
                 clusters: [{{name: c, cluster: {{server: '{url}', certificate-authority: ca.crt}}}}]\n\
                 users: [{{name: jane, user: {{client-certificate: jane.crt, client-key: jane.key}}}}]\n"
            ),
        )
    }

    fn kubeconfig(&self) -> PathBuf {
        self.write("config", self.server.kubeconfig())
    }

    /// Returns the command `attache run` of a guest that reads a config map.
    fn run(&self) -> Command {
        let grant = grant(&self.folder, READING);
        let mut run =
            command([Path::new("run"), &guest("api-calls"), Path::new("--audit=none"), Path::new("--grant"), &grant]);
        run.current_dir(self.folder.path());
        run
    }
}

const CALL: [&str; 5] = ["--", "get", "v1/configmaps", "default", "found"];

#[track_caller]
fn assert_found(run: &mut Command) {
    let ended = end(run.args(CALL));
    let answer: Value = serde_json::from_str(ended.printed()).unwrap();
    assert_eq!(answer["ok"]["metadata"]["name"], "found", "{answer}");
}

#[test]
fn run_asks_as_a_kubeconfig_says() {
    let world = World::new();
    let (token, certificate) = (world.kubeconfig(), world.by_certificate());
    assert_found(world.run().arg("--kubeconfig").arg(&token));
    assert_found(world.run().arg("--kubeconfig").arg("by-certificate").args(["--context", "by-certificate"]));
    // The files of the variable, merged, and the one in the home folder.
    let list = std::env::join_paths([Path::new("missing"), &token, &certificate]).unwrap();
    assert_found(world.run().args(["--context", "by-certificate"]).env("KUBECONFIG", &list));
    assert_found(world.run().args(["--cluster", "devcluster", "--user", "jane"]).env("KUBECONFIG", &list));
    fs::create_dir(world.folder.path().join(".kube")).unwrap();
    world.write(".kube/config", world.server.kubeconfig());
    assert_found(world.run().args(["--user", "admin"]).env("HOME", world.folder.path()));
}

#[test]
fn a_kubeconfig_is_never_taken_unasked_nor_beside_what_it_replaces() {
    let world = World::new();
    let config = world.kubeconfig();
    let unasked = end(world.run().env("KUBECONFIG", &config).args(CALL));
    unasked.refused(&["not in a cluster", "--kubeconfig FILE"]);
    for flag in [["--api-server", "https://127.0.0.1"], ["--service-account", "/tmp"]] {
        let both = end(world.run().arg("--kubeconfig").arg(&config).args(flag).args(CALL));
        assert_eq!(both.code, Some(2), "{}", both.err);
        assert!(both.err.contains("--kubeconfig") && both.err.contains(flag[0]), "{}", both.err);
    }
    let missing = end(world.run().args(["--kubeconfig", "absent"]).args(CALL));
    missing.refused(&["cannot read the kubeconfig absent"]);
    let nowhere = end(world.run().args(["--context", "x"]).args(CALL));
    nowhere.refused(&["no kubeconfig: looked for nothing (HOME is not set)"]);
    let plugin =
        world.write("plugin", world.server.kubeconfig().replace("    token:", "    exec: {command: aws}\n    token:"));
    let refused = end(world.run().arg("--kubeconfig").arg(plugin).args(CALL));
    refused.refused(&["`exec` of the user \"admin\" is not supported", "kubectl create token"]);
    assert!(!refused.err.contains(world.server.admin_token()), "{}", refused.err);
    let volume = world.write(
        "volume.yaml",
        "apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {name: t}\nspec: {credentials: scoped}\n",
    );
    let mut run = command([Path::new("run"), &guest("empty"), Path::new("--grant"), &volume]);
    end(run.arg("--kubeconfig").arg(&config)).refused(&["a kubeconfig has none", "attache dev --kubeconfig"]);
}

#[test]
fn inspect_asks_what_the_user_of_a_kubeconfig_may() {
    let world = World::new();
    let grant = grant(&world.folder, READING);
    let mut inspect = command([Path::new("inspect"), Path::new("--access"), Path::new("--grant"), &grant]);
    let ended = end(inspect.arg("--kubeconfig").arg(world.kubeconfig()));
    assert!(ended.printed().contains(&world.server.url()), "{}", ended.out);
}

/// Sends one request to a server on this machine, and returns the answer.
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn proxy_asks_as_a_kubeconfig_says() {
    let world = World::new();
    world.by_certificate();
    let mut proxy = command(["proxy", "--read-only", "--port", "0", "--audit", "none", "--context", "by-certificate"]);
    let proxy = Going::start(proxy.env("KUBECONFIG", world.folder.path().join("by-certificate")));
    let line = proxy.line(|line| line.contains("Starting to serve on "));
    let answer = get(line.rsplit(' ').next().unwrap(), "/api/v1/namespaces/default/configmaps/found");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"found\""), "{answer}");
    proxy.signal("TERM");
    assert_eq!(proxy.code(), Some(0));
}

/// Answers requests on a thread of its own until the test ends. Requests without an `answer` get none.
fn serve(listener: TcpListener, answer: impl Fn(&str) -> Option<(&'static str, &'static str)> + Send + Sync + 'static) {
    let answer = std::sync::Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            thread::spawn(move || exchange(&stream, &*answer));
        }
    });
}

fn exchange(stream: &TcpStream, answer: &dyn Fn(&str) -> Option<(&'static str, &'static str)>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    while let Some(head) = lines.next() {
        while lines.next().is_some_and(|line| !line.is_empty()) {}
        let Some((status, body)) = answer(head.split(' ').nth(1).unwrap_or_default()) else { continue };
        let length = body.len();
        let retry = if status.starts_with("503") { "Retry-After: 30\r\n" } else { "" };
        let mut stream = stream;
        let sent = write!(stream, "HTTP/1.1 {status}\r\n{retry}Content-Length: {length}\r\n\r\n{body}");
        if sent.is_err() {
            return;
        }
    }
}

/// Returns the discovery of a server whose aggregated API is `metrics.k8s.io`.
fn discovery(path: &str) -> Option<(&'static str, &'static str)> {
    let body = match path {
        "/api" => r#"{"kind":"APIVersions","versions":["v1"]}"#,
        "/api/v1" => {
            r#"{"kind":"APIResourceList","resources":[{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod","verbs":["get","list"]}]}"#
        }
        "/apis" => {
            r#"{"kind":"APIGroupList","groups":[{"name":"metrics.k8s.io","versions":[{"groupVersion":"metrics.k8s.io/v1beta1","version":"v1beta1"}]}]}"#
        }
        _ => return None,
    };
    Some(("200 OK", body))
}

fn bound() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn a_server_that_is_away_is_waited_for_and_has_an_exit_code_of_its_own() {
    let folder = folder();
    let grant = grant(&folder, READING);
    let (listener, address) = bound();
    drop(listener);
    let run = |wait: &[&str]| {
        let mut run =
            command([Path::new("run"), &guest("empty"), Path::new("--audit=none"), Path::new("--grant"), &grant]);
        run.arg(format!("--api-server=http://{address}")).args(wait);
        run
    };
    for wait in [&[][..], &["--wait", "200ms"]] {
        let away = end(&mut run(wait));
        assert_eq!(away.code, Some(75), "{}", away.err);
        assert!(away.err.contains(&format!("connection refused at {address}")), "{}", away.err);
    }
    let waiting = Going::start_quiet(&mut run(&["--wait", "10m"]));
    waiting.line(|line| line.contains(&format!("the API server at http://{address} is waited for")));
    serve(TcpListener::bind(address).unwrap(), discovery);
    assert_eq!(waiting.code(), Some(0));
    // What does not pass is no case for a restart.
    let wrong = end(command([Path::new("run"), &guest("empty"), Path::new("--grant"), &grant])
        .args(["--api-server", "https://127.0.0.1:1"]));
    wrong.refused(&["no token"]);
}

#[test]
fn a_part_of_the_api_that_is_down_costs_nobody_else_anything_and_is_named() {
    let folder = folder();
    let grant = grant(&folder, READING);
    for broken in [None, Some(("503 Service Unavailable", "service unavailable"))] {
        let (listener, address) = bound();
        serve(listener, move |path| discovery(path).or(broken));
        let resolve = |name: &str| {
            let mut run = command([
                Path::new("run"),
                &guest("api-calls"),
                Path::new("--audit=none"),
                Path::new("--grant"),
                &grant,
            ]);
            let ended = end(run.arg(format!("--api-server=http://{address}")).args(["--", "resolve", name]));
            (serde_json::from_str::<Value>(ended.printed()).unwrap(), ended.err)
        };
        let (found, _) = resolve("pods");
        assert_eq!(found["ok"]["of"], "v1/pods", "{broken:?}: {found}");
        let (missing, _) = resolve("nodes.metrics.k8s.io");
        assert_eq!(missing["error"], "unavailable", "{broken:?}: {missing}");
        assert!(missing.to_string().contains("the API group metrics.k8s.io/v1beta1 does not answer"), "{missing}");
    }
}
