//! Tries the network in every way that `std::net` has, `sockets [HOST:PORT…]`, and prints a line for each:
//! `WAY TARGET: refused (reason)` or `WAY TARGET: reached`.
//!
//! Without arguments it tries loopback and the API server's usual names.

use std::fmt::Display;
use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

const TARGETS: [&str; 3] = ["127.0.0.1:1", "[::1]:1", "kubernetes.default.svc:443"];

fn main() {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let targets = match named.as_slice() {
        [] => TARGETS.map(String::from).to_vec(),
        _ => named,
    };
    for target in &targets {
        report("resolve", target, target.to_socket_addrs());
        report("tcp-connect", target, TcpStream::connect(target));
        report("udp-send", target, send(target));
    }
    report("tcp-listen", "127.0.0.1:0", TcpListener::bind("127.0.0.1:0"));
    report("udp-bind", "0.0.0.0:0", UdpSocket::bind("0.0.0.0:0"));
}

fn send(target: &str) -> io::Result<usize> {
    UdpSocket::bind("0.0.0.0:0")?.send_to(b"hello", target)
}

fn report<T>(way: &str, target: impl Display, outcome: io::Result<T>) {
    match outcome {
        Ok(_) => println!("{way} {target}: reached"),
        Err(error) => println!("{way} {target}: refused ({error})"),
    }
}
