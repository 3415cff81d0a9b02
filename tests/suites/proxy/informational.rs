//! Informational answers (1xx) before the answer.

use crate::behind::{Server, answer, send};
use crate::world::{ALL, within};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const FLOOD: &str = "/api/v1/namespaces/default/pods";

const HINT: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";

fn server() -> Server {
    Server::start(|head: String, mut stream| async move {
        if head.contains(FLOOD) {
            let hints = HINT.repeat(1000);
            // Until the client hangs up.
            while tokio::io::AsyncWriteExt::write_all(&mut stream, hints.as_bytes()).await.is_ok() {}
            return;
        }
        let hinted = format!("{HINT}HTTP/1.1 102 Processing\r\nX: y\r\n\r\n{HINT}");
        send(&mut stream, &hinted).await;
        answer(stream, "200 OK", "", "{}").await;
    })
}

#[test]
fn a_server_that_sends_them_without_end_is_given_up_and_holds_nobody_up() {
    let server = server();
    let place = server.place();
    let proxy = place.under(ALL, &[]);
    let floods: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn({
                let at = proxy.at.clone();
                move || at.get(FLOOD)
            })
        })
        .collect();
    for _ in 0..40 {
        let at = proxy.at.clone();
        assert_eq!(within(move || at.get(MAPS)), (200, "{}".into()));
    }
    for flood in floods {
        let (status, told) = within(move || flood.join().unwrap());
        assert!(status == 502 && told.contains("broke off"), "{status} {told}");
    }
    let record = place.record(|record| record["path"] == FLOOD && record["verdict"] == "allowed");
    assert!(record["error"].as_str().unwrap().contains("more than 16 informational answers"), "{record}");
}
