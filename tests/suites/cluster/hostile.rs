//! A hostile server: whatever it sends, the result is an error within bounded time and memory.

use std::time::{Duration, Instant};

use attache::cluster::{ClusterError, Payload, Unavailable};

use super::scripted::{Scripted, Step, answer};
use super::{Client, LIMIT, soon};

/// Returns the result of an answer of these bytes, after which the server is silent.
async fn answered(steps: impl Fn() -> Vec<Step> + Send + Sync + 'static) -> Result<usize, ClusterError> {
    let server = Scripted::plain(move |_, _| steps()).await;
    let client = Client::plain(&server.url);
    let began = Instant::now();
    let answer = client.cluster.fetch(client.get(), soon()).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    answer.map(|answer| answer.bytes.len())
}

fn sent(text: &str) -> Step {
    Step::Send(text.as_bytes().to_vec())
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit_and_the_connection_closed() {
    let mut server = Scripted::plain(|_, _| {
        let piece = format!("{:x}\r\n{}\r\n", 100, "x".repeat(100));
        vec![sent("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Step::Repeat(piece.into_bytes())]
    })
    .await;
    let client = Client::plain(&server.url);
    let error = client.cluster.fetch(client.get(), Payload::none()).await.unwrap_err();
    assert!(matches!(error, ClusterError::TooLarge(limit) if limit == LIMIT as u64), "{error:?}");
    let (_, status, bytes) = client.records.lines().remove(0);
    assert!(status == Some(200) && bytes <= LIMIT as u64, "{bytes}");
    server.hung_up().await;
}

#[tokio::test]
async fn an_endless_refusal_is_a_refusal() {
    let error = answered(|| {
        let piece = format!("{:x}\r\n{}\r\n", 100, "x".repeat(100));
        vec![sent("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"), Step::Repeat(piece.into_bytes())]
    });
    let ClusterError::Refused(status) = error.await.unwrap_err() else { panic!("not a refusal") };
    assert_eq!((status.code, status.reason.as_str(), status.body), (403, "Forbidden", None));
}

#[tokio::test]
async fn a_huge_announced_length_is_refused_before_a_byte_is_read() {
    for length in ["1001", "18446744073709551615"] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        let error = answered(move || vec![sent(&head), Step::Silence]).await.unwrap_err();
        let broken = matches!(error, ClusterError::Unavailable(Unavailable::BrokenOff { .. }));
        assert!(matches!(error, ClusterError::TooLarge(_)) || broken, "{error:?}");
    }
}

#[tokio::test]
async fn a_slow_trickle_ends_with_the_deadline() {
    let slow = Duration::from_millis(20);
    let head = answered(move || vec![Step::Trickle(b"HTTP/1.1 200 OK\r\nX: ".to_vec(), slow)]).await.unwrap_err();
    assert!(matches!(head, ClusterError::Unavailable(Unavailable::Deadline { .. })), "{head:?}");
    let body = answered(move || {
        vec![sent("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), Step::Trickle(b"1\r\nx\r\n".to_vec(), slow)]
    });
    let body = body.await.unwrap_err();
    assert!(matches!(body, ClusterError::Unavailable(Unavailable::Deadline { .. })), "{body:?}");
}

#[tokio::test]
async fn a_head_without_end_is_cut() {
    let one = answered(|| vec![sent("HTTP/1.1 200 OK\r\nX: "), Step::Repeat(vec![b'x'; 4096])]).await.unwrap_err();
    assert!(matches!(one, ClusterError::Unavailable(Unavailable::BrokenOff { .. })), "{one:?}");
    let many = answered(|| vec![sent("HTTP/1.1 200 OK\r\n"), Step::Repeat(b"X: y\r\n".to_vec())]).await.unwrap_err();
    assert!(matches!(many, ClusterError::Unavailable(Unavailable::BrokenOff { .. })), "{many:?}");
}

#[tokio::test]
async fn informational_answers_without_end_stop_at_the_deadline() {
    let error = answered(|| vec![Step::Repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec())]).await.unwrap_err();
    assert!(matches!(error, ClusterError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn informational_answers_without_end_are_cut_long_before_the_deadline() {
    let server = Scripted::plain(|_, _| vec![Step::Repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec())]).await;
    let client = Client::plain(&server.url);
    let error = client.cluster.fetch(client.get(), Payload::none()).await.unwrap_err();
    let broken =
        matches!(&error, ClusterError::Unavailable(Unavailable::BrokenOff { detail, .. }) if detail.contains("1xx"));
    assert!(broken, "{error:?}");
}

#[tokio::test]
async fn what_is_not_http_is_an_error() {
    let table = [
        "",
        "garbage\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\n",
        "HTTP/1.1 999999 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ];
    for text in table {
        let error = answered(move || vec![sent(text), Step::Close]).await.unwrap_err();
        assert!(matches!(error, ClusterError::Unavailable(_)), "{text:?}: {error:?}");
    }
}

#[tokio::test]
async fn a_status_that_lies_is_read_with_care() {
    let table = [
        r#"{"kind":"Status","code":200,"reason":7}"#,
        r#"{"kind":"Status","message":{"a":[]},"reason":"X"}"#,
        r#"{"kind":"Stat"#,
        "\u{feff}{}",
        "<html>\u{1b}[2J</html>",
    ];
    for text in table {
        let error =
            answered(move || answer("409 Conflict", "Content-Type: application/json\r\n", text)).await.unwrap_err();
        let ClusterError::Refused(status) = error else { panic!("{text}: {error:?}") };
        assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"), "{text}");
        assert!(!status.message.contains('\u{1b}'));
    }
}

#[tokio::test]
async fn a_retry_after_of_zero_for_ever_ends() {
    let server = Scripted::plain(|_, _| answer("429 Too Many Requests", "Retry-After: 0\r\n", "")).await;
    let client = Client::plain(&server.url);
    let error = client.cluster.fetch(client.get(), soon()).await.unwrap_err();
    // The last wait may end so shortly before the deadline that no answer comes any more.
    let late = matches!(error, ClusterError::Unavailable(Unavailable::Deadline { .. }));
    assert!(late || matches!(error, ClusterError::Refused(_)), "{error:?}");
    assert!(server.heads().len() <= 5, "{}", server.heads().len());
}
