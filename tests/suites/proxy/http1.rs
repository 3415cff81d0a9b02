//! A client that sends exactly the bytes of a test, and returns exactly the bytes of the answer.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// The longest wait for a piece of an answer.
const PATIENCE: Duration = Duration::from_mins(1);

/// The address of a proxy or of the API server itself.
#[derive(Clone, Debug)]
pub(crate) enum At {
    Tcp(String),
    Unix(PathBuf),
    /// The API server, and the certificate of its authority in PEM.
    Tls(String, String),
}

/// A connection.
trait Duplex: Read + Write {}

impl<T: Read + Write> Duplex for T {}

/// An answer whose body is still to come.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    reader: BufReader<Box<dyn Duplex>>,
}

impl At {
    fn connect(&self) -> Box<dyn Duplex> {
        let tcp = |address: &String| {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        match self {
            Self::Tcp(address) => Box::new(tcp(address)),
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                Box::new(stream)
            }
            Self::Tls(address, ca) => Box::new(StreamOwned::new(session(ca), tcp(address))),
        }
    }

    /// Sends a request line such as `GET /api`, headers such as `Accept: a/b`, and a body. `Host` is `localhost` unless
    /// the headers have one.
    pub(crate) fn send(&self, line: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut connection = self.connect();
        let mut head = format!("{line} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            head.push_str("Host: localhost\r\n");
        }
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        if !body.is_empty() {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        connection.write_all(&[head.as_bytes(), b"\r\n", body].concat()).unwrap();
        Answer::read(BufReader::new(connection))
    }

    /// Status and text of the answer to a GET.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let answer = self.send(&format!("GET {path}"), &[], b"");
        (answer.status, answer.text())
    }
}

/// Returns a TLS connection that trusts this authority.
fn session(ca: &str) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from("127.0.0.1").unwrap()).unwrap()
}

impl Answer {
    fn read(mut reader: BufReader<Box<dyn Duplex>>) -> Self {
        let first = line(&mut reader);
        let status = first.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {first:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let header = line(&mut reader);
            let Some((name, value)) = header.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Self { status, headers, reader }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn is_chunked(&self) -> bool {
        self.header("transfer-encoding") == Some("chunked")
    }

    /// Returns the next chunk as it was sent; `None` after the last one. Panics when the connection ends before.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        assert!(self.is_chunked(), "{:?}", self.headers);
        let size = usize::from_str_radix(&line(&mut self.reader), 16).expect("the size of a chunk");
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        if self.is_chunked() {
            while let Some(chunk) = self.chunk() {
                all.extend(chunk);
            }
        } else if let Some(length) = self.header("content-length").map(|length| length.parse().unwrap()) {
            all.resize(length, 0);
            self.reader.read_exact(&mut all).unwrap();
        } else {
            self.reader.read_to_end(&mut all).unwrap();
        }
        all
    }

    pub(crate) fn text(self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

fn line(reader: &mut BufReader<Box<dyn Duplex>>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end().to_owned()
}
