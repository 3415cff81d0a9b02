//! `attache proxy` compared with `kubectl proxy` and with the direct connection: requests a second, duration of a
//! request, memory.
//!
//! `cargo bench -p attache --bench proxy` is a program that prints a table. With `-- --quick` it does less of
//! everything, to check that it runs. The server is the devcluster, and the client a bare HTTP/1.1 connection, both in
//! this process; the proxies are processes of their own. The ways take turns, round by round, so that other load on the
//! machine affects all of them. A second table has a server that answers as slowly as a real one.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on may stop")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use attache_devcluster::{DevCluster, DevClusterSettings, Fault};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// The limits are wide, because they are not measured.
const GRANT: &str = "
apiVersion: attache.dev/v1alpha1
kind: Grant
metadata: {name: bench}
spec:
  api: [{apiGroups: [''], resources: [configmaps, pods], verbs: [get, list], namespaces: [default]}]
  limits: {requestsPerSecond: 1000000, burst: 1000000, inFlight: 1000, responseBytes: 64Mi}
";

const SMALL: &str = "/api/v1/namespaces/default/configmaps/colours";
const LIST: &str = "/api/v1/namespaces/default/pods";
const LISTED: usize = 1000;

/// A way to the API server.
#[derive(Clone)]
struct To {
    name: &'static str,
    address: String,
    tls: Option<TlsConnector>,
    authorization: Option<String>,
}

impl To {
    async fn connect(&self) -> SendRequest<Empty<Bytes>> {
        let tcp = TcpStream::connect(&self.address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let Some(tls) = &self.tls else { return begin(tcp).await };
        let host = self.address.rsplit_once(':').unwrap().0.to_owned();
        begin(tls.connect(ServerName::try_from(host).unwrap(), tcp).await.unwrap()).await
    }

    fn request(&self, path: &str) -> Request<Empty<Bytes>> {
        let mut request =
            Request::get(path).header(header::HOST, &self.address).header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.body(Empty::new()).unwrap()
    }

    /// Sends requests on `connections` connections, each request after the answer to the one before. Returns the
    /// duration of each.
    async fn load(&self, path: &'static str, connections: usize, time: Duration) -> Vec<Duration> {
        let mut running = JoinSet::new();
        for _ in 0..connections {
            let (this, mut connection) = (self.clone(), self.connect().await);
            // The first answer of a connection includes its setup.
            this.ask(&mut connection, path).await;
            running.spawn(async move {
                let (begun, mut taken) = (Instant::now(), Vec::new());
                while begun.elapsed() < time {
                    let asked = Instant::now();
                    this.ask(&mut connection, path).await;
                    taken.push(asked.elapsed());
                }
                taken
            });
        }
        running.join_all().await.concat()
    }

    async fn ask(&self, connection: &mut SendRequest<Empty<Bytes>>, path: &str) {
        connection.ready().await.unwrap();
        let answer = connection.send_request(self.request(path)).await.unwrap();
        let status = answer.status();
        let mut body = answer.into_body();
        let mut read = 0;
        while let Some(frame) = body.frame().await {
            read += frame.unwrap().data_ref().map_or(0, Bytes::len);
        }
        assert!(status == 200 && read > 100, "{}: {status}, {read} bytes", self.name);
    }
}

async fn begin<I>(io: I) -> SendRequest<Empty<Bytes>>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A proxy that runs until it is dropped.
struct Proxy {
    child: Child,
    to: To,
}

impl Proxy {
    fn start(name: &'static str, command: &mut Command) -> Option<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("Starting to serve on ").unwrap().to_owned();
        Some(Self { child, to: To { name, address, tls: None, authorization: None } })
    }

    /// Returns a field of the proxy's memory, in MiB.
    fn memory(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

struct Bench {
    cluster: DevCluster,
    direct: To,
    attache: Proxy,
    kubectl: Option<Proxy>,
    _folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let cluster = DevCluster::start(DevClusterSettings::default()).unwrap();
        let colours = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "colours"},
            "data": {"sky": "blue", "grass": "green", "sun": "yellow"}});
        cluster.load((0..LISTED).map(pod).chain([colours])).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (token, ca) = (cluster.admin_token().to_owned(), cluster.ca_pem());
        let path = |name: &str| folder.path().join(name);
        let files = [("token", token.as_str()), ("ca.crt", &ca), ("namespace", "default"), ("grant.yaml", GRANT)];
        for (name, content) in files.into_iter().chain([("config", cluster.kubeconfig().as_str())]) {
            std::fs::write(path(name), content).unwrap();
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let direct = To {
            name: "direct",
            address: cluster.url().trim_start_matches("https://").trim_end_matches('/').to_owned(),
            tls: Some(TlsConnector::from(Arc::new(config))),
            authorization: Some(format!("Bearer {token}")),
        };
        let mut attache = Command::new(env!("CARGO_BIN_EXE_attache"));
        attache.env_clear().args(["proxy", "--port=0", "--audit=none", "--api-server", &cluster.url()]);
        attache.arg("--grant").arg(path("grant.yaml")).arg("--service-account").arg(folder.path());
        let attache = Proxy::start("attache proxy", &mut attache).unwrap();
        let mut kubectl = Command::new("kubectl");
        kubectl.arg("--kubeconfig").arg(path("config")).args(["proxy", "--port=0"]);
        let kubectl = Proxy::start("kubectl proxy", &mut kubectl);
        if kubectl.is_none() {
            println!("kubectl is not installed here: nothing is said of its proxy");
        }
        Self { cluster, direct, attache, kubectl, _folder: folder }
    }

    async fn table(&self, rounds: usize, time: Duration) {
        println!(
            "{:>14}  {:>11}  {:>5}  {:>10}  {:>9}  {:>9}",
            "way", "what", "conns", "requests/s", "p50 µs", "p99 µs"
        );
        for (path, what) in [(SMALL, "ConfigMap"), (LIST, "1,000 pods")] {
            for connections in [1, 16] {
                let ways: Vec<_> = [Some(&self.direct), Some(&self.attache.to), self.kubectl.as_ref().map(|k| &k.to)]
                    .into_iter()
                    .flatten()
                    .collect();
                let mut taken = vec![Vec::new(); ways.len()];
                for _ in 0..rounds {
                    for (way, taken) in ways.iter().zip(&mut taken) {
                        taken.extend(way.load(path, connections, time).await);
                    }
                }
                let whole = time.as_secs_f64() * f64::from(u32::try_from(rounds).unwrap());
                for (way, mut taken) in ways.iter().zip(taken) {
                    taken.sort();
                    let at = |share: usize| taken[(taken.len() * share / 100).min(taken.len() - 1)].as_secs_f64() * 1e6;
                    let rate = f64::from(u32::try_from(taken.len()).unwrap()) / whole;
                    println!(
                        "{:>14}  {what:>11}  {connections:>5}  {rate:>10.0}  {:>9.0}  {:>9.0}",
                        way.name,
                        at(50),
                        at(99)
                    );
                }
            }
        }
        for proxy in [Some(&self.attache), self.kubectl.as_ref()].into_iter().flatten() {
            println!(
                "{:>14}  {:.1} MiB resident, {:.1} MiB at most, {:.1} MiB of it not mapped from a file",
                proxy.to.name,
                proxy.memory("VmRSS"),
                proxy.memory("VmHWM"),
                proxy.memory("RssAnon")
            );
        }
    }
}

fn pod(number: usize) -> Value {
    let labels: serde_json::Map<String, Value> =
        (0..4).map(|label| (format!("example.com/label-{label}"), json!(format!("value-{number}")))).collect();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("pod-{number:05}"), "labels": labels},
        "spec": {"containers": [{"name": "app", "image": "registry.example.com/app:1.0"}]}})
}

#[tokio::main]
async fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, time) = if quick { (1, Duration::from_millis(200)) } else { (5, Duration::from_secs(2)) };
    let bench = Bench::new();
    println!("A server that answers at once:");
    bench.table(rounds, time).await;
    bench.cluster.faults().always(Fault::Latency(Duration::from_millis(1)), "/");
    println!("A server that waits a millisecond before it answers:");
    bench.table(rounds, time).await;
}
