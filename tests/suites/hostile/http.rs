//! Guests that speak plain HTTP to the API server's names, and to other listeners.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use attache::ambassador::egress::{EgressClient, EgressSettings, Resolve};
use attache::extension::CallError;
use attache::policy::Limit;
use attache_tests::guest;
use serde_json::Value;

use super::stage::{Ran, Stage, grant, opening, run};
use super::{Attack, attacks};

pub(crate) const ALL: &[Attack] = attacks! {
    "smuggling by target" => targets,
    "odd methods and upgrades" => methods,
    "headers that say who asks" => identities,
    "guessing of other guests' tokens" => tokens,
    "tokens of another guest that runs" => others_token,
    "a body without an end" => endless,
    "a body that never ends" => stalled,
    "enormous headers" => headers,
    "requests with enormous parts" => enormous,
    "requests that are never sent" => unsent,
    "flood of plain requests" => flood,
    "destinations that are nobody's business" => destinations,
    "granted names that lead home" => home,
};

const POD: &str = "/api/v1/namespaces/demo/pods/a";

const LIMITS: &str = "{deadline: 20s, cpu: 10s, requestsPerSecond: 100000, burst: 100000, requestBytes: 64Ki, \
     headerBytes: 8Ki}";

async fn calls(stage: &Stage, limits: &str, calls: &[&[&str]]) -> Vec<Ran> {
    let extension = stage.guest("http-calls", &opening(limits)).await;
    let mut ran = Vec::new();
    for call in calls {
        ran.push(run(&extension, call).await);
    }
    ran
}

/// Returns the one line that the guest prints of an answer.
fn line(ran: &Ran) -> Value {
    assert_eq!(ran.ended.as_ref().unwrap().code, 0, "{}", ran.out);
    serde_json::from_str(ran.out.trim()).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
}

fn is_refused(answer: &Value) -> bool {
    answer["error"].is_string() || answer["status"].as_u64().is_some_and(|status| (400..500).contains(&status))
}

/// Asserts that none of these requests is answered, and that nothing was sent.
async fn all_refused(stage: &Stage, what: &[&[&str]]) -> String {
    for (ran, call) in calls(stage, LIMITS, what).await.iter().zip(what) {
        assert!(is_refused(&line(ran)), "{call:?}: {}", ran.out);
        assert!(!ran.out.contains("hidden"), "{call:?}: {}", ran.out);
    }
    let records = stage.audit.of("attacker");
    assert!(records.iter().all(|record| record["verdict"] != "allowed"), "{records:?}");
    format!("{} refused, nothing sent", what.len())
}

async fn targets(stage: Arc<Stage>) -> String {
    let targets = [
        "/api/v1/namespaces/demo/pods/../secrets/a",
        "/api/v1/namespaces/demo/pods/%2e%2e/secrets/a",
        "/api/v1/namespaces/demo/pods/..%2fsecrets%2fa",
        "/api/v1/namespaces/demo/pods/..%252fsecrets",
        "/api/v1/namespaces/demo/pods\\..\\secrets",
        "/api/v1/namespaces/demo//secrets/a",
        "//kubernetes/api/v1/namespaces/demo/secrets/a",
        "/api/v1/namespaces/demo%2fsecrets/a",
        "/api/v1/namespaces/demo/pods?watch=0&watch=1",
        "/api/v1/namespaces/demo/pods?fieldSelector=a=b&fieldSelector=c=d",
        "/api/v1/namespaces/demo/pods?limit=1;watch=1",
        "/api/v1/namespaces/demo/pods/a%0d%0aX-Remote-User:%20admin",
        "/api/v1/namespaces/demo/pods/a HTTP/1.1\r\nX-Remote-User: admin",
        "http://kubernetes/api/v1/namespaces/demo/secrets/a",
        "https://evil@kubernetes/api/v1/namespaces/demo/secrets/a",
        "*",
        "/api/v1/namespaces/demo/secrets/a",
        "/api/v1/namespaces/demo/pods/a/exec?command=sh",
        "/api/v1/proxy/namespaces/demo/services/a",
        "/api/v1/namespaces/demo/pods/a#b",
        "/api/v1/namespaces/demo/pods?limit=1#&watch=1",
        "/api/v1/namespaces/demo/services/s/proxy/..%2f..%2f..%2fpods%2fa",
        "/api/v1/namespaces/demo/services/s/proxy/%252e%252e/%252e%252e/%252e%252e/pods/a",
        "/api/v1/namespaces/demo/pods/a%7Cb",
        "/apis/authorization.k8s.io/v1/namespaces/demo/localsubjectaccessreviews",
    ];
    let calls: Vec<[&str; 4]> = targets.iter().map(|target| ["GET", "https", "kubernetes", *target]).collect();
    let calls: Vec<&[&str]> = calls.iter().map(|call| &call[..]).collect();
    all_refused(&stage, &calls).await
}

async fn methods(stage: Arc<Stage>) -> String {
    let upgrade =
        ["GET", "https", "kubernetes", POD, "--header", "upgrade", "websocket", "--header", "connection", "upgrade"];
    let methods =
        ["CONNECT", "TRACE", "OPTIONS", "get", "PURGE", "GET /api/v1/secrets HTTP/1.1\r\nX:", "POST", "DELETE"];
    let calls: Vec<[&str; 4]> = methods.iter().map(|method| [*method, "https", "kubernetes", POD]).collect();
    let calls: Vec<&[&str]> = calls.iter().map(|call| &call[..]).chain([&upgrade[..]]).collect();
    all_refused(&stage, &calls).await
}

async fn identities(stage: Arc<Stage>) -> String {
    let headers = [
        ("Impersonate-User", "system:admin"),
        ("impersonate-group", "system:masters"),
        ("Impersonate-Extra-scopes", "x"),
        ("X-Remote-User", "admin"),
        ("x-remote-group", "system:masters"),
        ("authorization", "Basic YWRtaW46YWRtaW4="),
        ("authorization", "Bearer "),
        ("host", "evil"),
        ("transfer-encoding", "chunked"),
        ("content-length", "-1"),
        ("x-any", "a\r\nImpersonate-User: admin"),
    ];
    let call = |(name, value)| ["GET", "https", "kubernetes", POD, "--header", name, value];
    let calls: Vec<[&str; 7]> = headers.map(call).to_vec();
    let calls: Vec<&[&str]> = calls.iter().map(|call| &call[..]).collect();
    all_refused(&stage, &calls).await
}

/// Guesses of tokens, each of which counts against the rate.
async fn tokens(stage: Arc<Stage>) -> String {
    let guess = format!("Bearer attache_{}", "A".repeat(43));
    let call = ["GET", "https", "kubernetes", POD, "--header", "authorization", &guess, "--times", "300"];
    let ran = calls(&stage, "{deadline: 20s, cpu: 10s, logBytesPerSecond: 1Mi}", &[&call]).await;
    let answers: Vec<Value> = ran[0].out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(answers.len(), 300);
    let of = |status: u64| answers.iter().filter(|answer| answer["status"] == status).count();
    assert_eq!(of(200), 0);
    assert!(of(401) <= 200 && of(429) > 0, "{} and {}", of(401), of(429));
    format!("{} unauthorised, {} throttled", of(401), of(429))
}

/// The valid token of another extension, which is refused even while that extension runs.
async fn others_token(stage: Arc<Stage>) -> String {
    let runtime = stage.with_account();
    let spec = opening("{deadline: 20s, cpu: 10s}").replacen('{', "{credentials: scoped, ", 1);
    let load = async |name: &str, of: &str| runtime.load_command_file(&guest(name), grant(of, &spec)).await.unwrap();
    let (attacker, victim) = (load("http-calls", "attacker").await, load("cat-labels", "victim").await);
    let printed = run(&victim, &["/var/run/secrets/kubernetes.io/serviceaccount"]).await.out;
    let token: String =
        printed[printed.find("attache_").unwrap()..].chars().take_while(|letter| !letter.is_whitespace()).collect();
    let presented = format!("Bearer {token}");
    let stolen = ["GET", "https", "kubernetes", POD, "--header", "authorization", &presented];
    let own = ["GET", "https", "kubernetes", POD, "--bearer", "/var/run/secrets/kubernetes.io/serviceaccount/token"];
    assert_eq!(line(&run(&attacker, &stolen).await)["status"], 401);
    assert_eq!(line(&run(&attacker, &own).await)["status"], 200);
    let records = serde_json::to_string(&stage.audit.of("attacker")).unwrap();
    assert!(records.contains("unauthorized") && !records.contains(&token), "{records}");
    "unauthorised; its own is taken".to_owned()
}

async fn endless(stage: Arc<Stage>) -> String {
    let spec = format!(
        "{{api: [{{apiGroups: [''], resources: [pods], verbs: [create], namespaces: [demo]}}], limits: {LIMITS}}}"
    );
    let extension = stage.guest("http-calls", &spec).await;
    let ran = run(&extension, &["POST", "https", "kubernetes", "/api/v1/namespaces/demo/pods", "--endless"]).await;
    assert!(is_refused(&line(&ran)), "{}", ran.out);
    stage.told(Limit::RequestBytes, false);
    format!("refused beyond requestBytes: 64Ki ({})", line(&ran)["status"])
}

async fn stalled(stage: Arc<Stage>) -> String {
    let extension = stage.guest("http-calls", &opening("{deadline: 700ms}")).await;
    let ran = run(&extension, &["GET", "https", "kubernetes", POD, "--stalled"]).await;
    stage.limited(&ran, Limit::Deadline)
}

/// wasmtime counts the bytes of a guest's headers. A host with a check only at the sending holds them before.
async fn headers(stage: Arc<Stage>) -> String {
    let value = "x".repeat(6000);
    let mut call = vec!["GET", "https", "kubernetes", POD];
    for name in ["x-a", "x-b", "x-c", "x-d"] {
        call.extend(["--header", name, &value]);
    }
    let ran = calls(&stage, LIMITS, &[&call]).await.pop().unwrap();
    assert!(stage.audit.of("attacker").iter().all(|record| record["verdict"] != "allowed"));
    stage.limited(&ran, Limit::HeaderBytes)
}

/// Enormous parts of requests under a grant that opens nothing. The limits hold without `api` and `egress` too.
async fn enormous(stage: Arc<Stage>) -> String {
    let extension = stage.guest("hoard", "{}").await;
    for (what, bytes) in [("methods", "7000000"), ("authorities", "7000000"), ("paths", "60000")] {
        let ran = run(&extension, &[what, bytes]).await;
        assert!(ran.ended.is_ok(), "{what}: {:?}", ran.ended);
        assert_eq!(ran.out, "0 taken\n", "{what}");
    }
    "not taken".to_owned()
}

async fn unsent(stage: Arc<Stage>) -> String {
    for (what, bytes) in [("fields", "60000"), ("clones", "60000"), ("bodies", "1000000"), ("methods", "8")] {
        // Of one extension's limits, those of ten seconds are one record.
        let extension = stage.guest("hoard", "{}").await;
        stage.audit.clear();
        let ran = run(&extension, &[what, bytes]).await;
        let stopped = stage.limited(&ran, Limit::HttpResources);
        assert_eq!(stopped, "stopped at httpResources: 128", "{what}");
        let Err(CallError::Limit { trap, .. }) = &ran.ended else { panic!("{what}: {:?}", ran.ended) };
        assert!(trap.root_cause().to_string().contains("holds 128 requests"), "{what}: {trap:?}");
    }
    "stopped at httpResources: 128".to_owned()
}

async fn flood(stage: Arc<Stage>) -> String {
    let call = ["GET", "https", "kubernetes", POD, "--length", "--times", "100000"];
    let ran = calls(&stage, "{deadline: 10s, cpu: 500ms, logBytesPerSecond: 1Mi}", &[&call]).await.pop().unwrap();
    let reached = ran.ended.as_ref().expect_err("it floods").reached().unwrap();
    // Thousands of requests in one call leave no handle behind.
    assert!(matches!(reached.limit, Limit::Cpu | Limit::Deadline), "{reached}");
    let records = stage.audit.of("attacker");
    assert!(records.len() < 500, "{}", records.len());
    let allowed = records.iter().filter(|record| record["verdict"] == "allowed").count();
    assert!(allowed <= 240, "{allowed}");
    format!("{allowed} sent, the rest throttled, stopped at {reached}")
}

async fn destinations(stage: Arc<Stage>) -> String {
    let places = [
        ("http", "169.254.169.254"),
        ("http", "127.0.0.1:10250"),
        ("https", "[::1]:6443"),
        ("http", "0.0.0.0:80"),
        ("http", "localhost:9999"),
        ("http", "2130706433"),
        ("https", "kubernetes.evil.example"),
        ("https", "kubernetes:10250"),
        ("https", "kubernetes@evil.example"),
        ("ftp", "kubernetes"),
    ];
    let calls: Vec<[&str; 4]> = places.iter().map(|(scheme, place)| ["GET", *scheme, *place, "/"]).collect();
    let calls: Vec<&[&str]> = calls.iter().map(|call| &call[..]).collect();
    all_refused(&stage, &calls).await
}

/// The addresses of the grant's names from a resolver of the attacker.
const HOME: [&str; 12] = [
    "127.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b:1:fffe::7f00:1",
    "2002:7f00:1::",
    "169.254.169.254",
    "fd00:ec2::23",
    "fd00:ec2::254",
    "fe80::a9fe:a9fe",
    "100.100.100.200",
    "168.63.129.16",
    "0.0.0.0",
];

/// Answers `N.home.example` with the address of that number in [`HOME`].
struct Home;

impl Resolve for Home {
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        let number = name.split('.').next().and_then(|number| number.strip_prefix('n')?.parse::<usize>().ok());
        let found = number.and_then(|number| HOME.get(number)).map(|address| address.parse().unwrap());
        Box::pin(async move { Ok(found.into_iter().collect()) })
    }
}

async fn home(stage: Arc<Stage>) -> String {
    let names: Vec<String> = (0..HOME.len()).map(|number| format!("n{number}.home.example:1")).collect();
    let granted: Vec<_> = names.iter().map(|name| format!("'http://{name}'")).collect();
    let spec = opening(LIMITS).replacen('{', &format!("{{egress: [{}], ", granted.join(", ")), 1);
    let client = EgressClient::new(EgressSettings { resolver: Arc::new(Home), extra_roots: Vec::new() });
    let extension =
        stage.with_egress(client).load_command_file(&guest("http-calls"), grant("attacker", &spec)).await.unwrap();
    for (name, address) in names.iter().zip(HOME) {
        let answer = line(&run(&extension, &["GET", "http", name, "/"]).await);
        assert_eq!(answer["error"], "ErrorCode::DestinationIpProhibited", "{address}: {answer}");
    }
    let records = stage.audit.of("attacker");
    assert!(records.len() == HOME.len() && records.iter().all(|record| record["verdict"] == "denied"), "{records:?}");
    format!("{} refused after the look-up, nothing connected to", HOME.len())
}
