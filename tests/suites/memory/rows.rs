//! The rows of the sums, each with the attack that tries to exceed it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use attache::cluster::watch::{Scope, WatchSettings};
use attache::cluster::{ApiClient, ApiClientSettings, Endpoint};
use attache::engine::{Engine, EngineSettings};
use attache::extension::{BufferedOutput, Extension, Invocation, Runtime};
use attache::gate::{Channel, Gate};
use attache::policy::{ApiRequest, Grant, Limits};
use attache::telemetry::NoAudit;
use attache_tests::guest;

use super::resident::{self, KIB, MIB};
use super::server::Server;

/// The growth of the process without the guest's own memory, and the guest's answer.
pub(crate) struct Grown {
    pub(crate) bytes: u64,
    pub(crate) answered: String,
}

type Attack = fn() -> Pin<Box<dyn Future<Output = Grown>>>;

/// One row: what the sums say of it, and what is done.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) most: u64,
    pub(crate) attack: Attack,
}

/// The growth of a process between two calls that do nothing: pages of the allocator and of its threads, and of the
/// memory of a guest that was ended.
const NOISE: u64 = 4 * MIB;

/// The default limits, in bytes.
const HOSTCALL: u64 = 8 * MIB;
const RESPONSE: u64 = 8 * MIB;
const HEADERS: u64 = 64 * KIB;
const HANDLES: u64 = 1024;

/// The largest sum of headers of three letters, in bytes of their own. Each counts for 75 of `headerBytes`.
const SMALL_HEADERS: u64 = 2600;

/// The limit of kept objects in the rows of watches: less than the default, so that it is filled soon.
const WATCHED: u64 = 16 * MIB;

/// The memory for an incoming list: a page of at most 3 MiB, both as received and parsed (`WatchSettings`).
const COMING_IN: u64 = 8 * MIB;

pub(crate) const ROWS: &[Row] = &[
    Row { name: "arguments of one host call", most: 2 * HOSTCALL + NOISE, attack: || Box::pin(arguments()) },
    Row { name: "an object, read and written", most: 6 * RESPONSE + NOISE, attack: || Box::pin(objects()) },
    Row { name: "a list of the smallest objects", most: 6 * RESPONSE + NOISE, attack: || Box::pin(list()) },
    Row { name: "a refusal as large as an answer", most: 6 * RESPONSE + NOISE, attack: || Box::pin(refusal()) },
    Row {
        name: "requests that are not sent",
        most: 128 * (3 * HEADERS + 192 * KIB) + NOISE,
        attack: || Box::pin(requests()),
    },
    Row { name: "handles", most: HANDLES * KIB + NOISE, attack: || Box::pin(handles()) },
    Row { name: "output that nobody reads", most: 512 * KIB + NOISE, attack: || Box::pin(output()) },
    Row { name: "watched objects, the smallest", most: WATCHED + COMING_IN + NOISE, attack: || Box::pin(small()) },
    Row { name: "watched objects with long texts", most: WATCHED + COMING_IN + NOISE, attack: || Box::pin(long()) },
];

/// Loads a guest under a grant of the default limits, but for time and the guest's own memory.
async fn load(name: &str, memory: u64, cluster: Option<ApiClient>) -> Extension {
    let rule = "{apiGroups: [''], resources: [pods], verbs: [get, list, watch, create], namespaces: [demo]}";
    let spec = format!(
        "{{env: [HOG], api: [{rule}], \
         limits: {{memory: {memory}, deadline: 60s, cpu: 60s, requestsPerSecond: 10000, burst: 10000, \
         logBytesPerSecond: 16Mi}}}}"
    );
    let text = format!("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {{name: hog}}\nspec: {spec}\n");
    let grant = Grant::parse(&text).unwrap();
    let defaults = Limits::default();
    assert_eq!((defaults.hostcall_bytes, defaults.response_bytes), (HOSTCALL, RESPONSE));
    assert_eq!((defaults.header_bytes, u64::from(defaults.handles)), (HEADERS, HANDLES));
    let engine = Engine::new(&EngineSettings::default().instances(4)).unwrap();
    let builder = Runtime::builder().engine(engine).audit(Arc::new(NoAudit));
    let builder = cluster.into_iter().fold(builder, attache::extension::RuntimeBuilder::cluster);
    builder.build().unwrap().load_command_file(&guest(name), grant).await.unwrap()
}

/// Calls the guest twice, the first time with what does no harm, and returns what the second call took beside the
/// guest's memory.
async fn call(extension: &Extension, harmless: &[&str], attack: &[&str]) -> Grown {
    drop(extension.run(Invocation::new().args(harmless.iter().copied())).await);
    let before = resident::begin();
    let ended = extension.run(Invocation::new().args(attack.iter().copied())).await;
    let peak = resident::peak();
    let (own, answered) = match ended {
        Ok(outcome) => (outcome.memory as u64, "returned".to_owned()),
        Err(error) => {
            (extension.grant().limits.memory, error.to_string().lines().next().unwrap_or_default().to_owned())
        }
    };
    Grown { bytes: peak.saturating_sub(before).saturating_sub(own), answered }
}

/// Returns the largest growth of several.
fn worst(all: impl IntoIterator<Item = (String, Grown)>) -> Grown {
    let all: Vec<_> = all.into_iter().collect();
    for (what, grown) in &all {
        println!("  {what}: {:.1} MiB, {}", grown.bytes as f64 / MIB as f64, grown.answered);
    }
    let (what, grown) = all.into_iter().max_by_key(|(_, grown)| grown.bytes).expect("something was tried");
    Grown { answered: format!("most of it by {what}: {}", grown.answered), ..grown }
}

async fn arguments() -> Grown {
    let server = Server::saying("404 Not Found", Vec::new()).await;
    let extension = load("enormous", 64 * MIB, Some(client(&server.url, WatchSettings::default()))).await;
    let bytes = (HOSTCALL - 4 * KIB).to_string();
    let mut all = Vec::new();
    for what in ["label", "resolve", "namespace", "name", "subresource", "labels", "fields", "cursor", "poll"] {
        all.push((what.to_owned(), call(&extension, &[what, "64"], &[what, &bytes]).await));
    }
    worst(all)
}

async fn objects() -> Grown {
    let large = format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"a"}},"x":"{}"}}"#, x(RESPONSE - 100));
    let server = Server::saying("200 OK", vec![("/pods/small", pod("small")), ("/pods/a", large.into_bytes())]).await;
    let client = client(&server.url, WatchSettings::default());
    let reader = load("api-calls", 64 * MIB, Some(client.clone())).await;
    let writer = load("enormous", 64 * MIB, Some(client)).await;
    let get = call(&reader, &["get", "v1/pods", "demo", "small"], &["get", "v1/pods", "demo", "a"]).await;
    // Members of nine bytes and more, up to the largest request body.
    let create = call(&writer, &["members", "10"], &["members", "250000"]).await;
    worst([("get".to_owned(), get), ("create".to_owned(), create)])
}

async fn list() -> Grown {
    let mut all = Vec::new();
    for item in ["{}", r#"{"metadata":{"name":"a"}}"#] {
        let items = vec![item; usize::try_from(RESPONSE).unwrap() / (item.len() + 1) - 100].join(",");
        let large = format!(r#"{{"apiVersion":"v1","kind":"PodList","items":[{items}]}}"#).into_bytes();
        let server = Server::saying("200 OK", vec![("/pods/", pod("small")), ("/pods", large)]).await;
        let reader = load("api-calls", 256 * MIB, Some(client(&server.url, WatchSettings::default()))).await;
        let grown = call(&reader, &["get", "v1/pods", "demo", "small"], &["list", "v1/pods", "demo"]).await;
        all.push((format!("items {item}"), grown));
    }
    worst(all)
}

async fn refusal() -> Grown {
    let status = format!(r#"{{"kind":"Status","message":"{}","reason":"Forbidden"}}"#, x(RESPONSE - 100));
    let server =
        Server::saying("403 Forbidden", vec![("/pods/small", pod("small")), ("/pods/a", status.into_bytes())]).await;
    let reader = load("api-calls", 128 * MIB, Some(client(&server.url, WatchSettings::default()))).await;
    call(&reader, &["get", "v1/pods", "demo", "small"], &["get", "v1/pods", "demo", "a"]).await
}

async fn requests() -> Grown {
    let extension = load("hoard", 4 * MIB, None).await;
    let mut all = Vec::new();
    for (what, bytes) in [
        ("methods", 64),
        ("authorities", 500),
        ("paths", 64_000),
        ("fields", HEADERS - 500),
        ("small", SMALL_HEADERS),
        ("clones", HEADERS - 500),
        ("bodies", 1 << 20),
        ("whole", SMALL_HEADERS),
    ] {
        all.push((what.to_owned(), call(&extension, &[what, "8"], &[what, &bytes.to_string()]).await));
    }
    worst(all)
}

async fn handles() -> Grown {
    let server = Server::saying("200 OK", vec![("/pods", pods([pod("a")]))]).await;
    let extension = load("leak", 4 * MIB, Some(client(&server.url, WatchSettings::default()))).await;
    let mut all = Vec::new();
    for what in ["pollables", "streams", "followers", "collections"] {
        all.push((what.to_owned(), call(&extension, &["none"], &[what]).await));
    }
    worst(all)
}

async fn output() -> Grown {
    let extension = load("trickle", 4 * MIB, None).await;
    let mut all = Vec::new();
    for (what, times) in [("empty", "1000000"), ("bytes", "1000000"), ("streams", "1000"), ("flushes", "1000000")] {
        drop(extension.run(Invocation::new().args([what, "1"])).await);
        let before = resident::begin();
        let (reader, writer) = tokio::io::duplex(1);
        let call = Invocation::new().args([what, times]).stdout(BufferedOutput::new(writer));
        let ended = extension.run(call).await;
        let bytes = resident::peak().saturating_sub(before).saturating_sub(ended.map_or(MIB, |end| end.memory as u64));
        drop(reader);
        all.push((what.to_owned(), Grown { bytes, answered: format!("{times} times") }));
    }
    worst(all)
}

/// Measures more of the smallest objects than fit.
async fn small() -> Grown {
    watched((0..200_000).map(|number| format!(r#"{{"metadata":{{"name":"{number}"}}}}"#).into_bytes())).await
}

/// Measures objects in which each separately kept text is long.
async fn long() -> Grown {
    let object = |number: u32| {
        let (uid, version) = (x(2000), x(256));
        format!(r#"{{"metadata":{{"name":"{number}","uid":"{uid}","resourceVersion":"{version}"}}}}"#).into_bytes()
    };
    watched((0..10_000).map(object)).await
}

/// Follows a collection that fills the budget, and then is over.
async fn watched(objects: impl Iterator<Item = Vec<u8>>) -> Grown {
    let mut pages: Vec<(&'static str, Vec<u8>)> = Vec::new();
    let mut objects = objects.peekable();
    while objects.peek().is_some() {
        let number = pages.len();
        let marker: &'static str = if number == 0 { "/pods?" } else { format!("continue=c{number} ").leak() };
        let page: Vec<_> = objects.by_ref().take(1000).collect();
        pages.push((marker, paged(page, objects.peek().map(|_| number + 1))));
    }
    // The first that fits is taken, and each page's target begins as the first one's.
    pages.reverse();
    let server = Server::saying("200 OK", pages).await;
    let cluster = client(&server.url, WatchSettings::new().bytes(WATCHED));
    let scope = Scope::of(ApiRequest::builder().resource("", "v1", "pods").namespace(Some("demo"))).unwrap();
    let text = "{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {name: follower}, spec: {api: [{apiGroups: [''], \
                resources: [pods], verbs: [list, watch], namespaces: [demo]}]}}";
    let gate = Gate::new("follower", Arc::new(Grant::parse(text).unwrap()), Arc::new(NoAudit));
    let before = resident::begin();
    let permit = gate.admit_follower(Channel::Api, scope.list(), scope.watch().clone()).unwrap();
    let mut follower = cluster.follow(&scope, permit).unwrap();
    let mut held = 0;
    let why = loop {
        held = held.max(cluster.watch_figures().bytes);
        tokio::select! {
            filled = follower.filled() => match filled {
                Ok(()) => break "filled".to_owned(),
                Err(why) => break why.to_string(),
            },
            () = tokio::task::yield_now() => {}
        }
    };
    let bytes = resident::peak().saturating_sub(before);
    assert!(held > WATCHED / 2, "the budget was not filled: {held}, {why}");
    Grown { bytes, answered: format!("{:.1} MiB counted, {why}", held as f64 / MIB as f64) }
}

fn client(url: &str, watch: WatchSettings) -> ApiClient {
    let settings = ApiClientSettings::new(Endpoint::given(url).unwrap(), Arc::new(NoAudit));
    ApiClient::connect(settings.watches(watch)).unwrap()
}

fn x(bytes: u64) -> String {
    "x".repeat(usize::try_from(bytes).unwrap())
}

fn pod(name: &str) -> Vec<u8> {
    format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","resourceVersion":"1"}}}}"#).into_bytes()
}

fn pods(items: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    paged(items.into_iter().collect(), None)
}

fn paged(items: Vec<Vec<u8>>, next: Option<usize>) -> Vec<u8> {
    let next = next.map_or(String::new(), |next| format!(r#","continue":"c{next}""#));
    let head = format!(r#"{{"apiVersion":"v1","kind":"PodList","metadata":{{"resourceVersion":"1"{next}}},"items":["#);
    [head.into_bytes(), items.join(&b","[..]), b"]}".to_vec()].concat()
}
