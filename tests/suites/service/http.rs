//! The trigger `http`.

use attache::service::State;
use tokio::task::JoinSet;

use super::stage::{Stage, free_port, get, get_unix, send};

fn spec(port: u16, rest: &str) -> String {
    format!("{{component: {{file: answer.wasm}}, trigger: {{http: {{listen: '127.0.0.1:{port}'}}}}, {rest}}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_an_instance_of_its_own_unless_the_manifest_says_otherwise() {
    let (stage, port, reused) = (Stage::new(), free_port(), free_port());
    stage.apply("fresh", &spec(port, "grant: {}")).await;
    stage.apply("reused", &spec(reused, "grant: {}, instance: {calls: 3}")).await;
    for _ in 0..3 {
        assert_eq!(get(port, "/count").await, (200, Some("1\n".into())));
    }
    let mut counted = Vec::new();
    for _ in 0..4 {
        counted.push(get(reused, "/count").await.1.unwrap());
    }
    assert_eq!(counted, ["1\n", "2\n", "3\n", "1\n"]);
    let counts = stage.until("reused", |status| status.counts.calls == 4).await.counts;
    assert_eq!((counts.failed, counts.refused), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_fails_is_an_answer_and_disturbs_nobody() {
    let (stage, port) = (Stage::new(), free_port());
    stage.apply("x", &spec(port, "grant: {limits: {deadline: 3s, cpu: 100ms, memory: 16Mi}}")).await;
    assert_eq!(get(port, "/trap").await.0, 500);
    assert_eq!(get(port, "/spin").await.0, 500);
    assert_eq!(get(port, "/wait").await.0, 504);
    assert_eq!(get(port, "/teapot").await, (418, Some("short and stout\n".into())));
    // An answer that breaks off must not look like a whole one.
    assert_eq!(get(port, "/half").await, (200, None));
    assert_eq!(get(port, "/endless").await.1, None);
    assert_eq!(get(port, "/").await, (200, Some("Hello from Attache\n".into())));
    let status = stage.until("x", |status| status.counts.calls >= 7).await;
    assert_eq!((status.state, status.counts.failed), (State::Ready, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_streamed_both_ways_within_the_grant() {
    let (stage, port) = (Stage::new(), free_port());
    stage.apply("x", &spec(port, "grant: {limits: {requestBytes: 64Ki}}")).await;
    let post = |path: &str, body: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let body = "attache ".repeat(4000);
    assert_eq!(send(port, &post("/echo", &body)).await, (200, Some(body.clone())));
    assert_eq!(send(port, &post("/length", &body)).await, (200, Some("32000\n".into())));
    assert_eq!(send(port, &post("/length", &body.repeat(3))).await.0, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_instances_an_extension_is_busy_and_says_when_to_come_again() {
    let (stage, port) = (Stage::new(), free_port());
    stage.apply("x", &spec(port, "grant: {limits: {instances: 2}}")).await;
    let mut asking = JoinSet::new();
    for _ in 0..8 {
        asking.spawn(get(port, "/pause"));
    }
    let answers: Vec<u16> = asking.join_all().await.into_iter().map(|(status, _)| status).collect();
    let count = |wanted: u16| answers.iter().filter(|status| **status == wanted).count();
    assert!(count(200) >= 2 && count(503) >= 1 && count(200) + count(503) == 8, "{answers:?}");
    assert_eq!(get(port, "/").await.0, 200);
    assert!(stage.status("x").unwrap().counts.refused >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_extensions_share_an_address_by_path_and_host() {
    let (stage, port) = (Stage::new(), free_port());
    let site = |rest: &str, version: &str| {
        format!(
            "{{component: {{file: answer.wasm}}, grant: {{}}, env: [{{name: VERSION, value: {version}}}], \
             trigger: {{http: {{listen: '127.0.0.1:{port}', {rest}}}}}}}"
        )
    };
    stage.apply("root", &site("path: /", "root")).await;
    stage.apply("hooks", &site("path: /hooks", "hooks")).await;
    stage.apply("named", &site("host: named.example, path: /", "named")).await;
    let version = async |path: &str| get(port, path).await.1.unwrap();
    assert_eq!(version("/version").await, "root\n");
    assert_eq!(version("/hooks/version").await, "hooks\n");
    assert_eq!(version("/hooksversion").await, "Hello from Attache\n");
    let named = "GET /version HTTP/1.1\r\nHost: Named.Example:80\r\nConnection: close\r\n\r\n";
    assert_eq!(send(port, named).await.1.unwrap(), "named\n");
    let taken = stage.supervisor.apply(stage.definition("other", &site("path: /hooks/", "other"))).await;
    assert!(taken.unwrap_err().to_string().contains("hooks serves /hooks/"));
    assert!(stage.supervisor.remove("hooks").await);
    assert_eq!(version("/hooks/version").await, "root\n");
    assert!(stage.supervisor.remove("root").await);
    assert_eq!(get(port, "/version").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_serves_on_a_unix_socket() {
    let stage = Stage::new();
    let socket = stage.path("x.sock");
    let listen = format!("unix:{}", socket.display());
    let spec = format!("{{component: {{file: answer.wasm}}, grant: {{}}, trigger: {{http: {{listen: '{listen}'}}}}}}");
    stage.apply("x", &spec).await;
    assert_eq!(get_unix(&socket, "/").await, (200, Some("Hello from Attache\n".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_were_taken_are_answered_when_the_host_stops() {
    let (stage, port) = (Stage::new(), free_port());
    stage.apply("x", &spec(port, "grant: {}")).await;
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        asking.spawn(get(port, "/pause"));
    }
    // All of them are being answered when it stops.
    stage.until_printed(&"x| pauses\n".repeat(4)).await;
    assert!(stage.supervisor.drain(std::time::Duration::from_secs(20)).await);
    for answer in asking.join_all().await {
        assert_eq!(answer, (200, Some("rested\n".into())));
    }
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_whose_address_is_taken_leaves_the_one_before() {
    let (stage, port) = (Stage::new(), free_port());
    stage.apply("x", &spec(port, "grant: {}")).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let moved = spec(taken.local_addr().unwrap().port(), "grant: {}");
    let error = stage.supervisor.apply(stage.definition("x", &moved)).await.unwrap_err();
    assert!(error.to_string().contains("cannot listen"), "{error}");
    assert_eq!(get(port, "/").await.0, 200);
    // Another trigger in its place, and back again.
    let command = "{component: {file: service.wasm}, grant: {}, trigger: {command: {args: [until-stopped]}}}";
    stage.apply("x", command).await;
    let begun = std::time::Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
        assert!(begun.elapsed() < super::stage::PATIENCE, "the address is still open");
    }
    stage.apply("x", &spec(port, "grant: {}")).await;
    assert_eq!(get(port, "/").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_grace_are_cut_when_the_host_stops() {
    let (stage, port) = (Stage::new(), free_port());
    stage.apply("x", &spec(port, "grant: {limits: {deadline: 10m}}")).await;
    let asking = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"GET /stall HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    });
    stage.until_printed("x| stalls\n").await;
    assert!(!stage.supervisor.drain(std::time::Duration::from_millis(100)).await);
    // The connection ends long before the deadline.
    let _ = tokio::time::timeout(super::stage::PATIENCE, asking).await.unwrap().unwrap();
}
