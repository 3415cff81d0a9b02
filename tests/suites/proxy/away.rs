//! The messages for operators about an unreachable server, a refused token, and exhausted resources of the proxy.

use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{ChildStderr, Command, Stdio};

use attache_devcluster::Fault;
use attache_tests::attache;
use serde_json::json;

use crate::http1::At;
use crate::world::{ALL, Proxy, World, within};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Starts a proxy whose callers may use everything in the namespace `default`. Returns it with its stderr.
fn start(command: &mut Command) -> (Proxy, BufReader<ChildStderr>) {
    let mut child = command.spawn().unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap());
    (Proxy::of(child), errors)
}

fn heard(world: &World) -> (Proxy, BufReader<ChildStderr>) {
    let grant = world.grant("all", ALL);
    let mut command = world.command(&["--port=0"]);
    start(command.arg("--grant").arg(grant).arg("--audit").arg(world.path("audit.jsonl")))
}

/// Returns the proxy's messages until it has ended.
fn last_words(proxy: Proxy, mut errors: BufReader<ChildStderr>) -> String {
    proxy.terminate();
    let said = within(move || {
        let mut said = String::new();
        errors.read_to_string(&mut said).unwrap();
        said
    });
    assert_eq!(proxy.code(), Some(0), "{said}");
    said
}

/// Returns the numbers that some lines end with, as `times=3`.
fn times(said: &str, wanted: &str) -> Vec<u32> {
    let lines = said.lines().filter(|line| line.contains(wanted));
    lines.map(|line| line.rsplit_once("times=").unwrap().1.parse().unwrap()).collect()
}

#[test]
fn it_serves_where_nobody_reads_its_greeting() {
    let world = World::new();
    let socket = world.path("api.sock");
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let grant = world.grant("all", ALL);
    let mut command = world.command(&["--audit=none", "--unix-socket", socket.to_str().unwrap()]);
    let mut child = command.arg("--grant").arg(grant).stdout(writer).spawn().unwrap();
    let at = At::Unix(socket.clone());
    let (status, _) = within(move || {
        while UnixStream::connect(&socket).is_err() {
            std::thread::yield_now();
        }
        at.get("/version")
    });
    assert_eq!(status, 200);
    assert!(Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap().success());
    let output = within(move || {
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (child.wait().unwrap().code(), said)
    });
    assert_eq!(output, (Some(0), String::new()));
}

#[test]
fn a_server_that_is_away_is_told_now_and_then_and_in_each_record() {
    let world = World::new();
    let (proxy, errors) = heard(&world);
    let audit = world.path("audit.jsonl");
    world.cluster.shutdown();
    for _ in 0..6 {
        assert_eq!(proxy.at.get(MAPS).0, 503);
    }
    let said = last_words(proxy, errors);
    let told = times(&said, "WARN attache::gate::operator_log: the API server could not be asked");
    assert!(told[0] == 1 && told.iter().sum::<u32>() == 6 && told.len() < 6, "{said}");
    let text = std::fs::read_to_string(audit).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let records: Vec<_> = lines.filter(|line| line["path"] == MAPS).collect();
    assert_eq!(records.len(), 6, "{text}");
    for record in records {
        assert_eq!((&record["verdict"], record.get("status")), (&json!("allowed"), None), "{record}");
        let error = record["error"].as_str().unwrap();
        assert!(error.contains("the API server is unavailable: connection refused at 127.0.0.1"), "{record}");
    }
}

#[test]
fn a_token_that_the_server_refuses_is_told_by_its_place() {
    let world = World::new();
    let (proxy, errors) = heard(&world);
    world.cluster.faults().always(Fault::Unauthorized, MAPS);
    for _ in 0..6 {
        assert_eq!(proxy.at.get(MAPS).0, 401);
    }
    let said = last_words(proxy, errors);
    let place = format!("the API server refuses the token of {}", world.folder.path().display());
    let told = said.lines().filter(|line| line.contains(&place)).count();
    assert!((1..6).contains(&told), "{said}");
    assert!(!said.contains(world.cluster.admin_token()), "{said}");
}

#[test]
fn a_want_of_open_files_is_told_as_the_proxys_own() {
    let world = World::new();
    let grant = world.grant("all", ALL);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 24; exec \"$@\"", "sh"]).arg(attache()).args(["proxy", "--port=0", "--audit=none"]);
    command.args(["--api-server", &world.cluster.url(), "--service-account"]).arg(world.folder.path());
    command.arg("--grant").arg(grant).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (proxy, errors) = start(&mut command);
    // They take all connections that the proxy has to the server by now.
    let watches = [(); 4].map(|()| proxy.at.send(&format!("GET {MAPS}?watch=1"), &[], b""));
    assert!(watches.iter().all(|watch| watch.status == 200));
    let At::Tcp(address) = &proxy.at else { panic!("a port") };
    let mut crowd: Vec<_> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    let hears = |mut errors: BufReader<ChildStderr>, wanted: &'static str| {
        within(move || {
            let mut line = String::new();
            while !line.contains(wanted) {
                line.clear();
                assert!(errors.read_line(&mut line).unwrap() > 0, "{wanted} comes");
            }
            (line, errors)
        })
    };
    let (_, errors) = hears(errors, "cannot take a connection");
    write!(crowd[0], "GET {MAPS} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    crowd[0].read_to_string(&mut answer).unwrap();
    let told = answer.starts_with("HTTP/1.1 503 ") && answer.contains("the host has too many files open");
    assert!(told, "{answer}");
    let (line, _errors) = hears(errors, "could not be asked");
    assert!(line.contains("this process has as many files open as its limit allows"), "{line}");
}
