//! One request and its answer: headers, retries, and the body.

use std::sync::Arc;
use std::time::{Duration, Instant};

use attache::cluster::{ClusterError, Payload, ServerStatus, Unavailable};
use attache::gate::{Channel, Gate};
use attache::policy::{ApiRequest, Grant};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};

use super::scripted::{Authority, Scripted, Step, answer, ok};
use super::{Client, LIMIT, POD, PODS, service_account, soon};

const UNAUTHORIZED: &str = r#"{"kind":"Status","message":"Unauthorized","reason":"Unauthorized","code":401}"#;

fn unauthorized() -> Vec<Step> {
    answer("401 Unauthorized", "Content-Type: application/json\r\n", UNAUTHORIZED)
}

fn refused(error: ClusterError) -> ServerStatus {
    match error {
        ClusterError::Refused(status) => *status,
        other => panic!("expected a refusal: {other:?}"),
    }
}

#[tokio::test]
async fn only_the_hosts_headers_are_sent() {
    let authority = Authority::new();
    let server = Scripted::tls(&authority, |_, _| ok("{}")).await;
    let dir = service_account(" secret\n", authority.pem());
    let client = Client::pod(&server.url, dir.path());
    let json = HeaderValue::from_static("application/json");
    let permit = client.permit(&Method::POST, PODS);
    client.cluster.fetch(permit, Payload::of(json, "{}")).await.unwrap();
    let head = server.heads().remove(0);
    let mut lines: Vec<_> = head.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    let host = format!("host: {}", server.url.trim_start_matches("https://"));
    let agent = format!("user-agent: attache/{} (test)", env!("CARGO_PKG_VERSION"));
    let mut expected = vec![
        "accept: application/json",
        "authorization: bearer secret",
        "content-length: 2",
        "content-type: application/json",
        host.as_str(),
        "post /api/v1/namespaces/demo/pods http/1.1",
        agent.as_str(),
    ];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn connections_are_kept_between_requests() {
    let authority = Authority::new();
    let server = Scripted::tls(&authority, |_, _| ok("{}")).await;
    let dir = service_account("t", authority.pem());
    let client = Client::pod(&server.url, dir.path());
    for _ in 0..5 {
        client.cluster.fetch(client.get(), Payload::none()).await.unwrap();
    }
    assert_eq!((server.heads().len(), server.connections()), (5, 1));
}

#[tokio::test]
async fn an_answer_is_handed_on_and_recorded_with_its_bytes() {
    let server = Scripted::plain(|_, _| ok(r#"{"kind":"Pod"}"#)).await;
    let client = Client::plain(&server.url);
    let answer = client.cluster.fetch(client.get(), Payload::none()).await.unwrap();
    assert_eq!((answer.status, answer.bytes.as_ref()), (StatusCode::OK, br#"{"kind":"Pod"}"#.as_slice()));
    assert_eq!(client.records.lines(), [(POD.to_owned(), Some(200), 14)]);
}

#[tokio::test]
async fn an_empty_answer_is_empty() {
    let server = Scripted::plain(|_, _| vec![Step::Send(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec())]).await;
    let client = Client::plain(&server.url);
    let answer = client.cluster.fetch(client.get(), Payload::none()).await.unwrap();
    assert_eq!((answer.status, answer.bytes), (StatusCode::NO_CONTENT, Bytes::new()));
}

#[tokio::test]
async fn a_401_drops_the_token_and_reading_is_tried_once_with_the_new_one() {
    let authority = Authority::new();
    let accepts_new = |_: usize, head: &str| if head.contains("Bearer new") { ok("{}") } else { unauthorized() };
    let server = Scripted::tls(&authority, accepts_new).await;
    let dir = service_account("old", authority.pem());
    let client = Client::pod(&server.url, dir.path());
    std::fs::write(dir.path().join("token"), "new").unwrap();
    client.cluster.fetch(client.get(), Payload::none()).await.unwrap();
    let heads = server.heads();
    assert!(heads[0].contains("bearer old") && heads[1].contains("bearer new") && heads.len() == 2, "{heads:?}");
    assert_eq!(client.records.lines(), [(POD.to_owned(), Some(200), 2)]);
}

#[tokio::test]
async fn a_401_to_writing_is_tried_once_more_but_not_where_a_pod_may_have_answered() {
    let authority = Authority::new();
    let accepts_new = |_: usize, head: &str| if head.contains("Bearer new") { ok("{}") } else { unauthorized() };
    let server = Scripted::tls(&authority, accepts_new).await;
    let dir = service_account("old", authority.pem());
    let client = Client::pod(&server.url, dir.path());
    std::fs::write(dir.path().join("token"), "new").unwrap();
    client.cluster.fetch(client.permit(&Method::POST, PODS), Payload::none()).await.unwrap();
    assert_eq!(server.heads().len(), 2);
    std::fs::write(dir.path().join("token"), "old").unwrap();
    let proxied = format!("{POD}/proxy/act");
    let rule = r#"{api: [{apiGroups: [""], resources: [pods/proxy], verbs: [create], namespaces: [demo]}]}"#;
    let text = format!("{{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {{name: g}}, spec: {rule}}}");
    let gate = Gate::new("g", Arc::new(Grant::parse(&text).unwrap()), client.records.clone());
    let permit = || gate.admit(Channel::Api, ApiRequest::parse(&Method::POST, &proxied).unwrap()).unwrap();
    let old = Scripted::tls(&authority, |_, _| unauthorized()).await;
    let client = Client::pod(&old.url, dir.path());
    std::fs::write(dir.path().join("token"), "newer").unwrap();
    assert_eq!(refused(client.cluster.fetch(permit(), Payload::none()).await.unwrap_err()).reason, "Unauthorized");
    assert_eq!(old.heads().len(), 1);
}

#[tokio::test]
async fn a_401_is_handed_on_where_there_is_no_other_token() {
    let authority = Authority::new();
    let server = Scripted::tls(&authority, |_, _| unauthorized()).await;
    let dir = service_account("t", authority.pem());
    let client = Client::pod(&server.url, dir.path());
    let status = refused(client.cluster.fetch(client.get(), Payload::none()).await.unwrap_err());
    assert_eq!((status.code, status.body.as_deref()), (401, Some(UNAUTHORIZED.as_bytes())));
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    let busy = || answer("429 Too Many Requests", "Retry-After: 1\r\n", "");
    let server = Scripted::plain(move |n, _| if n == 0 { busy() } else { ok("{}") }).await;
    let client = Client::plain(&server.url);
    let began = Instant::now();
    client.cluster.fetch(client.permit(&Method::POST, PODS), Payload::none()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!((server.heads().len(), client.records.lines().len()), (2, 1));
}

#[tokio::test]
async fn a_retry_after_past_the_deadline_is_the_callers_at_once() {
    let server = Scripted::plain(|_, _| answer("503 Service Unavailable", "Retry-After: 5\r\n", "later")).await;
    let client = Client::plain(&server.url);
    let began = Instant::now();
    let payload = Payload::none().within(Duration::from_secs(4));
    let status = refused(client.cluster.fetch(client.get(), payload).await.unwrap_err());
    assert_eq!((status.reason.as_str(), status.message.as_str()), ("ServiceUnavailable", "later"));
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_server_that_is_busy_without_saying_how_long_is_asked_once() {
    let server = Scripted::plain(|_, _| answer("503 Service Unavailable", "", "")).await;
    let client = Client::plain(&server.url);
    assert_eq!(refused(client.cluster.fetch(client.get(), Payload::none()).await.unwrap_err()).code, 503);
    assert_eq!(server.heads().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Scripted::plain(|_, _| ok("stolen")).await;
    let headers = format!("Location: {}/\r\n", elsewhere.url);
    let server = Scripted::plain(move |_, _| answer("302 Found", &headers, "")).await;
    let client = Client::plain(&server.url);
    let status = refused(client.cluster.fetch(client.get(), Payload::none()).await.unwrap_err());
    assert!(status.code == 302 && status.message.contains("not followed"), "{status}");
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_plain_text_404_has_a_reason() {
    let server =
        Scripted::plain(|_, _| answer("404 Not Found", "Content-Type: text/plain\r\n", "404 page not found\n")).await;
    let client = Client::plain(&server.url);
    let error = client.cluster.fetch(client.get(), Payload::none()).await.unwrap_err();
    assert_eq!(error.guest_text(), "404 page not found");
    let status = refused(error);
    assert_eq!((status.code, status.reason.as_str(), status.body), (404, "NotFound", None));
}

#[tokio::test]
async fn a_cut_connection_is_replaced_for_reading_but_nothing_is_written_twice() {
    let server = Scripted::plain(|n, _| if n % 2 == 0 { vec![Step::Close] } else { ok("{}") }).await;
    let client = Client::plain(&server.url);
    client.cluster.fetch(client.get(), Payload::none()).await.unwrap();
    let error = client.cluster.fetch(client.permit(&Method::POST, PODS), Payload::none()).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(Unavailable::BrokenOff { .. })), "{error:?}");
    assert_eq!(server.heads().len(), 3);
}

#[tokio::test]
async fn a_body_of_the_limit_passes_and_one_byte_more_is_cut() {
    let chunked = |length: usize| {
        let body = "x".repeat(length);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        vec![Step::Send(format!("{head}{length:x}\r\n{body}\r\n0\r\n\r\n").into_bytes())]
    };
    let server = Scripted::plain(move |n, _| match n {
        0 => ok(&"x".repeat(LIMIT)),
        1 => ok(&"x".repeat(LIMIT + 1)),
        2 => chunked(LIMIT),
        _ => chunked(LIMIT + 1),
    })
    .await;
    let client = Client::plain(&server.url);
    let fetch = || client.cluster.fetch(client.get(), Payload::none());
    assert_eq!(fetch().await.unwrap().bytes.len(), LIMIT);
    assert!(matches!(fetch().await, Err(ClusterError::TooLarge(limit)) if limit == LIMIT as u64));
    assert_eq!(fetch().await.unwrap().bytes.len(), LIMIT);
    assert!(matches!(fetch().await, Err(ClusterError::TooLarge(limit)) if limit == LIMIT as u64));
}

#[tokio::test]
async fn a_body_in_pieces_is_put_together() {
    let server = Scripted::plain(|_, _| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut steps = vec![Step::Send(head.into())];
        steps.extend((0..9).map(|n| Step::Send(format!("3\r\n<{n}>\r\n").into_bytes())));
        steps.push(Step::Send(b"0\r\nTrailer: x\r\n\r\n".to_vec()));
        steps
    })
    .await;
    let client = Client::plain(&server.url);
    let answer = client.cluster.fetch(client.get(), Payload::none()).await.unwrap();
    assert_eq!(answer.bytes, "<0><1><2><3><4><5><6><7><8>");
}

#[tokio::test]
async fn a_body_streams_and_dropping_it_ends_the_request_and_frees_the_permit() {
    let mut server = Scripted::plain(|_, _| {
        let first = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        vec![Step::Send(first.into()), Step::Silence]
    })
    .await;
    let client = Client::plain(&server.url);
    let (head, mut body) = client.cluster.send(client.get(), Payload::none()).await.unwrap().into_parts();
    assert!(!head.headers.contains_key("transfer-encoding"));
    assert_eq!(body.next().await.unwrap().unwrap(), "first");
    assert_eq!(client.records.lines(), [], "the permit is held while the body is");
    drop(body);
    assert_eq!(client.records.lines(), [(POD.to_owned(), Some(200), 5)]);
    server.hung_up().await;
}

#[tokio::test]
async fn dropping_the_call_ends_the_request_and_frees_the_permit() {
    let mut server = Scripted::plain(|_, _| vec![Step::Silence]).await;
    let client = Client::plain(&server.url);
    let call = client.cluster.send(client.get(), Payload::none());
    assert!(tokio::time::timeout(Duration::from_millis(200), call).await.is_err());
    assert_eq!(client.records.lines(), [(POD.to_owned(), None, 0)]);
    server.hung_up().await;
}

#[tokio::test]
async fn the_deadline_covers_the_head_and_the_body() {
    let mut server = Scripted::plain(|n, _| match n {
        0 => vec![Step::Silence],
        _ => vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_vec()), Step::Silence],
    })
    .await;
    let client = Client::plain(&server.url);
    let head = client.cluster.fetch(client.get(), soon()).await.unwrap_err();
    assert!(super::chain(&head).contains("did not answer within 0.4 s"), "{}", super::chain(&head));
    let body = client.cluster.fetch(client.get(), soon()).await.unwrap_err();
    assert!(super::chain(&body).contains("did not finish its answer within 0.4 s"), "{}", super::chain(&body));
    assert_eq!(body.guest_text(), "the API server did not answer in time");
    server.hung_up().await;
}

#[tokio::test]
async fn head_has_no_body_whatever_length_it_announces() {
    let server =
        Scripted::plain(|_, _| vec![Step::Send(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n".to_vec())]).await;
    let client = Client::plain(&server.url);
    let answer = client.cluster.fetch(client.permit(&Method::HEAD, POD), Payload::none()).await.unwrap();
    assert_eq!(answer.bytes, Bytes::new());
}
