//! `kubectl exec`, `cp`, `attach` and `port-forward` through the proxy, by WebSocket and by SPDY. Where there is no
//! kubectl, the tests say so and pass.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use serde_json::json;
use tokio_rustls::TlsConnector;

use crate::behind::{Server, Stream, header, send, session};
use crate::kubectl::{installed, kubectl};
use crate::world::{Place, Proxy, World, within};

/// The spec of a grant for sessions in the pods of the namespace `default`.
const SESSIONS: &str = "{api: [{apiGroups: [''], resources: [pods], verbs: [get, list], namespaces: [default]}, \
    {apiGroups: [''], resources: [pods/exec, pods/attach, pods/portforward], verbs: [get, create], namespaces: [default]}], \
    limits: {requestsPerSecond: 10000, burst: 10000, inFlight: 64}}";

/// The value that makes kubectl speak WebSocket, and the value that makes it speak SPDY.
const BY_WEBSOCKET: &str = "true";
const BY_SPDY: &str = "false";

struct Stage {
    _world: World,
    _server: Server,
    place: Place,
    proxy: Proxy,
}

impl Stage {
    /// Starts a proxy before a server whose pods have sessions, and whose other answers are the devcluster's.
    fn new(spec: &str) -> Self {
        let world = World::new();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "talker", "namespace": "default"},
            "spec": {"containers": [{"name": "main", "image": "registry.invalid/talker:1"}]},
            "status": {"phase": "Running"}});
        world.cluster.load([pod]).unwrap();
        let (address, ca) = (world.cluster.address().to_string(), world.cluster.ca_pem());
        let server = Server::start(move |head, stream| {
            let (address, ca) = (address.clone(), ca.clone());
            async move {
                if header(&head, "upgrade").is_some() {
                    session::serve(head, stream).await;
                } else {
                    relay(&head, stream, &address, &ca).await;
                }
            }
        });
        let place = server.place_of(world.cluster.admin_token());
        let proxy = place.under(spec, &["--reject-paths="]);
        Self { _world: world, _server: server, place, proxy }
    }

    fn command(&self, by_websocket: &str, arguments: &[&str]) -> Command {
        let mut command = kubectl();
        command.arg(format!("--server={}", self.proxy.url())).args(arguments);
        command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", by_websocket);
        command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", by_websocket);
        command.env("HOME", self.place.folder.path()).env("KUBECONFIG", self.place.path("no-such-config"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn output(&self, by_websocket: &str, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(by_websocket, arguments).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        within(move || child.wait_with_output().unwrap())
    }

    fn run(&self, by_websocket: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.output(by_websocket, arguments, input);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "kubectl {arguments:?}: {told}");
        output.stdout
    }
}

/// Passes one request on to the devcluster.
async fn relay(head: &str, mut stream: Stream, address: &str, ca: &str) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(rustls::pki_types::CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut cluster: Stream =
        Box::new(TlsConnector::from(std::sync::Arc::new(config)).connect(name, tcp).await.unwrap());
    send(&mut cluster, &head.replacen("\r\n", "\r\nConnection: close\r\n", 1)).await;
    let _ = tokio::io::copy_bidirectional(&mut stream, &mut cluster).await;
}

#[test]
fn kubectl_executes_commands() {
    if !installed() {
        return;
    }
    let stage = Stage::new(SESSIONS);
    for protocol in [BY_WEBSOCKET, BY_SPDY] {
        let said = stage.run(protocol, &["exec", "talker", "--", "sh", "-c", "echo out; echo err >&2"], b"");
        assert_eq!(String::from_utf8(said).unwrap(), "out\n");
        let text = "a line\n".repeat(20_000);
        let echoed = stage.run(protocol, &["exec", "-i", "talker", "--", "cat"], text.as_bytes());
        assert!(echoed == text.as_bytes(), "{} of {} bytes", echoed.len(), text.len());
        let failed = stage.output(protocol, &["exec", "talker", "--", "sh", "-c", "exit 3"], b"");
        assert_eq!(failed.status.code(), Some(3), "{}", String::from_utf8_lossy(&failed.stderr));
        let attached = stage.run(protocol, &["attach", "talker"], b"");
        assert_eq!(String::from_utf8(attached).unwrap(), "attached\n");
    }
    for (verb, verdict) in [("get", "begun"), ("get", "allowed"), ("create", "begun"), ("create", "allowed")] {
        let record = stage.place.record(move |record| {
            let bytes = record["sent"].as_u64().is_some_and(|sent| sent > 140_000);
            record["subresource"] == "exec"
                && record["verb"] == verb
                && record["verdict"] == verdict
                && (bytes || verdict == "begun")
        });
        assert_eq!((&record["upgrade"], &record["way"]), (&json!(true), &json!("proxy")), "{record}");
        if verdict == "allowed" {
            assert!(record["status"] == 101 && record["bytes"].as_u64() > Some(140_000), "{record}");
        }
    }
}

#[test]
fn kubectl_copies_files_both_ways() {
    if !installed() {
        return;
    }
    let stage = Stage::new(SESSIONS);
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(stage.place.path("here"), &content).unwrap();
    for (protocol, there) in [(BY_WEBSOCKET, "there"), (BY_SPDY, "there-too")] {
        let folder = stage.place.path(there);
        std::fs::create_dir(&folder).unwrap();
        let pod = format!("talker:{}/", folder.display());
        stage.run(protocol, &["cp", stage.place.path("here").to_str().unwrap(), &pod], b"");
        assert!(std::fs::read(folder.join("here")).unwrap() == content);
        let back = stage.place.path(&format!("back-{there}"));
        stage.run(protocol, &["cp", &format!("{pod}here"), back.to_str().unwrap()], b"");
        assert!(std::fs::read(back).unwrap() == content);
    }
}

#[test]
fn kubectl_forwards_ports() {
    if !installed() {
        return;
    }
    let stage = Stage::new(SESSIONS);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut said = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut said).unwrap();
                write!(stream, "you said {said}").unwrap();
            });
        }
    });
    for protocol in [BY_WEBSOCKET, BY_SPDY] {
        let mut forwarding =
            stage.command(protocol, &["port-forward", "pod/talker", &format!(":{port}")]).spawn().unwrap();
        let mut lines = BufReader::new(forwarding.stdout.take().unwrap()).lines();
        // kubectl prints more lines, and ends if they are not read.
        let (line, _lines) = within(move || (lines.next().expect("it forwards").unwrap(), lines));
        let local: u16 = line.split([':', ' ']).find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        for word in ["one", "two"] {
            let answer = within(move || {
                let mut stream = TcpStream::connect(("127.0.0.1", local)).unwrap();
                writeln!(stream, "{word}").unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            });
            assert_eq!(answer, format!("you said {word}\n"));
        }
        forwarding.kill().unwrap();
        forwarding.wait().unwrap();
    }
    let record = stage.place.record(|record| record["subresource"] == "portforward" && record["verdict"] == "allowed");
    assert_eq!(record["status"], 101, "{record}");
}

#[test]
fn kubectl_tells_which_rule_a_session_needs() {
    if !installed() {
        return;
    }
    let stage = Stage::new(&SESSIONS.replace("pods/exec, pods/attach, pods/portforward", "pods/portforward"));
    for protocol in [BY_WEBSOCKET, BY_SPDY] {
        let refused = stage.output(protocol, &["exec", "talker", "--", "ls"], b"");
        let told = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && told.contains("pods/exec"), "{told}");
    }
}
