//! A host with a supervisor, a folder of manifests, and a client.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use attache::engine::{Engine, EngineSettings};
use attache::extension::{BufferedOutput, Runtime, RuntimeBuilder};
use attache::policy::ExtensionManifest;
use attache::service::{Definition, State, Status, Supervisor};
use attache::telemetry::NoAudit;
use attache_tests::guest;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// The longest wait for what takes milliseconds on a machine that has nothing else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The output of the guests of all extensions.
#[derive(Clone, Default)]
pub(crate) struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn stream(&self) -> BufferedOutput {
        BufferedOutput::new(self.clone())
    }
}

impl tokio::io::AsyncWrite for Printed {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

/// A folder with the guests in it, and the supervisor that keeps extensions from it.
pub(crate) struct Stage {
    pub(crate) folder: TempDir,
    pub(crate) supervisor: Supervisor,
    pub(crate) printed: Printed,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(change: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["answer", "service"] {
            std::fs::copy(guest(name), folder.path().join(format!("{name}.wasm"))).unwrap();
        }
        let engine = Engine::new(&EngineSettings::default().instances(64)).unwrap();
        let runtime = change(Runtime::builder().engine(engine).audit(Arc::new(NoAudit))).build().unwrap();
        let printed = Printed::default();
        let stream = printed.stream();
        let supervisor = Supervisor::builder(runtime)
            .prepare(move |invocation, _| invocation.named_stdout(stream.clone()).named_stderr(stream.clone()))
            .stop_grace(Duration::from_secs(5))
            .build();
        Self { folder, supervisor, printed }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Returns a definition with this `spec`.
    pub(crate) fn definition(&self, name: &str, spec: &str) -> Definition {
        Definition::new(ExtensionManifest::parse(&manifest(name, spec)).unwrap(), self.folder.path()).unwrap()
    }

    pub(crate) async fn apply(&self, name: &str, spec: &str) {
        self.supervisor.apply(self.definition(name, spec)).await.unwrap();
    }

    pub(crate) fn status(&self, name: &str) -> Option<Status> {
        self.supervisor.statuses().into_iter().find(|status| status.name == name)
    }

    /// Waits until an extension's status is as wanted.
    pub(crate) async fn until(&self, name: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let begun = Instant::now();
        let mut transitions = self.supervisor.transitions();
        loop {
            if let Some(status) = self.status(name).filter(&wanted) {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "{name} is {:?}", self.status(name));
            // A status may change without a transition, as counts do.
            let _ = tokio::time::timeout(Duration::from_millis(20), transitions.recv()).await;
        }
    }

    pub(crate) async fn until_state(&self, name: &str, state: State) -> Status {
        self.until(name, |status| status.state == state).await
    }

    /// Waits until guests have printed this.
    pub(crate) async fn until_printed(&self, words: &str) {
        let begun = Instant::now();
        while !self.printed.text().contains(words) {
            assert!(begun.elapsed() < PATIENCE, "{words:?} is not in {:?}", self.printed.text());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) fn manifest(name: &str, spec: &str) -> String {
    format!("apiVersion: attache.dev/v1alpha1\nkind: Extension\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// Returns a port that is free at this moment.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The answer of a server: the status and the body, which is `None` if the answer broke off.
pub(crate) type Answered = (u16, Option<String>);

/// Asks over TCP, on a connection of its own.
pub(crate) async fn get(port: u16, path: &str) -> Answered {
    send(port, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).await
}

/// Sends a whole request over TCP.
pub(crate) async fn send(port: u16, request: &str) -> Answered {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    read(&mut stream).await
}

/// Asks over a Unix socket.
pub(crate) async fn get_unix(socket: &Path, path: &str) -> Answered {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read(&mut stream).await
}

async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> Answered {
    let mut bytes = Vec::new();
    let whole = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().is_ok();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return (status, whole.then(|| body.to_owned()));
    }
    (status, unchunked(body))
}

/// Returns the body of an answer in chunks, or `None` if the last chunk is missing.
fn unchunked(mut body: &str) -> Option<String> {
    let mut whole = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.push_str(rest.get(..length)?);
        body = rest.get(length..)?.strip_prefix("\r\n")?;
    }
}
