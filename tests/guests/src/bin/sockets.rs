//! Tries the network in every way that `std::net` has, and UDP by WASI's own names too, `sockets [HOST:PORT…]`, and
//! prints a line for each: `WAY TARGET: refused (reason)` or `WAY TARGET: reached`.
//!
//! Without arguments it tries loopback and the API server's usual names.

use std::fmt::Display;
use std::io;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress};
use wasip2::sockets::udp_create_socket::create_udp_socket;

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
    report("raw-udp-bind", "127.0.0.1:0", raw_udp(None).map_err(coded));
    report("raw-udp-connect", "127.0.0.1:53", raw_udp(Some(53)).map_err(coded));
}

/// Binds a socket, and connects it if `to` is given. Unlike a library, this function does not defer the calls until
/// data is sent.
fn raw_udp(to: Option<u16>) -> Result<(), ErrorCode> {
    let local = |port| IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (127, 0, 0, 1) });
    let socket = create_udp_socket(IpAddressFamily::Ipv4)?;
    socket.start_bind(&instance_network(), local(0))?;
    socket.subscribe().block();
    socket.finish_bind()?;
    to.map_or(Ok(()), |port| socket.stream(Some(local(port))).map(drop))
}

fn coded(code: ErrorCode) -> io::Error {
    io::Error::other(format!("{code:?}"))
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
