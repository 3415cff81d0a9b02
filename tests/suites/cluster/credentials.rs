//! Credentials of other kinds than a pod's, and servers of a kubeconfig.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use attache::cluster::{
    ApiClient, ApiClientSettings, ClusterError, Endpoint, Kubeconfig, KubeconfigChoice, Payload, Unavailable,
};
use attache::credentials::{Credentials, Material};
use attache::telemetry::ToTracing;
use attache_devcluster::{DevCluster, DevClusterSettings};
use http::Method;
use tempfile::TempDir;

use super::scripted::{Authority, Scripted, ok};
use super::{Client, chain, service_account};

/// An empty list.
const EMPTY: &str = "/api/v1/namespaces/empty/pods";

fn server() -> DevCluster {
    DevCluster::start(DevClusterSettings::default()).unwrap()
}

/// Writes the server's CA, and a certificate of a user in this group.
fn write(server: &DevCluster, dir: &Path, group: &str) {
    let client = server.client_certificate("jane", &[group]).unwrap();
    for (file, content) in
        [("ca.crt", server.ca_pem()), ("tls.crt", client.certificate_pem), ("tls.key", client.key_pem)]
    {
        fs::write(dir.join(file), content).unwrap();
    }
}

fn credentials(dir: &Path) -> Credentials {
    let file = |name| Material::file(dir.join(name));
    Credentials::new().authorities(file("ca.crt")).client_certificate(file("tls.crt"), file("tls.key"))
}

fn client(server: &DevCluster, credentials: Credentials) -> Client {
    let url = Endpoint::given(&server.url()).unwrap();
    Client::of(|audit| ApiClientSettings::new(url, audit).credentials(credentials))
}

async fn ask(client: &Client) -> Result<(), ClusterError> {
    client.cluster.fetch(client.permit(&Method::GET, EMPTY), Payload::none()).await.map(drop)
}

#[tokio::test]
async fn a_client_certificate_says_who_asks() {
    let (server, dir) = (server(), TempDir::new().unwrap());
    write(&server, dir.path(), "system:masters");
    ask(&client(&server, credentials(dir.path()))).await.unwrap();
    write(&server, dir.path(), "nobody");
    let refused = ask(&client(&server, credentials(dir.path()))).await.unwrap_err();
    assert!(refused.guest_text().contains("User \"jane\" cannot list resource \"pods\""), "{refused}");
}

#[tokio::test]
async fn a_certificate_and_a_ca_that_rotate_are_taken_without_a_restart() {
    let (server, dir) = (server(), TempDir::new().unwrap());
    write(&server, dir.path(), "system:masters");
    let client = client(&server, credentials(dir.path()));
    ask(&client).await.unwrap();
    server.faults().rotate_ca().unwrap();
    server.faults().reset_connections();
    let error = ask(&client).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(Unavailable::Certificate { .. })), "{error:?}");
    write(&server, dir.path(), "system:masters");
    ask(&client).await.unwrap();
}

#[tokio::test]
async fn half_of_a_new_pair_leaves_the_last_good_one_in_use() {
    let (server, dir) = (server(), TempDir::new().unwrap());
    write(&server, dir.path(), "system:masters");
    let credentials = credentials(dir.path());
    let client = client(&server, credentials.clone());
    ask(&client).await.unwrap();
    let key = fs::read(dir.path().join("tls.key")).unwrap();
    write(&server, dir.path(), "nobody");
    let new = fs::read(dir.path().join("tls.key")).unwrap();
    fs::write(dir.path().join("tls.key"), key).unwrap();
    credentials.expire();
    ask(&client).await.unwrap();
    fs::write(dir.path().join("tls.key"), new).unwrap();
    credentials.expire();
    let refused = ask(&client).await.unwrap_err();
    assert!(
        matches!(&refused, ClusterError::Refused(status) if status.code == 403),
        "the whole pair counts: {refused}"
    );
}

#[test]
fn what_makes_no_client_certificate_is_told() {
    let (server, dir) = (server(), TempDir::new().unwrap());
    let connect = || {
        let url = Endpoint::given(&server.url()).unwrap();
        let settings = ApiClientSettings::new(url, Arc::new(ToTracing)).credentials(credentials(dir.path()));
        chain(&ApiClient::connect(settings).unwrap_err())
    };
    write(&server, dir.path(), "nobody");
    fs::write(dir.path().join("tls.key"), "hunter2").unwrap();
    assert!(connect().contains("no private key"), "{}", connect());
    write(&server, dir.path(), "nobody");
    let key = fs::read(dir.path().join("tls.key")).unwrap();
    write(&server, dir.path(), "nobody");
    fs::write(dir.path().join("tls.key"), key).unwrap();
    assert!(connect().contains("the client certificate cannot be used with its key"), "{}", connect());
    fs::remove_file(dir.path().join("tls.crt")).unwrap();
    assert!(connect().contains(&format!("there is no {}/tls.crt", dir.path().display())), "{}", connect());
    assert!(!connect().contains("hunter2"));
}

#[tokio::test]
async fn a_kubeconfig_has_a_server_its_ca_and_a_user() {
    let (server, dir) = (server(), TempDir::new().unwrap());
    fs::write(dir.path().join("config"), server.kubeconfig()).unwrap();
    let config = Kubeconfig::read(&dir.path().join("config")).unwrap();
    let chosen = config.choose(&KubeconfigChoice::default()).unwrap();
    assert_eq!(chosen.namespace.as_deref(), Some("default"));
    ask(&Client::of(|audit| chosen.settings(audit))).await.unwrap();
    // A token file beside it, which is replaced.
    let written = server.kubeconfig();
    let tokens = written.lines().map(|line| match line.trim_start().strip_prefix("token: ") {
        Some(token) => {
            fs::write(dir.path().join("token"), token).unwrap();
            "    tokenFile: token\n".to_owned()
        }
        None => format!("{line}\n"),
    });
    fs::write(dir.path().join("config"), tokens.collect::<String>()).unwrap();
    let good = fs::read(dir.path().join("token")).unwrap();
    fs::write(dir.path().join("token"), "stale").unwrap();
    let chosen = Kubeconfig::read(&dir.path().join("config")).unwrap().choose(&KubeconfigChoice::default()).unwrap();
    let client = Client::of(|audit| chosen.settings(audit));
    let refused = ask(&client).await.unwrap_err();
    assert!(matches!(&refused, ClusterError::Refused(status) if status.code == 401), "{refused}");
    fs::write(dir.path().join("token"), good).unwrap();
    ask(&client).await.unwrap();
}

#[tokio::test]
async fn the_name_in_the_certificate_may_be_another_than_the_addresss() {
    let authority = Authority::new();
    let server = Scripted::tls(&authority, |_, _| ok("{}")).await;
    server.present(authority.acceptor("kubernetes.example"));
    let dir = service_account("t", authority.pem());
    let named = |name: Option<&str>| {
        Client::of(|audit| super::pod_settings(&server.url, dir.path(), audit).server_name(name.map(str::to_owned)))
    };
    let fetch = async |client: Client| client.cluster.fetch(client.get(), Payload::none()).await.map(drop);
    assert!(fetch(named(None)).await.is_err());
    assert!(fetch(named(Some("another.example"))).await.is_err());
    fetch(named(Some("kubernetes.example"))).await.unwrap();
}
