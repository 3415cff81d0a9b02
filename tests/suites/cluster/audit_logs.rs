//! One request in two audit logs: the server knows the extension, and the host knows the server's identifier.

use std::sync::{Arc, Mutex};

use attache::cluster::{ApiClient, ApiClientSettings, Endpoint, Payload};
use attache::gate::{Channel, Gate};
use attache::policy::{ApiRequest, Grant};
use attache::telemetry::{Audit, AuditRecord};
use http::Method;
use serde_json::Value;

use super::scripted::{Scripted, answer, ok};
use super::{Client, LIMIT, POD, gate, pod_settings, service_account};

const AGENT: &str = concat!("user-agent: attache/", env!("CARGO_PKG_VERSION"));

/// Keeps each record as the JSON that a log would get.
#[derive(Default)]
struct Kept(Mutex<Vec<Value>>);

impl Audit for Kept {
    fn record(&self, line: &AuditRecord<'_>) {
        self.0.lock().unwrap().push(serde_json::to_value(line).unwrap());
    }
}

impl Kept {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn get(target: &str) -> ApiRequest {
    ApiRequest::parse(&Method::GET, target).unwrap()
}

#[tokio::test]
async fn a_record_has_the_identifier_that_the_server_answers_with() {
    let server = attache_devcluster::DevCluster::start(attache_devcluster::DevClusterSettings::default()).unwrap();
    let dir = service_account(server.admin_token(), &server.ca_pem());
    let kept = Arc::new(Kept::default());
    let cluster = ApiClient::connect(pod_settings(&server.url(), dir.path(), kept.clone())).unwrap();
    let gate = gate(kept.clone(), LIMIT);
    // There is no such pod: a refusal has an identifier as well.
    let permit = gate.admit(Channel::Api, get(POD)).unwrap();
    let response = cluster.send(permit, Payload::none()).await.unwrap();
    let sent = response.headers()["audit-id"].to_str().unwrap().to_owned();
    drop(response);
    let record = kept.take().remove(0);
    assert_eq!((&record["auditId"], &record["status"]), (&Value::from(sent.as_str()), &Value::from(404)));
    assert_eq!(sent.len(), 36, "a UUID");
    cluster.discovery().await.unwrap();
    let own: Vec<_> = kept.take().iter().map(|record| record["auditId"].as_str().map(str::len)).collect();
    assert_eq!(own, [Some(36), Some(36)], "the host's own requests too");
}

#[tokio::test]
async fn an_identifier_is_short_and_harmless_whatever_the_server_sends() {
    let long = "x".repeat(5000);
    let hostile = ["a\tb\"}{\"", "\u{202e}\u{9b}31m", &long];
    let headers = hostile.map(|id| format!("Audit-Id: {id}\r\n"));
    let server =
        Scripted::plain(move |number, _| answer("200 OK", headers.get(number).map_or("", String::as_str), "{}")).await;
    let kept = Arc::new(Kept::default());
    let settings = ApiClientSettings::new(Endpoint::given(&server.url).unwrap(), kept.clone());
    let cluster = ApiClient::connect(settings).unwrap();
    let gate = gate(kept.clone(), LIMIT);
    for _ in hostile {
        cluster.fetch(gate.admit(Channel::Api, get(POD)).unwrap(), Payload::none()).await.unwrap();
        let record = kept.take().remove(0);
        let id = record["auditId"].as_str().unwrap();
        assert!(id.len() <= 64 && id.bytes().all(|byte| (b' '..0x7f).contains(&byte)), "{id}");
    }
    cluster.fetch(gate.admit(Channel::Api, get(POD)).unwrap(), Payload::none()).await.unwrap();
    assert_eq!(kept.take()[0].get("auditId"), None, "a server that sends none");
}

#[tokio::test]
async fn the_server_reads_which_extension_asks() {
    let server = Scripted::plain(|_, _| ok("{}")).await;
    let client = Client::plain(&server.url);
    let nothing = Grant::nothing("x");
    for name in ["other", "a) evil/1 (\r\nAuthorization: Bearer x"] {
        let mut grant = nothing.clone();
        grant.api.clone_from(&client.gate.grant().api);
        let grant = Arc::new(grant);
        let other = Gate::new(name, grant, client.records.clone());
        client.cluster.fetch(other.admit(Channel::Api, get(POD)).unwrap(), Payload::none()).await.unwrap();
    }
    client.cluster.fetch(client.get(), Payload::none()).await.unwrap();
    let _ = client.cluster.discovery().await;
    let agents = server.heads().into_iter().map(|head| {
        let lines: Vec<_> =
            head.lines().filter(|line| line.starts_with("user-agent") || line.contains("bearer")).collect();
        lines.join("|")
    });
    let expected = ["other", "a__evil/1____authorization:_bearer_x", "test", "attache"];
    assert_eq!(agents.collect::<Vec<_>>(), expected.map(|name| format!("{AGENT} ({name})")));
}
