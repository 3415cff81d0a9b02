//! The memory that clients can occupy in the proxy before and besides their grant: the sums of SECURITY.md, measured.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncReadExt;

use crate::behind::{Server, answer, header};
use crate::http1::At;
use crate::world::{ALL, Proxy, within};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const CROWD: usize = 1000;

/// The limits of SECURITY.md in KiB: one connection, all heads, and one body that is read ahead.
const CONNECTION: usize = 32;
const HEADS: usize = 12 << 10;
const BODY: usize = 256;

/// Returns the most memory that the process has taken so far, in KiB.
fn peak(proxy: &Proxy) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid)).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn connect(proxy: &Proxy) -> TcpStream {
    let At::Tcp(address) = &proxy.at else { panic!("a port") };
    let stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(Duration::from_mins(1))).unwrap();
    stream
}

/// Returns many connections that have each sent these bytes, or as many of them as the proxy accepted.
fn crowd(proxy: &Proxy, bytes: &[u8]) -> Vec<TcpStream> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    let mut crowd: Vec<_> = (0..CROWD).map(|_| connect(proxy)).collect();
    for stream in &mut crowd {
        // Some of them are closed by then.
        let _ = stream.write_all(bytes);
    }
    crowd
}

/// Waits for the answer to another client, so that all earlier bytes have been read.
fn neighbour(proxy: &Proxy) {
    let at = proxy.at.clone();
    assert_eq!(within(move || at.get(MAPS).0), 200);
}

fn grown(proxy: &Proxy, before: usize, most: usize, what: &str) {
    let grown = peak(proxy).saturating_sub(before);
    println!("{what}: {grown} KiB more at most, of {most} KiB");
    assert!(grown <= most, "{what}: {grown} KiB, and not {most}");
}

#[test]
fn answers_that_nobody_reads_are_not_kept() {
    let large = "x".repeat(6 << 20);
    let server = Server::start(move |head: String, stream| {
        let body = if head.contains("/large") { large.clone() } else { "{}".to_owned() };
        async move { answer(stream, "200 OK", "", &body).await }
    });
    let place = server.place();
    let proxy = place.under(&ALL.replace("inFlight: 64", "inFlight: 32"), &[]);
    neighbour(&proxy);
    let before = peak(&proxy);
    let request = format!("GET {MAPS}/large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut readers: Vec<_> = (0..32).map(|_| connect(&proxy)).collect();
    for stream in &mut readers {
        stream.write_all(request.as_bytes()).unwrap();
        // Its answer has begun, and is read no further.
        stream.read_exact(&mut [0; 100]).unwrap();
    }
    let at = proxy.at.clone();
    assert_eq!(within(move || at.get("/version").0), 429, "all places are taken");
    grown(&proxy, before, 32 * (CONNECTION + BODY), "answers that nobody reads");
}

fn stage(spec: &str) -> (Server, crate::world::Place, Proxy, usize) {
    let server = Server::start(|_, stream| answer(stream, "200 OK", "", "{}"));
    let place = server.place();
    let proxy = place.under(spec, &[]);
    neighbour(&proxy);
    let before = peak(&proxy);
    (server, place, proxy, before)
}

#[test]
fn heads_that_are_half_sent_share_one_budget() {
    let (_server, _place, proxy, before) = stage(ALL);
    let half = format!("GET {MAPS} HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(60_000));
    let crowd = crowd(&proxy, half.as_bytes());
    neighbour(&proxy);
    grown(&proxy, before, CROWD * CONNECTION + HEADS, "half-sent heads");
    // The newest of them are still taken for clients, and may go on.
    let mut last = crowd.into_iter().next_back().unwrap();
    last.write_all(b"\r\nConnection: close\r\n\r\n").unwrap();
    let answer = within(move || {
        let mut answer = String::new();
        last.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.starts_with("HTTP/1.1 431 "), "{}", answer.get(..100).unwrap_or(&answer));
}

#[test]
fn half_a_head_that_comes_with_a_request_counts_too() {
    let server = Server::start(|head: String, mut stream| async move {
        let length = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
        let _ = stream.read_exact(&mut vec![0; length]).await;
        answer(stream, "200 OK", "", "{}").await;
    });
    let place = server.place();
    let proxy = place.under(ALL, &[]);
    neighbour(&proxy);
    // The buffer of a connection grows by a body, and may then hold the next head together with the body's end.
    let body = " ".repeat(200_000);
    let whole = format!("POST {MAPS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let half = format!("GET {MAPS} HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(60_000));
    let ask = |stream: &mut TcpStream, sent: &str| {
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
    };
    ask(&mut connect(&proxy), &whole);
    let before = peak(&proxy);
    let mut crowd: Vec<_> = (0..CROWD).map(|_| connect(&proxy)).collect();
    crowd.iter_mut().for_each(|stream| ask(stream, &format!("{whole}{half}")));
    neighbour(&proxy);
    grown(&proxy, before, CROWD * CONNECTION + HEADS, "heads that have begun with the request before them");
    drop(crowd);
}

#[test]
fn idle_connections_take_little_and_make_room() {
    let (_server, _place, proxy, before) = stage(ALL);
    let request = format!("GET {MAPS} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut first = crowd(&proxy, request.as_bytes());
    for stream in &mut first {
        let mut byte = [0];
        let _ = stream.read(&mut byte);
    }
    let second = crowd(&proxy, b"");
    neighbour(&proxy);
    grown(&proxy, before, 1024 * CONNECTION, "idle connections");
    drop((first, second));
}

#[test]
fn slow_bodies_are_bounded_by_the_requests_in_flight() {
    let (_server, _place, proxy, before) = stage(&ALL.replace("inFlight: 64", "inFlight: 32"));
    let head = format!("POST {MAPS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3000000\r\n\r\n");
    let crowd = crowd(&proxy, &[head.as_bytes(), &vec![b' '; 60_000]].concat());
    let at = proxy.at.clone();
    assert_eq!(within(move || at.get("/version").0), 429, "all places are taken");
    grown(&proxy, before, CROWD * CONNECTION + 32 * BODY, "slow bodies");
    drop(crowd);
}
