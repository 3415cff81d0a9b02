//! Requests to an ambassador, and the servers behind it.

use std::time::Duration;

use attache::ambassador::{Ambassador, AnswerBody};
use attache::gate::{Channel, Gate};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use serde_json::Value;

use crate::records::Records;
use crate::scripted::{Authority, Scripted, Step};
use crate::world::{World, client, grant, service_account};

pub(crate) const COLOURS: &str = "/api/v1/namespaces/demo/configmaps/colours";
pub(crate) const MAPS: &str = "/api/v1/namespaces/demo/configmaps";

/// The spec of a grant with all verbs on config maps, and reads of pods and their logs.
pub(crate) const SPEC: &str = r#"{api: [{apiGroups: [""], resources: [configmaps, pods, pods/log], verbs: ["*"], namespaces: [demo]}],
    limits: {requestsPerSecond: 1000, burst: 1000}}"#;

pub(crate) fn gate(spec: &str, records: &Records) -> Gate {
    Gate::new("ext", std::sync::Arc::new(grant("ext", spec)), records.audit())
}

pub(crate) fn ambassador(world: &World) -> Ambassador {
    Ambassador::new(Channel::WasiHttp, gate(SPEC, &world.records), Some(world.cluster()))
}

/// Returns an ambassador before a server that follows a script.
pub(crate) async fn scripted(
    script: impl Fn(usize, &str) -> Vec<Step> + Send + Sync + 'static,
) -> (Scripted, Ambassador, Records) {
    let authority = Authority::new();
    let server = Scripted::tls(&authority, script).await;
    let dir = service_account("the-hosts-token", authority.pem());
    let records = Records::default();
    let cluster = client(&server.url, dir.path(), Duration::from_secs(5), &records);
    (server, Ambassador::new(Channel::WasiHttp, gate(SPEC, &records), Some(cluster)), records)
}

pub(crate) fn request(method: &Method, target: &str, headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let start = Request::builder().method(method).uri(target);
    let request = headers.iter().fold(start, |request, (name, value)| request.header(*name, *value));
    request.body(Empty::new()).unwrap()
}

pub(crate) async fn get(ambassador: &Ambassador, target: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    read(ambassador.answer(request(&Method::GET, target, headers)).await).await
}

pub(crate) async fn read(response: Response<AnswerBody>) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

pub(crate) async fn line(body: &mut AnswerBody) -> String {
    let frame = tokio::time::timeout(Duration::from_secs(20), body.frame()).await.expect("something comes in time");
    String::from_utf8(frame.unwrap().unwrap().into_data().unwrap().into()).unwrap()
}
