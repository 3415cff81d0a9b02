//! Several sockets of one server: a client that crowds one socket does not block clients of the others.

use std::convert::Infallible;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use attache::serving::{Listener, Server, from_fn};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tempfile::TempDir;
use tokio::task::spawn_blocking;

use crate::http1::At;
use crate::world::{World, refused};

/// Answers every request with `hello`.
async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::from("hello")))
}

async fn hello(socket: &Path) -> (u16, String) {
    let at = At::Unix(socket.to_owned());
    spawn_blocking(move || at.get("/hello")).await.unwrap()
}

#[tokio::test]
async fn who_crowds_one_socket_keeps_nobody_out_of_the_others() {
    let folder = TempDir::new().unwrap();
    let [crowded, free] = ["crowded", "free"].map(|name| folder.path().join(name));
    let server = [&crowded, &free].into_iter().fold(Server::new().connections(4), |server, socket| {
        server.serve(Listener::unix(socket, 0o600).unwrap(), from_fn(answer))
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
    std::fs::remove_file(&place).unwrap();
    let second = Listener::unix(&place, 0o600).unwrap();
    drop(first);
    assert!(place.exists());
    drop(second);
    assert!(!place.exists());
}

#[tokio::test]
async fn a_socket_is_taken_from_nobody_who_answers_and_from_the_dead() {
    let folder = TempDir::new().unwrap();
    let place = folder.path().join("api.sock");
    let living = Server::new().serve(Listener::unix(&place, 0o600).unwrap(), from_fn(answer));
    let refused = Listener::unix(&place, 0o600).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse, "{refused}");
    let running = tokio::spawn(living.run(std::future::pending(), Duration::ZERO));
    assert_eq!(hello(&place).await, (200, "hello".into()), "the one that lives goes on");
    running.abort();
    running.await.unwrap_err();
    // A killed process leaves a socket file without a listener.
    drop(std::os::unix::net::UnixListener::bind(&place).unwrap());
    let heir = Server::new().serve(Listener::unix(&place, 0o600).unwrap(), from_fn(answer));
    let running = tokio::spawn(heir.run(std::future::pending(), Duration::ZERO));
    assert_eq!(hello(&place).await, (200, "hello".into()));
    running.abort();
    for file in ["note", "folder"] {
        let path = folder.path().join(file);
        if file == "note" {
            std::fs::write(&path, "kept").unwrap();
        } else {
            std::fs::create_dir(&path).unwrap();
        }
        assert!(Listener::unix(&path, 0o600).is_err() && path.exists(), "{file}");
    }
}

#[test]
fn a_second_proxy_leaves_the_socket_to_the_first() {
    let world = World::new();
    let socket = world.path("api.sock");
    let arguments = ["--read-only", "--unix-socket", socket.to_str().unwrap()];
    let first = world.start(&arguments);
    let told = refused(&mut world.command(&arguments));
    assert!(told.contains("api.sock") && told.contains("another process listens on it"), "{told}");
    assert_eq!(first.at.get("/version").0, 200);
    // One that is killed removes nothing.
    drop(first);
    assert!(socket.exists());
    assert_eq!(world.start(&arguments).at.get("/version").0, 200);
}
