//! Servers that are scripted byte by byte, and unlike any honest one.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use attache::cluster::watch::{WatchError, WatchSettings};
use attache::cluster::{ApiClient, ApiClientSettings, Endpoint};
use attache::gate::{Channel, Gate};

use super::scripted::{Scripted, Step, answer, ok};
use super::{Records, Watcher, all_maps, grant, scope};

/// Returns a list with one map at this version.
fn list(version: u32, value: &str) -> Vec<Step> {
    page(version, "", &object(version, value))
}

/// Returns a page of a list at this version; the last page if `continued` is empty.
fn page(version: u32, continued: &str, items: &str) -> Vec<Step> {
    ok(&format!(
        r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}","continue":"{continued}"}},"items":[{items}]}}"#
    ))
}

fn object(version: u32, value: &str) -> String {
    named("a", version, value)
}

fn named(name: &str, version: u32, value: &str) -> String {
    format!(
        r#"{{"metadata":{{"name":"{name}","namespace":"demo","uid":"u","resourceVersion":"{version}"}},"data":{{"value":"{value}"}}}}"#
    )
}

/// Returns the head of an answer without an end, and these lines.
fn stream(lines: &[&str]) -> Step {
    let chunks: String = lines.iter().map(|line| format!("{:x}\r\n{line}\n\r\n", line.len() + 1)).collect();
    Step::Send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}").into_bytes())
}

/// The time for a first list that must not end within the test.
const PATIENT: Duration = Duration::from_mins(10);

fn connect(server: &Scripted, deadline: Duration) -> ApiClient {
    let settings = ApiClientSettings::new(Endpoint::given(&server.url).unwrap(), Records::new());
    let watches = WatchSettings::new().linger(Duration::ZERO);
    ApiClient::connect(settings.watches(watches).deadline(deadline)).unwrap()
}

fn follow_of(cluster: &ApiClient, query: &[(&str, &str)]) -> Watcher {
    let scope = scope("configmaps", Some("demo"), query);
    let gate = Gate::new("tried", Arc::new(grant(&all_maps())), Records::new());
    let permit = gate.admit_follower(Channel::Api, scope.list(), scope.watch().clone()).unwrap();
    Watcher(cluster.follow(&scope, permit).unwrap())
}

fn follow(server: &Scripted) -> (ApiClient, Watcher) {
    let cluster = connect(server, Duration::from_secs(2));
    let watcher = follow_of(&cluster, &[]);
    (cluster, watcher)
}

#[tokio::test]
async fn a_410_as_a_status_is_listed_anew() {
    let gone = r#"{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}"#;
    let server = Scripted::plain(move |number, head| match (number, head.contains("watch=")) {
        (0, false) => list(5, "1"),
        (1, true) => answer("410 Gone", "Content-Type: application/json\r\n", gone),
        (2, false) => list(9, "2"),
        _ => vec![stream(&[]), Step::Silence],
    })
    .await;
    let (_cluster, mut watcher) = follow(&server);
    assert_eq!(watcher.until("+a=2").await, ["resync", "+a=1", "synced", "+a=2"]);
}

#[tokio::test]
async fn a_410_as_an_event_is_listed_anew() {
    let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#;
    let server = Scripted::plain(move |number, head| match (number, head.contains("watch=")) {
        (0, false) => list(5, "1"),
        (1, true) => vec![stream(&[gone]), Step::Silence],
        (2, false) => list(9, "2"),
        _ => vec![stream(&[]), Step::Silence],
    })
    .await;
    let (_cluster, mut watcher) = follow(&server);
    watcher.until("+a=2").await;
}

#[tokio::test]
async fn a_watch_is_taken_up_at_the_last_bookmark() {
    let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"ConfigMap","metadata":{"resourceVersion":"50"}}}"#;
    let server = Scripted::plain(move |number, head| match (number, head.contains("watch=")) {
        (0, _) => list(5, "1"),
        (1, _) => vec![stream(&[bookmark]), Step::Close],
        (2, _) => {
            let event = format!(r#"{{"type":"MODIFIED","object":{}}}"#, object(51, "2"));
            vec![stream(&[&event]), Step::Silence]
        }
        _ => vec![Step::Close],
    })
    .await;
    let (_cluster, mut watcher) = follow(&server);
    watcher.until("+a=2").await;
    let heads = server.heads();
    assert!(heads[0].contains("limit=500") && !heads[0].contains("resourceversion"), "{}", heads[0]);
    for (head, version) in [(&heads[1], "resourceversion=5&"), (&heads[2], "resourceversion=50&")] {
        assert!(head.contains(version) && head.contains("allowwatchbookmarks=true"), "{head}");
        assert!(head.contains("timeoutseconds="), "{head}");
    }
}

#[tokio::test]
async fn a_page_that_expires_begins_the_list_anew() {
    let server = Scripted::plain(move |number, head| match number {
        0 => page(5, "next", &object(5, "1")),
        1 => answer("410 Gone", "", r#"{"kind":"Status","code":410}"#),
        2 => list(7, "2"),
        _ if head.contains("watch=") => vec![stream(&[]), Step::Silence],
        _ => vec![Step::Close],
    })
    .await;
    let (_cluster, mut watcher) = follow(&server);
    assert_eq!(watcher.until("synced").await, ["resync", "+a=2", "synced"]);
    assert!(server.heads()[1].contains("continue=next") && !server.heads()[2].contains("continue"));
}

#[tokio::test]
async fn a_page_that_expires_while_a_live_store_is_listed_anew_loses_nothing_and_leaves_nothing_behind() {
    let gone = || answer("410 Gone", "", r#"{"kind":"Status","code":410}"#);
    let server = Scripted::plain(move |number, head| match (number, head.contains("watch=")) {
        (0, false) => page(5, "", &[object(5, "1"), named("b", 5, "1"), named("c", 5, "1")].join(",")),
        (1, true) => gone(),
        (2, false) => page(7, "next", &[object(7, "2"), named("new", 7, "1")].join(",")),
        (3, false) => gone(),
        (4, false) => page(9, "next", &object(9, "3")),
        (5, false) => page(9, "", &named("c", 5, "1")),
        (_, true) => vec![stream(&[]), Step::Silence],
        _ => vec![Step::Close],
    })
    .await;
    let (_cluster, mut watcher) = follow(&server);
    let mut seen = watcher.until("-new").await;
    assert_eq!(seen.drain(..5).collect::<Vec<_>>(), ["resync", "+a=1", "+b=1", "+c=1", "synced"]);
    assert_eq!(seen, ["+a=2", "+new=1", "+a=3", "-b", "-new"]);
    assert_eq!(watcher.0.list(None, 10).unwrap().version, "9");
    assert!(server.heads()[4].contains("limit=500") && !server.heads()[4].contains("continue"));
}

#[tokio::test]
async fn what_is_no_event_ends_the_watch() {
    for line in ["{", "null", r#"{"type":"ADDED","object":{"metadata":{}}}"#, "<html>"] {
        let server =
            Scripted::plain(
                move |_, head| {
                    if head.contains("watch=") { vec![stream(&[line]), Step::Silence] } else { list(5, "1") }
                },
            )
            .await;
        let (_cluster, mut watcher) = follow(&server);
        assert!(matches!(watcher.ended().await, WatchError::Unreadable(_)), "{line}");
    }
}

#[tokio::test]
async fn an_event_without_an_end_is_cut_off() {
    let server = Scripted::plain(|_, head| {
        if head.contains("watch=") {
            vec![
                Step::Send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec()),
                Step::Repeat([b"10000\r\n".as_slice(), &[b'x'; 65536], b"\r\n"].concat()),
            ]
        } else {
            list(5, "1")
        }
    })
    .await;
    let (_cluster, mut watcher) = follow(&server);
    assert!(matches!(watcher.ended().await, WatchError::TooLarge(_)));
}

#[tokio::test]
async fn a_version_that_the_server_fails_to_serve_again_and_again_is_listed_anew() {
    let error = r#"{"type":"ERROR","object":{"kind":"Status","code":500,"reason":"InternalError"}}"#;
    let server = Scripted::plain(move |number, head| match (number, head.contains("watch=")) {
        (0, false) => list(5, "1"),
        (1 | 3 | 5, true) => answer("500 Internal Server Error", "", ""),
        (2 | 4, true) => vec![stream(&[error]), Step::Silence],
        (6, false) => list(9, "2"),
        (_, true) => vec![stream(&[]), Step::Silence],
        _ => vec![Step::Close],
    })
    .await;
    let (_cluster, mut watcher) = follow(&server);
    assert_eq!(watcher.until("+a=2").await, ["resync", "+a=1", "synced", "+a=2"]);
}

#[tokio::test]
async fn a_server_that_says_when_is_not_asked_sooner() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asking = Arc::clone(&asked);
    // Later than the deadline of one request, so that it is the watch that waits.
    let server = Scripted::plain(move |number, _| {
        asking.lock().unwrap().push(Instant::now());
        match number {
            0 => list(5, "1"),
            1 => answer("429 Too Many Requests", "Retry-After: 3\r\n", ""),
            _ => vec![stream(&[&format!(r#"{{"type":"MODIFIED","object":{}}}"#, object(6, "2"))]), Step::Silence],
        }
    })
    .await;
    let (_cluster, mut watcher) = follow(&server);
    watcher.until("+a=2").await;
    let asked = asked.lock().unwrap();
    assert!(asked[2] - asked[1] >= Duration::from_secs(3));
}

/// The largest object that API servers accept, in bytes.
const HUGE: usize = 3 << 20;

#[tokio::test]
async fn fewer_objects_are_asked_for_until_a_page_is_small_enough_and_one_huge_object_is() {
    let server = Scripted::plain(|_, head| match head.split_once("limit=") {
        Some((_, rest)) if rest.starts_with("1 ") || rest.starts_with("1&") => list(5, &"x".repeat(HUGE)),
        // The second object makes the page too large.
        Some(_) => page(5, "", &[object(5, &"x".repeat(HUGE)), named("b", 5, &"x".repeat(HUGE))].join(",")),
        None => vec![stream(&[]), Step::Silence],
    })
    .await;
    let cluster = connect(&server, PATIENT);
    let mut watcher = follow_of(&cluster, &[]);
    assert_eq!(watcher.until("synced").await, ["resync", "+a=xxxxxxxxxxxx", "synced"]);
    let limits: Vec<_> = server.heads().iter().filter_map(|head| head.split("limit=").nth(1).map(number)).collect();
    assert_eq!(limits, [500, 125, 31, 7, 1]);
}

fn number(text: &str) -> u32 {
    text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

#[tokio::test]
async fn huge_events_of_more_watches_than_are_read_at_a_time_all_arrive() {
    let server = Scripted::plain(|_, head| {
        if !head.contains("watch=") {
            return list(5, "1");
        }
        let event = |version, value: &str| format!(r#"{{"type":"MODIFIED","object":{}}}"#, object(version, value));
        vec![stream(&[&event(6, &"x".repeat(HUGE)), &event(7, "3")]), Step::Silence]
    })
    .await;
    let cluster = connect(&server, PATIENT);
    let names: Vec<_> = (0..6).map(|number| format!("name={number}")).collect();
    let mut watchers: Vec<_> = names.iter().map(|name| follow_of(&cluster, &[("labelSelector", name)])).collect();
    for watcher in &mut watchers {
        watcher.until("+a=3").await;
    }
}

#[tokio::test]
async fn a_list_without_an_end_is_an_error() {
    let page = r#"{"kind":"ConfigMapList","metadata":{"resourceVersion":"5","continue":"again"},"items":[]}"#;
    let server = Scripted::plain(move |_, _| ok(page)).await;
    let (_cluster, mut watcher) = follow(&server);
    assert!(matches!(watcher.ended().await, WatchError::Unreadable(_)));
}

#[tokio::test]
async fn a_server_that_never_answers_is_waited_for_as_long_as_the_deadline_says() {
    let server = Scripted::plain(|_, _| vec![Step::Silence]).await;
    let (cluster, mut watcher) = follow(&server);
    assert!(matches!(watcher.ended().await, WatchError::Unavailable(_)));
    assert_eq!(cluster.watch_figures().upstreams, 0);
}

#[tokio::test]
async fn lists_that_hang_do_not_hold_up_others() {
    let server = Scripted::plain(|_, head| match (head.contains("hung"), head.contains("watch=")) {
        (true, _) => vec![Step::Silence],
        (false, true) => vec![stream(&[]), Step::Silence],
        (false, false) => list(5, "1"),
    })
    .await;
    let cluster = connect(&server, PATIENT);
    let hung: Vec<_> = (0..8).map(|number| format!("hung={number}")).collect();
    let _hung: Vec<_> = hung.iter().map(|label| follow_of(&cluster, &[("labelSelector", label)])).collect();
    server.asked(8).await;
    assert_eq!(follow_of(&cluster, &[]).until("synced").await, ["resync", "+a=1", "synced"]);
}

#[tokio::test]
async fn the_server_is_let_go_of_when_nobody_follows() {
    let mut server =
        Scripted::plain(
            |_, head| if head.contains("watch=") { vec![stream(&[]), Step::Silence] } else { list(5, "1") },
        )
        .await;
    let (_cluster, mut watcher) = follow(&server);
    watcher.until("synced").await;
    drop(watcher);
    server.hung_up().await;
}
