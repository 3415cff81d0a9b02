//! Guests that call other places than the API server.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attache::ambassador::egress::{Egress, EgressClient, EgressSettings, Patience, Resolve};
use attache::extension::Extension;
use attache::gate::{Channel, Gate};
use attache::podinfo::PodInfo;
use bytes::Bytes;
use futures::future::{join_all, maybe_done};
use http::Request;
use http_body_util::Empty;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

use crate::guest::{API, alone, called, host, load};
use crate::records::Records;
use crate::scripted::{Authority, Scripted, Step, answer, ok};
use crate::world::{World, grant};

/// Names with the addresses that they lead to, one list after the other with each look-up.
#[derive(Default)]
struct Names {
    list: BTreeMap<&'static str, Vec<Vec<&'static str>>>,
    asked: Mutex<Vec<String>>,
    turn: AtomicUsize,
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        self.asked.lock().unwrap().push(name.to_owned());
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        let lists = self.list.get(name).cloned().unwrap_or_default();
        let addresses = lists.get(turn.min(lists.len().saturating_sub(1))).cloned().unwrap_or_default();
        Box::pin(async move { Ok(addresses.iter().map(|address| address.parse().unwrap()).collect()) })
    }
}

/// Knows no address of any name, and says so when it is told to.
struct Hanging {
    begun: AtomicUsize,
    told: Semaphore,
}

impl Resolve for Hanging {
    fn resolve<'a>(&'a self, _: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            let told = self.told.acquire().await;
            told.map_err(io::Error::other)?.forget();
            Ok(Vec::new())
        })
    }
}

struct Outside {
    world: World,
    names: Arc<Names>,
    roots: Vec<u8>,
}

impl Outside {
    fn new() -> Self {
        Self { world: World::new(), names: Arc::default(), roots: Vec::new() }
    }

    fn named(list: impl IntoIterator<Item = (&'static str, Vec<Vec<&'static str>>)>) -> Self {
        let names = Names { list: list.into_iter().collect(), ..Names::default() };
        Self { names: Arc::new(names), ..Self::new() }
    }

    /// The guest `http-calls`, with these destinations granted.
    async fn load(&self, egress: &[&str]) -> Extension {
        let settings = EgressSettings { resolver: self.names.clone(), extra_roots: self.roots.clone() };
        let host = host(&self.world).egress(EgressClient::new(settings));
        load(host, "http-calls", &format!("{API}, egress: {egress:?}")).await.unwrap()
    }

    fn last(&self) -> Value {
        self.world.records.last()
    }
}

fn authority(url: &str) -> (&str, &str) {
    url.split_once("://").unwrap()
}

async fn get(extension: &Extension, url: &str, flags: &[&str]) -> Value {
    let (scheme, authority) = authority(url);
    let words = [&["GET", scheme, authority, "/hook?secret=1"][..], flags].concat();
    called(extension, &words).await
}

#[tokio::test]
async fn a_granted_destination_is_reached_and_recorded() {
    let server = Scripted::plain(|_, _| ok("hello")).await;
    let outside = Outside::new();
    let extension = outside.load(&[&server.url]).await;
    let flags = ["--header", "authorization", "Bearer its-own", "--header", "x-any", "1"];
    let answer = get(&extension, &server.url, &flags).await;
    assert_eq!((&answer["status"], &answer["body"]), (&json!(200), &json!("hello")));
    let head = server.heads().remove(0);
    assert!(head.starts_with("get /hook?secret=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("authorization: bearer its-own\r\n") && head.contains("x-any: 1\r\n"), "{head}");
    assert!(!head.contains(&outside.world.token), "the host's token went out");
    let record = outside.last();
    assert_eq!(
        (
            &record["way"],
            &record["verdict"],
            &record["destination"],
            &record["path"],
            &record["status"],
            &record["bytes"]
        ),
        (&json!("wasi-http"), &json!("allowed"), &json!(server.url), &json!("/hook"), &json!(200), &json!(5))
    );
}

#[tokio::test]
async fn informational_answers_without_end_are_cut_long_before_the_deadline() {
    let hint = || b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec();
    let mut server = Scripted::plain(move |_, head| {
        if head.contains("flood") {
            return vec![Step::Repeat(hint())];
        }
        [vec![Step::Send(hint())], ok("hello")].into_iter().flatten().collect()
    })
    .await;
    let destination = server.url.parse().unwrap();
    let records = Records::default();
    let grant = Arc::new(grant("ext", &format!("{{egress: [{:?}]}}", server.url)));
    let egress =
        Egress::new(Channel::WasiHttp, Gate::new("ext", grant, records.audit()), EgressClient::default(), Vec::new());
    let send = async |path: &str| {
        let request = Request::get(path).body(Empty::<Bytes>::new()).unwrap();
        egress.send(&destination, request, Patience::default()).await
    };
    assert_eq!(send("/").await.unwrap().status(), 200);
    let error = send("/flood").await.unwrap_err();
    let told = attache::telemetry::chain(&error).to_string();
    assert!(told.contains("more than 16 informational answers"), "{told}");
    server.hung_up().await;
}

#[tokio::test]
async fn any_other_is_denied_and_recorded() {
    let server = Scripted::plain(|_, _| ok("hello")).await;
    let outside = Outside::new();
    let extension = outside.load(&["https://hooks.example.com"]).await;
    let other_scheme = server.url.replace("http:", "https:");
    for url in
        [&server.url, &other_scheme, "http://hooks.example.com", "https://hooks.example.com:444", "https://example.com"]
    {
        assert_eq!(get(&extension, url, &[]).await["error"], "ErrorCode::HttpRequestDenied", "{url}");
        let record = outside.last();
        assert_eq!((&record["verdict"], &record["destination"]), (&json!("denied"), &json!(url)));
        assert!(record["reason"].as_str().unwrap().contains("under `egress`"), "{record}");
    }
    for url in
        ["https://hooks.example.com.", "https://127.1", "https://user@hooks.example.com", "https://hooks.example.com:"]
    {
        let answer = get(&extension, url, &[]).await;
        assert_eq!(answer["error"], "ErrorCode::HttpRequestUriInvalid", "{url}");
        assert_eq!(outside.last()["verdict"], "denied");
    }
    assert!(server.heads().is_empty() && outside.names.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_the_server_in_the_grant_egress_alone_is_enough() {
    let server = Scripted::plain(|_, _| ok("hello")).await;
    let world = World::new();
    let extension = load(host(&world), "http-calls", &format!("egress: [{:?}]", server.url)).await.unwrap();
    assert_eq!(get(&extension, &server.url, &[]).await["status"], 200);
    assert_eq!(get(&extension, "https://kubernetes", &[]).await["status"], 403);
}

#[tokio::test]
async fn a_granted_name_cannot_lead_to_where_none_may() {
    let outside = Outside::named([
        ("loop.example", vec![vec!["127.0.0.1", "::1"]]),
        ("mapped.example", vec![vec!["::ffff:127.0.0.1"]]),
        ("link.example", vec![vec!["169.254.169.254"]]),
        ("meta.example", vec![vec!["fd00:ec2::254"]]),
        ("zero.example", vec![vec!["0.0.0.0", "::"]]),
    ]);
    let names = ["loop", "mapped", "link", "meta", "zero"].map(|name| format!("http://{name}.example:1"));
    let extension = outside.load(&names.each_ref().map(String::as_str)).await;
    for name in &names {
        assert_eq!(get(&extension, name, &[]).await["error"], "ErrorCode::DestinationIpProhibited", "{name}");
        let record = outside.last();
        assert_eq!((&record["verdict"], &record["destination"]), (&json!("denied"), &json!(name)));
    }
}

/// Granted names that lead to these addresses, each called by a guest; nothing may be connected to.
async fn refused(outside: &Outside, extension: &Extension, names: &[String]) {
    for name in names {
        let answer = get(extension, name, &[]).await;
        assert_eq!(answer["error"], "ErrorCode::DestinationIpProhibited", "{name}: {answer}");
        let record = outside.last();
        assert_eq!((&record["verdict"], &record["destination"]), (&json!("denied"), &json!(name)));
    }
}

#[tokio::test]
async fn a_granted_name_leads_to_no_metadata_service_in_any_form() {
    const ADDRESSES: [&str; 28] = [
        "fd00:ec2::23",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "fd00:42::42",
        "fd00:a9fe:a9fe::1",
        "fd00:100::100:200",
        "fe80::a9fe:a9fe",
        "169.254.170.2",
        "169.254.170.23",
        "169.254.0.23",
        "168.63.129.16",
        "100.100.100.200",
        "100.96.0.96",
        "192.0.0.192",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1:fffe::7f00:1",
        "64:ff9b:1:a9fe:a9:fe00::",
        "64:ff9b:1:a9:fe:a9fe::",
        "64:ff9b:1:0:a9:fea9:fe00:0",
        "2001:db8:122:344::a9fe:a9fe",
        "2001:db8:a9fe:a9fe::",
        "2002:a9fe:a9fe::1",
        "2001::a9fe:a9fe:0:0:0:0",
        "2001:0:808:808:8000:0:5601:5601",
        "fd12::5efe:a9fe:a9fe",
        "::ffff:0:a9fe:a9fe",
        "::a9fe:a9fe",
    ];
    let labels: Vec<&'static str> =
        (0..ADDRESSES.len()).map(|number| &*Box::leak(format!("m{number}.example").into_boxed_str())).collect();
    let outside = Outside::named(labels.iter().copied().zip(ADDRESSES.map(|address| vec![vec![address]])));
    let names: Vec<_> = labels.iter().map(|label| format!("http://{label}:1")).collect();
    let extension = outside.load(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    refused(&outside, &extension, &names).await;
}

#[tokio::test]
async fn a_granted_name_leads_neither_to_the_pod_nor_to_its_interfaces() {
    let interfaces = if_addrs::get_if_addrs().unwrap();
    let of_interfaces = interfaces.iter().map(|interface| interface.ip().to_string());
    let addresses: Vec<&'static str> = ["10.77.1.2".to_owned(), "fd77::2".to_owned()]
        .into_iter()
        .chain(of_interfaces)
        .map(|address| &*Box::leak(address.into_boxed_str()))
        .collect();
    let labels: Vec<&'static str> =
        (0..addresses.len()).map(|number| &*Box::leak(format!("s{number}.example").into_boxed_str())).collect();
    let outside = Outside::named(labels.iter().copied().zip(addresses.iter().map(|address| vec![vec![*address]])));
    let names: Vec<_> = labels.iter().map(|label| format!("http://{label}:1")).collect();
    let pod = PodInfo::builder().variables([("POD_IPS".to_owned(), "10.77.1.2,fd77::2".to_owned())]).build().unwrap();
    let settings = EgressSettings { resolver: outside.names.clone(), extra_roots: Vec::new() };
    let host = host(&outside.world).egress(EgressClient::new(settings)).pod_info(pod);
    let extension = load(host, "http-calls", &format!("{API}, egress: {names:?}")).await.unwrap();
    refused(&outside, &extension, &names).await;
}

#[tokio::test]
async fn a_granted_name_never_leads_to_the_api_server_with_or_without_an_api_rule() {
    let outside = Outside::named([
        ("kubernetes.default.svc", vec![vec!["198.51.100.1", "2001:db8:96::1"]]),
        ("first.example", vec![vec!["198.51.100.1"]]),
        ("second.example", vec![vec!["2001:db8:96::1"]]),
        ("mapped.example", vec![vec!["::ffff:198.51.100.1"]]),
        ("variable.example", vec![vec!["198.51.100.9"]]),
        ("loop.example", vec![vec!["127.0.0.1"]]),
    ]);
    let names: Vec<_> =
        ["first", "second", "mapped", "variable", "loop"].map(|name| format!("https://{name}.example:6443")).into();
    let settings = || EgressSettings { resolver: outside.names.clone(), extra_roots: Vec::new() };
    let variables = [("KUBERNETES_SERVICE_HOST", "198.51.100.9"), ("KUBERNETES_SERVICE_PORT", "443")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let before = host(&outside.world).egress(EgressClient::new(settings())).variables(variables.clone());
    let extension = load(before, "http-calls", &format!("{API}, egress: {names:?}")).await.unwrap();
    refused(&outside, &extension, &names).await;
    let without = alone(&outside.world).egress(EgressClient::new(settings())).variables(variables);
    let extension = load(without, "http-calls", &format!("egress: {names:?}")).await.unwrap();
    refused(&outside, &extension, &names).await;
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_connected_to_where_it_was_checked() {
    // A second look-up would lead to the server on loopback.
    let server = Scripted::plain(|_, _| ok("secret")).await;
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    // The first leads nowhere: addresses of RFC 6666 are discarded, where they have a route at all.
    let outside = Outside::named([("moving.example", vec![vec!["100::1"], vec!["127.0.0.1"]])]);
    let url = format!("http://moving.example:{port}");
    let extension = outside.load(&[&url]).await;
    let answer = get(&extension, &url, &["--connect", "300"]).await;
    assert!(answer["error"].is_string(), "{answer}");
    // Beside it only the API server was looked for.
    assert_eq!(*outside.names.asked.lock().unwrap(), ["moving.example", "kubernetes.default.svc"]);
    assert!(server.heads().is_empty());
}

#[tokio::test]
async fn the_api_server_is_not_reached_as_a_destination() {
    let outside = Outside::new();
    let url = outside.world.server.url();
    let extension = outside.load(&[&url]).await;
    // By its own name it is the ambassador that answers, granted or not.
    let answer = get(&extension, &url, &[]).await;
    assert_eq!((&answer["status"], &outside.last()["destination"]), (&json!(403), &Value::Null));
    // Under another spelling of the same place it is nobody.
    let mapped = url.replace("127.0.0.1", "[::ffff:127.0.0.1]");
    let extension = outside.load(&[&mapped]).await;
    assert_eq!(get(&extension, &mapped, &[]).await["error"], "ErrorCode::DestinationIpProhibited");
}

#[tokio::test]
async fn tls_is_checked_against_the_roots_and_the_name() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let server = Scripted::tls(&ours, |_, _| ok("hello")).await;
    let mut outside = Outside::new();
    outside.roots = ours.pem().into();
    let trusting = outside.load(&[&server.url]).await;
    assert_eq!(get(&trusting, &server.url, &[]).await["body"], "hello");
    server.present(ours.acceptor("other.example"));
    assert_eq!(get(&trusting, &server.url, &[]).await["error"], "ErrorCode::TlsCertificateError");
    let record = outside.last();
    assert_eq!((&record["verdict"], record.get("status")), (&json!("allowed"), None), "{record}");
    assert!(record["error"].as_str().is_some_and(|error| error.contains("certificate")), "{record}");
    outside.roots = theirs.pem().into();
    server.present(ours.acceptor("127.0.0.1"));
    let wary = outside.load(&[&server.url]).await;
    assert_eq!(get(&wary, &server.url, &[]).await["error"], "ErrorCode::TlsCertificateError");
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", plain.local_addr().unwrap());
    let answering = tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        stream
    });
    let wary = outside.load(&[&url]).await;
    assert_eq!(get(&wary, &url, &[]).await["error"], "ErrorCode::TlsProtocolError");
    drop(answering.await);
}

#[tokio::test]
async fn a_redirect_is_the_guests_to_follow_and_judged_anew() {
    let elsewhere = Scripted::plain(|_, _| ok("secret")).await;
    let to = format!("Location: {}/\r\n", elsewhere.url);
    let server = Scripted::plain(move |_, _| answer("302 Found", &to, "")).await;
    let outside = Outside::new();
    let extension = outside.load(&[&server.url]).await;
    let answer = get(&extension, &server.url, &[]).await;
    assert_eq!(
        (&answer["status"], &answer["headers"]["location"]),
        (&json!(302), &json!(format!("{}/", elsewhere.url)))
    );
    assert!(elsewhere.heads().is_empty());
    assert_eq!(get(&extension, &elsewhere.url, &[]).await["error"], "ErrorCode::HttpRequestDenied");
}

#[tokio::test]
async fn bodies_without_an_end_are_cut_both_ways() {
    let script = |_: usize, head: &str| {
        if head.starts_with("POST") {
            return vec![Step::Silence];
        }
        let piece = format!("{:x}\r\n{}\r\n", 1000, "x".repeat(1000)).into_bytes();
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        vec![Step::Send(head), Step::Repeat(piece)]
    };
    let mut server = Scripted::plain(script).await;
    let outside = Outside::new();
    let extension = outside.load(&[&server.url]).await;
    let answer = get(&extension, &server.url, &["--length"]).await;
    assert!(answer["broken"].as_str().unwrap().contains("body size exceeds limit"), "{answer}");
    assert!(answer["body"].as_u64().unwrap() <= 8 << 20);
    server.hung_up().await;
    let (scheme, at) = authority(&server.url);
    let answer = called(&extension, &["POST", scheme, at, "/", "--endless"]).await;
    assert_eq!(answer["error"], "ErrorCode::HttpRequestBodySize(Some(3145728))");
    let reasons: Vec<Value> = outside.world.records.all().iter().map(|record| record["reason"].clone()).collect();
    assert_eq!(reasons, ["responseBytes: 8Mi", "requestBytes: 3Mi"]);
}

#[tokio::test]
async fn slow_servers_are_waited_for_as_long_as_the_guest_says() {
    let silent = Scripted::plain(|_, _| vec![Step::Silence]).await;
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx".to_vec();
    let slow = Scripted::plain(move |_, _| vec![Step::Send(head.clone()), Step::Silence]).await;
    let outside = Outside::new();
    let extension = outside.load(&[&silent.url, &slow.url]).await;
    let answer = get(&extension, &silent.url, &["--first-byte", "100"]).await;
    assert_eq!(answer["error"], "ErrorCode::ConnectionReadTimeout");
    let answer = get(&extension, &slow.url, &["--between", "100"]).await;
    assert!(answer["broken"].as_str().unwrap().contains("read timeout"), "{answer}");
}

#[tokio::test]
async fn a_place_that_is_not_there_is_told_apart() {
    let outside = Outside::named([("nowhere.example", vec![])]);
    let extension = outside.load(&["http://127.0.0.1:1", "http://nowhere.example"]).await;
    assert_eq!(get(&extension, "http://127.0.0.1:1", &[]).await["error"], "ErrorCode::ConnectionRefused");
    let answer = get(&extension, "http://nowhere.example", &[]).await;
    assert!(answer["error"].as_str().unwrap().starts_with("ErrorCode::DnsError"), "{answer}");
}

#[tokio::test]
async fn hostile_heads_are_survived() {
    for bytes in
        ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"]
    {
        let server = Scripted::plain(move |_, _| vec![Step::Send(bytes.into()), Step::Close]).await;
        let outside = Outside::new();
        let extension = outside.load(&[&server.url]).await;
        let answer = get(&extension, &server.url, &["--first-byte", "5000"]).await;
        assert!(answer["error"].is_string(), "{bytes:?}: {answer}");
    }
    let endless = Scripted::plain(|_, _| {
        let head = b"HTTP/1.1 200 OK\r\n".to_vec();
        vec![Step::Send(head), Step::Trickle(b"x-many: xxxxxxxxxxxxxxxx\r\n".to_vec(), Duration::ZERO)]
    })
    .await;
    let outside = Outside::new();
    let extension = outside.load(&[&endless.url]).await;
    let answer = get(&extension, &endless.url, &[]).await;
    assert!(answer["error"].is_string(), "{answer}");
}

#[tokio::test]
async fn look_ups_that_hang_hold_four_places_whoever_still_waits() {
    const AT_ONCE: usize = 4;
    let resolver = Arc::new(Hanging { begun: AtomicUsize::new(0), told: Semaphore::new(0) });
    let client = EgressClient::new(EgressSettings { resolver: resolver.clone(), extra_roots: Vec::new() });
    let grant = grant("egress", "{egress: ['http://slow.example'], limits: {burst: 1000, inFlight: 100}}");
    let gate = Gate::new("egress", Arc::new(grant), Records::default().audit());
    let egress = Egress::new(Channel::WasiHttp, gate, client, Vec::new());
    let destination = "http://slow.example".parse().unwrap();
    let many = || {
        let request = || Request::get("/").body(Empty::<Bytes>::new()).unwrap();
        Box::pin(join_all((0..10).map(|_| egress.send(&destination, request(), Patience::default()))))
    };
    let begun_by = async |requests: usize| {
        // More turns than there is anything to do: what can begin has begun.
        for _ in 0..requests * 10 {
            yield_now().await;
        }
        resolver.begun.load(Ordering::SeqCst)
    };
    let mut given_up = maybe_done(many());
    assert!(futures::poll!(&mut given_up).is_pending());
    assert_eq!(begun_by(10).await, AT_ONCE);
    drop(given_up);
    let mut waiting = maybe_done(many());
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(begun_by(10).await, AT_ONCE);
    resolver.told.add_permits(100);
    waiting.await;
    assert_eq!(begun_by(10).await, AT_ONCE + 10);
}
