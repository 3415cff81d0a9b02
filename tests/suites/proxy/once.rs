//! Requests through the proxy are sent once, and their answers are returned unchanged.

use crate::behind::{Server, answer, send};
use crate::world::{ALL, within};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const EVICTION: &str = "/api/v1/namespaces/default/pods/p/eviction";

#[test]
fn every_answer_is_the_servers_first_one() {
    let too_large = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Timeout: Too large resource version: 99, current: 1","reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1},"code":504}"#;
    for (line, status, headers, body) in [
        (format!("POST {EVICTION}"), "429 Too Many Requests", "Retry-After: 1\r\n", "disrupted"),
        (format!("GET {MAPS}"), "429 Too Many Requests", "Retry-After: 0\r\n", "busy"),
        (format!("GET {MAPS}"), "503 Service Unavailable", "Retry-After: 1\r\n", "down"),
        (format!("GET {MAPS}?resourceVersion=99"), "504 Gateway Timeout", "Retry-After: 1\r\n", too_large),
        (format!("GET {MAPS}"), "500 Internal Server Error", "Retry-After: 1\r\n", "slow storage"),
        (format!("DELETE {MAPS}/a"), "409 Conflict", "", "changed"),
    ] {
        let (told, words) = ((status, headers), body);
        let server = Server::start(move |_, stream| answer(stream, told.0, told.1, words));
        let place = server.place();
        let proxy = place.under(ALL, &[]);
        let (at, sent) = (proxy.at.clone(), line.clone());
        let (code, after, text) = within(move || {
            let answer = at.send(&sent, &[], b"");
            (answer.status, answer.header("retry-after").map(str::to_owned), answer.text())
        });
        assert_eq!((code.to_string(), &*text), (status[..3].to_owned(), body), "{line}");
        assert_eq!(after.as_deref(), headers.strip_prefix("Retry-After: ").map(str::trim), "{line}");
        assert_eq!(server.heads().len(), 1, "{line}: {:?}", server.heads());
        drop(proxy);
    }
}

#[test]
fn a_connection_that_breaks_off_before_the_answer_is_told_and_not_tried_again() {
    let server = Server::start(|_, stream| async move { drop(stream) });
    let place = server.place();
    let proxy = place.under(ALL, &[]);
    let at = proxy.at.clone();
    let (status, told) = within(move || at.get(MAPS));
    assert!(status == 502 && told.contains("broke off"), "{status} {told}");
    assert_eq!(server.heads().len(), 1);
}

#[test]
fn a_token_that_was_renewed_is_tried_since_it_is_the_proxys_own() {
    let server = Server::start(|head: String, mut stream| async move {
        let taken = head.contains("Bearer renewed") || !head.contains(MAPS);
        let status = if taken { "200 OK" } else { "401 Unauthorized" };
        send(&mut stream, &format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")).await;
    });
    let place = server.place();
    let proxy = place.under(ALL, &[]);
    let get = |at: crate::http1::At| within(move || at.get(MAPS).0);
    assert_eq!(get(proxy.at.clone()), 401);
    std::fs::write(place.path("token"), "renewed").unwrap();
    assert_eq!(get(proxy.at.clone()), 200);
}
