//! The end of a server.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use attache::serving::{Connection, Stopped};
use http::Request;
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use crate::client::{Answer, listener, plain_http1, plain_http2, read, request, serve, text, within};

/// A handler that reports its start and waits for a permit to end. Dropped calls are counted.
#[derive(Clone)]
struct Gate {
    begun: Arc<Semaphore>,
    leave: Arc<Notify>,
    dropped: Arc<Semaphore>,
}

/// A call that waits.
type Pending = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Counts itself when it is dropped.
struct Dropped(Arc<Semaphore>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

impl Gate {
    fn new() -> Self {
        Self { begun: Arc::new(Semaphore::new(0)), leave: Arc::default(), dropped: Arc::new(Semaphore::new(0)) }
    }

    fn handler(&self) -> impl Fn(Request<Incoming>) -> Pending + Clone + use<> {
        let gate = self.clone();
        move |_| {
            let gate = gate.clone();
            Box::pin(async move {
                let _dropped = Dropped(Arc::clone(&gate.dropped));
                let left = gate.leave.notified();
                gate.begun.add_permits(1);
                left.await;
                text("done")
            })
        }
    }
}

async fn wait_for(semaphore: &Semaphore, number: u32) {
    within(semaphore.acquire_many(number)).await.unwrap().forget();
}

#[tokio::test]
async fn requests_in_progress_finish_and_no_connection_is_accepted() {
    let gate = Gate::new();
    let server = serve(listener().await.http2(true), 8, Duration::from_mins(1), gate.handler());
    let (mut new, mut old) = (plain_http2(server.address).await, plain_http1(server.address).await);
    let idle = plain_http2(server.address).await;
    let new = tokio::spawn(async move { read(new.send_request(request("/")).await).await });
    let old = tokio::spawn(async move { read(old.send_request(request("/")).await).await });
    wait_for(&gate.begun, 2).await;
    server.stop.cancel();
    within(async { while TcpStream::connect(server.address).await.is_ok() {} }).await;
    gate.leave.notify_waiters();
    for answer in [new, old] {
        assert_eq!(within(answer).await.unwrap().unwrap(), (200, "done".into()));
    }
    assert_eq!(within(server.ended).await.unwrap().cut, 0);
    drop(idle);
}

#[tokio::test]
async fn what_does_not_finish_within_the_grace_is_cut() {
    let gate = Gate::new();
    let server = serve(listener().await.http2(true), 8, Duration::from_millis(50), gate.handler());
    let (mut new, mut old) = (plain_http2(server.address).await, plain_http1(server.address).await);
    let new = tokio::spawn(async move { read(new.send_request(request("/")).await).await });
    let old = tokio::spawn(async move { read(old.send_request(request("/")).await).await });
    wait_for(&gate.begun, 2).await;
    server.stop.cancel();
    let Stopped { cut, .. } = within(server.ended).await.unwrap();
    assert_eq!(cut, 2);
    for answer in [new, old] {
        within(answer).await.unwrap().unwrap_err();
    }
    wait_for(&gate.dropped, 2).await;
}

#[tokio::test]
async fn a_call_ends_when_its_client_goes_away() {
    let gate = Gate::new();
    let server = serve(listener().await.http2(true), 8, Duration::ZERO, gate.handler());
    let (mut new, mut old) = (plain_http2(server.address).await, plain_http1(server.address).await);
    let new = tokio::spawn(async move { read(new.send_request(request("/")).await).await });
    let old = tokio::spawn(async move { read(old.send_request(request("/")).await).await });
    wait_for(&gate.begun, 2).await;
    new.abort();
    old.abort();
    wait_for(&gate.dropped, 2).await;
}

#[tokio::test]
async fn a_handler_hears_of_the_stop() {
    let begun = Arc::new(Semaphore::new(0));
    let seen = Arc::clone(&begun);
    let server = serve(listener().await, 8, Duration::from_mins(1), move |request: Request<Incoming>| {
        seen.add_permits(1);
        async move {
            let stopping = request.extensions().get::<Connection>().unwrap().stopping().clone();
            stopping.cancelled().await;
            text("stopped")
        }
    });
    let mut client = plain_http1(server.address).await;
    let answer = tokio::spawn(async move { read(client.send_request(request("/")).await).await });
    wait_for(&begun, 1).await;
    server.stop.cancel();
    assert_eq!(within(answer).await.unwrap().unwrap(), (200, "stopped".into()));
    assert_eq!(within(server.ended).await.unwrap().cut, 0);
}
