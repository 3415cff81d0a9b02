//! Granted names, and the addresses that no granted name may lead to.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use attache::ambassador::egress::{Egress, EgressClient, EgressSettings, Patience, Resolve};
use attache::extension::Extension;
use attache::gate::{Channel, Gate};
use attache::podinfo::PodInfo;
use bytes::Bytes;
use futures::future::{join_all, maybe_done};
use http::Request;
use http_body_util::Empty;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

use crate::guest::{API, alone, host, load};
use crate::outside::{Outside, get};
use crate::records::Records;
use crate::scripted::{Scripted, ok};
use crate::world::grant;

/// A resolver that knows no addresses, and answers only when the test lets it.
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

/// Calls each of these granted names from a guest, and asserts that the address is denied.
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
