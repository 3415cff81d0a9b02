//! The end: nothing new is taken, what is under way is finished, and all of it within a bound.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::http1::At;
use crate::world::{ALL, World, within};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
fn a_watch_ends_cleanly_when_the_proxy_stops() {
    let world = World::new();
    let proxy = world.open();
    let mut watch = proxy.at.send(&format!("GET {MAPS}?watch=1"), &[], b"");
    while !String::from_utf8(watch.chunk().expect("an event")).unwrap().contains("kube-root-ca.crt") {}
    let began = Instant::now();
    proxy.terminate();
    assert_eq!(watch.chunk(), None, "the last chunk, not a broken connection");
    assert_eq!(proxy.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn a_request_under_way_is_finished() {
    let world = World::new();
    let proxy = world.open();
    let At::Tcp(address) = &proxy.at else { panic!("a port") };
    let mut stream = TcpStream::connect(address).unwrap();
    let map = br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"slow"}}"#;
    let (begin, rest) = map.split_at(10);
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        map.len()
    );
    stream.write_all(&[head.as_bytes(), begin].concat()).unwrap();
    // The next connection is answered after the first one's head was read.
    assert_eq!(proxy.at.get("/version").0, 200);
    proxy.terminate();
    let address = address.clone();
    within(move || while TcpStream::connect(&address).is_ok() {});
    stream.write_all(rest).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(proxy.code(), Some(0));
}

#[test]
fn what_does_not_finish_is_cut() {
    let world = World::new();
    let grant = world.grant("all", ALL);
    let proxy = world.start(&["--port=0", "--grace=200ms", "--grant", grant.to_str().unwrap()]);
    let At::Tcp(address) = &proxy.at else { panic!("a port") };
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("POST {MAPS} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(proxy.at.get("/version").0, 200);
    proxy.terminate();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert_eq!(proxy.code(), Some(143));
}
