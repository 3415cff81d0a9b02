//! The admin endpoint, and an admission webhook over TLS.

use std::sync::Arc;
use std::time::Duration;

use attache::service::{Admin, Decisions, State};
use attache::serving::{Listener, Server};
use attache::telemetry::NoAudit;
use attache_tests::guest;
use prometheus_client::registry::Registry;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::stage::{Stage, free_port, get};

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_states_counts_and_reasons() {
    let (stage, site) = (Stage::new(), free_port());
    let http =
        format!("{{component: {{file: answer.wasm}}, grant: {{}}, trigger: {{http: {{listen: '127.0.0.1:{site}'}}}}}}");
    stage.apply("site", &http).await;
    let broken = "{component: {file: service.wasm}, grant: {}, trigger: {command: {args: ['<b>']}}, \
                  restart: {policy: Never}}";
    stage.apply("broken", &broken.replace("['<b>']", "[exit, '1']")).await;
    stage.until_state("broken", State::Failed).await;
    assert_eq!(get(site, "/").await.0, 200);
    let listener = Listener::tcp("127.0.0.1", 0, Duration::ZERO).await.unwrap();
    let port = listener.address().unwrap().port();
    let decisions = Arc::new(Decisions::new(Arc::new(NoAudit)));
    let admin = Admin::new(stage.supervisor.clone(), decisions, Registry::default());
    tokio::spawn(Server::new().serve(listener, admin.handler()).run(std::future::pending(), Duration::ZERO));

    assert_eq!(get(port, "/livez").await, (200, Some("ok\n".into())));
    let (status, ready) = get(port, "/readyz?verbose").await;
    let ready = ready.unwrap();
    assert!(status == 200 && ready.contains("[-]broken Failed: exit code 1"), "{ready}");
    let extensions: Value = serde_json::from_str(&get(port, "/extensions").await.1.unwrap()).unwrap();
    let of = |name: &str| extensions.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap().clone();
    assert_eq!((&of("site")["state"], &of("site")["trigger"]), (&json!("Ready"), &json!("http")));
    assert_eq!(of("site")["componentSha256"].as_str().unwrap().len(), 64);
    let metrics = get(port, "/metrics").await.1.unwrap();
    assert!(metrics.contains("attache_failed_calls_total{extension=\"broken\"} 1"), "{metrics}");
    let page = get(port, "/").await.1.unwrap();
    assert!(
        page.contains("<strong>site</strong>") && page.contains("exit code 1") && !page.contains("<script"),
        "{page}"
    );
    assert_eq!(get(port, "/other").await.0, 404);
    stage.supervisor.drain(Duration::from_secs(20)).await;
    assert_eq!(get(port, "/readyz").await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_webhook_answers_over_tls() {
    let (stage, port) = (Stage::new(), free_port());
    std::fs::copy(guest("webhook"), stage.path("webhook.wasm")).unwrap();
    std::fs::create_dir(stage.path("tls")).unwrap();
    let first = certificate(&stage);
    let spec = format!(
        "{{component: {{file: webhook.wasm}}, grant: {{}}, \
         trigger: {{http: {{listen: '127.0.0.1:{port}', path: /validate, tls: {{directory: tls}}}}}}}}"
    );
    stage.apply("webhook", &spec).await;
    let labelled = review(port, &first, &json!({"owner": "shop"})).await;
    assert_eq!(labelled["response"], json!({"uid": "u1", "allowed": true}));
    let bare = review(port, &first, &json!({})).await;
    assert_eq!(bare["response"]["allowed"], json!(false));
    assert!(bare["response"]["status"]["message"].as_str().unwrap().contains("owner"));
}

/// Writes a new certificate for `localhost` into the volume, and returns it.
fn certificate(stage: &Stage) -> rustls::pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(stage.path("tls/tls.crt"), made.cert.pem()).unwrap();
    std::fs::write(stage.path("tls/tls.key"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// Asks the webhook about a pod, as an API server does.
async fn review(port: u16, trusted: &rustls::pki_types::CertificateDer<'static>, labels: &Value) -> Value {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {"uid": "u1", "object": {"kind": "Pod", "metadata": {"name": "web-0", "labels": labels}}},
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let body = review.to_string();
    let head = format!(
        "POST /validate?timeout=10s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let mut answer = String::new();
    // A server may close without a close_notify.
    let _ = stream.read_to_string(&mut answer).await;
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {body:?}"))
}
