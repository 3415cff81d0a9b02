//! Several sockets of one server: who crowds one of them keeps nobody out of the others.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use attache::ambassador::local::{Listener, LocalServer, Site};
use http::HeaderValue;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::http1::At;

fn site() -> Site {
    let plain = HeaderValue::from_static("text/plain");
    Site::builder().text("/hello", plain, || "hello".into()).unwrap().build()
}

async fn hello(socket: &Path) -> (u16, String) {
    let at = At::Unix(socket.to_owned());
    spawn_blocking(move || at.get("/hello")).await.unwrap()
}

#[tokio::test]
async fn who_crowds_one_socket_keeps_nobody_out_of_the_others() {
    let folder = TempDir::new().unwrap();
    let [crowded, free] = ["crowded", "free"].map(|name| folder.path().join(name));
    let server = [&crowded, &free].into_iter().fold(LocalServer::new().connections(4), |server, socket| {
        server.serve(Listener::unix(socket, 0o600).unwrap(), site())
    });
    let running = tokio::spawn(server.run(std::future::pending(), Duration::ZERO));
    // Two of them are taken, the others wait in the system's queue.
    let crowd: Vec<_> = (0..8).map(|_| UnixStream::connect(&crowded).unwrap()).collect();
    assert_eq!(hello(&free).await, (200, "hello".into()));
    drop(crowd);
    assert_eq!(hello(&crowded).await, (200, "hello".into()));
    running.abort();
}

#[tokio::test]
async fn a_socket_that_somebody_else_has_made_in_its_place_is_left_to_them() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("api.sock");
    let first = Listener::unix(&place, 0o600).unwrap();
    let second = Listener::unix(&place, 0o600).unwrap();
    drop(first);
    assert!(place.exists());
    drop(second);
    assert!(!place.exists());
}
