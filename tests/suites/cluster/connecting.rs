//! The search for the server, trust in it, and errors that name what is missing.

use std::sync::Arc;

use attache::cluster::{
    ApiClient, ApiClientSettings, ClusterError, ConnectError, Endpoint, Payload, StreamBody, Unavailable,
};
use attache::credentials::ServiceAccount;
use attache::telemetry::ToTracing;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::scripted::{Authority, Scripted, answer, ok};
use super::{Client, chain, pod_settings, service_account};

fn connect_error(settings: ApiClientSettings) -> String {
    chain(&ApiClient::connect(settings).unwrap_err())
}

#[tokio::test]
async fn outside_a_pod_it_says_what_it_looked_for() {
    let empty = TempDir::new().unwrap();
    let account = ServiceAccount::at(empty.path());
    let Err(error) = ApiClientSettings::in_cluster(|_| None, account, Arc::new(ToTracing)) else {
        panic!("this is no pod")
    };
    let text = error.to_string();
    assert!(text.starts_with("not in a cluster: looked for KUBERNETES_SERVICE_HOST"), "{text}");
    assert!(text.contains(&empty.path().join("token").display().to_string()), "{text}");
}

#[tokio::test]
async fn in_a_pod_it_takes_the_variables_and_the_volume() {
    let authority = Authority::new();
    let dir = service_account("t", authority.pem());
    let variable = |name: &str| Some(if name.ends_with("HOST") { "10.1.2.3" } else { "6443" }.to_owned());
    let settings =
        ApiClientSettings::in_cluster(variable, ServiceAccount::at(dir.path()), Arc::new(ToTracing)).unwrap();
    let cluster = ApiClient::connect(settings).unwrap();
    assert_eq!(cluster.endpoint().to_string(), "https://10.1.2.3:6443");
}

#[tokio::test]
async fn a_missing_token_is_told_with_its_path() {
    let dir = service_account("t", Authority::new().pem());
    std::fs::remove_file(dir.path().join("token")).unwrap();
    let text = connect_error(pod_settings("https://10.0.0.1", dir.path(), Arc::new(ToTracing)));
    assert!(
        text.contains(&format!("no token at {}/token: is automountServiceAccountToken off?", dir.path().display()))
    );
}

#[tokio::test]
async fn roots_that_are_missing_or_no_certificates_are_told() {
    let without = ApiClientSettings::new(Endpoint::given("https://10.0.0.1").unwrap(), Arc::new(ToTracing));
    assert!(matches!(ApiClient::connect(without), Err(ConnectError::NoRoots { .. })));
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let dir = service_account("t", pem);
    let text = connect_error(pod_settings("https://10.0.0.1", dir.path(), Arc::new(ToTracing)));
    assert!(text.contains("ca.crt cannot be used: a certificate in it is not valid"), "{text}");
}

#[test]
fn a_client_may_be_made_before_and_outlive_a_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let serving = tokio::runtime::Runtime::new().unwrap();
    let server = serving.block_on(Scripted::plain(|_, _| ok("{}")));
    let client = Client::plain(&server.url);
    for _ in 0..3 {
        runtime().block_on(client.cluster.fetch(client.get(), Payload::none())).unwrap();
    }
    assert_eq!(server.heads().len(), 3);
}

#[tokio::test]
async fn a_refused_connection_is_told_with_its_address() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::plain(&format!("http://{address}"));
    let error = client.cluster.fetch(client.get(), Payload::none()).await.unwrap_err();
    assert!(chain(&error).contains(&format!("connection refused at {address}")), "{}", chain(&error));
    assert_eq!(error.guest_text(), "the API server cannot be reached");
    assert_eq!(client.records.lines(), [(super::POD.to_owned(), None, 0)]);
}

#[tokio::test]
async fn a_name_without_address_is_told() {
    // No name below `invalid` has an address (RFC 6761).
    let host = "no-such-host.invalid";
    let dir = service_account("t", Authority::new().pem());
    let client = Client::pod(&format!("https://{host}"), dir.path());
    let error = client.cluster.fetch(client.get(), Payload::none()).await.unwrap_err();
    assert!(chain(&error).contains(&format!("no address for the API server's name {host}")), "{}", chain(&error));
}

#[tokio::test]
async fn another_ca_is_not_trusted_and_the_file_is_named() {
    let server = Scripted::tls(&Authority::new(), |_, _| ok("{}")).await;
    let dir = service_account("t", Authority::new().pem());
    let client = Client::pod(&server.url, dir.path());
    let error = client.cluster.fetch(client.get(), Payload::none()).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains(&format!("not trusted by {}/ca.crt", dir.path().display())), "{text}");
    assert_eq!(error.guest_text(), "no secure connection with the API server");
    assert_eq!(server.heads(), [""; 0]);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_not_trusted() {
    let authority = Authority::new();
    let server = Scripted::tls(&authority, |_, _| ok("{}")).await;
    server.present(authority.acceptor("another.example"));
    let dir = service_account("t", authority.pem());
    let client = Client::pod(&server.url, dir.path());
    let error = client.cluster.fetch(client.get(), Payload::none()).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(Unavailable::Certificate { .. })), "{error:?}");
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        // The handshake has to see this before the end of the connection.
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    });
    let dir = service_account("t", Authority::new().pem());
    let client = Client::pod(&url, dir.path());
    let error = client.cluster.fetch(client.get(), Payload::none()).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(Unavailable::Tls { .. })), "{error:?}");
}

/// A server that was asked once and has a certificate of another authority since, and a client whose `ca.crt` does not
/// have that authority yet.
struct Rotated {
    server: Scripted,
    dir: TempDir,
    client: Client,
    new: Authority,
}

impl Rotated {
    async fn new() -> Self {
        let (old, new) = (Authority::new(), Authority::new());
        // Every answer ends its connection, so that each request makes a new handshake.
        let server = Scripted::tls(&old, |_, _| answer("200 OK", "Connection: close\r\n", "{}")).await;
        let dir = service_account("t", old.pem());
        let client = Client::pod(&server.url, dir.path());
        client.cluster.fetch(client.get(), Payload::none()).await.unwrap();
        server.present(new.acceptor("127.0.0.1"));
        Self { server, dir, client, new }
    }

    /// Sends one more request.
    async fn post(&self, payload: Payload) -> Result<(), ClusterError> {
        let permit = self.client.permit(&http::Method::POST, super::PODS);
        self.client.cluster.fetch(permit, payload).await.map(drop)
    }

    fn write_ca(&self) {
        std::fs::write(self.dir.path().join("ca.crt"), self.new.pem()).unwrap();
    }
}

#[tokio::test]
async fn a_rotated_ca_is_found_at_once_and_without_a_restart() {
    let rotated = Rotated::new().await;
    let error = rotated.post(Payload::none()).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(Unavailable::Certificate { .. })), "{error:?}");
    rotated.write_ca();
    rotated.post(Payload::none()).await.unwrap();
}

#[tokio::test]
async fn a_body_that_streams_is_sent_whole_although_the_ca_has_rotated() {
    let rotated = Rotated::new().await;
    rotated.write_ca();
    let body = "{\"kind\": \"Pod\"}";
    rotated.post(Payload::none().stream(StreamBody::new(body.to_owned()))).await.unwrap();
    let heads = rotated.server.heads();
    assert!(heads.last().unwrap().contains(&format!("content-length: {}", body.len())), "{heads:?}");
}

#[tokio::test]
async fn a_broken_ca_file_leaves_the_last_good_one_in_use() {
    let authority = Authority::new();
    let server = Scripted::tls(&authority, |_, _| ok("{}")).await;
    let dir = service_account("t", authority.pem());
    let client = Client::pod(&server.url, dir.path());
    std::fs::write(dir.path().join("ca.crt"), "rubbish").unwrap();
    client.cluster.fetch(client.get(), Payload::none()).await.unwrap();
    std::fs::remove_file(dir.path().join("ca.crt")).unwrap();
    client.cluster.fetch(client.get(), Payload::none()).await.unwrap();
}

#[tokio::test]
async fn no_token_is_sent_without_tls() {
    let server = Scripted::plain(|_, _| ok("{}")).await;
    let dir = service_account("secret", "");
    let client = Client::pod(&server.url, dir.path());
    client.cluster.fetch(client.get(), Payload::none()).await.unwrap();
    assert!(!server.heads()[0].contains("authorization"), "{:?}", server.heads());
}
