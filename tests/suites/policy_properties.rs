//! Properties of the readers of untrusted text: accepted texts have one meaning, and no text causes a panic.
//!
//! `PROPTEST_CASES` sets the number of cases of each property. With the default the suite takes a few seconds.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use attache::policy::{ApiRequest, Grant, Verdict};
use http::Method;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Cases for each property where the environment does not say.
const CASES: u32 = 1024;

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(CASES), failure_persistence: None, ..ProptestConfig::default() }
}

#[path = "requestinfo.rs"]
mod server;

use server::judged;

fn methods() -> impl Strategy<Value = &'static str> {
    select(&["GET", "GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"][..])
}

/// Segments of paths, among them all that attackers try.
fn segments() -> impl Strategy<Value = &'static str> {
    const PLAIN: &[&str] = &[
        "v1",
        "apps",
        "namespaces",
        "namespaces",
        "demo",
        "other",
        "pods",
        "pods",
        "secrets",
        "status",
        "finalize",
        "watch",
        "proxy",
        "log",
        "exec",
        "a",
        "b",
        "version",
        "system:x",
        "api",
        "apis",
    ];
    const ODD: &[&str] = &[
        "",
        ".",
        "..",
        "%2e",
        "%2e%2e",
        "..%2fsecrets",
        "a%2fb",
        "%2F",
        "%00",
        "%0d%0a",
        "%",
        "%zz",
        "a%5cb",
        "\\",
        "system%3ax",
        "%70ods",
        "*",
        "A",
        "\u{e9}",
        "\u{ff0f}",
        "a;b",
        "a b",
        "a%20b",
        "a%3fb",
        "a?b",
        "a#b",
        "$(X)",
        "a%7cb",
        "a|b",
        "%e2%82%ac",
        "f(1);v=2",
        "%25",
        "%252e",
        "~",
        "n%61mespaces",
        "+",
    ];
    prop_oneof![8 => select(PLAIN), 1 => select(ODD)]
}

fn paths() -> impl Strategy<Value = String> {
    let starts = select(
        &["/api/v1", "/api/v1", "/api/v1/namespaces/demo", "/apis/apps/v1", "/apis", "/api", "", "/", "//", "http://h"]
            [..],
    );
    let ends = select(&["", "", "", "/", "//"][..]);
    (starts, vec(segments(), 0..6), ends).prop_map(|(start, parts, end)| {
        let parts: String = parts.iter().map(|part| ["/", *part].concat()).collect();
        [start, &parts, end].concat()
    })
}

fn queries() -> impl Strategy<Value = String> {
    const PAIRS: &[&str] = &[
        "watch",
        "watch=",
        "watch=1",
        "watch=0",
        "watch=true",
        "watch=false",
        "watch=FALSE",
        "watch=f",
        "w%61tch=1",
        "Watch=1",
        "watch=%30",
        "watch=1;x",
        "x;watch=1",
        "watch=0%00",
        "limit=5",
        "limit=6",
        "labelSelector=a%3Db",
        "a+b=c+d",
        "%",
        "a=%zz",
        "=",
        "",
        "fieldSelector=metadata.name%3Da",
        "fieldSelector=metadata.name=b",
        "fieldSelector=metadata.name==a,x!=y",
        "fieldSelector=x=y%5C,metadata.name%5C=a",
        "fieldSelector=metadata.name!=a",
        "fieldSelector=metadata.name=b,metadata.name=a",
        "fieldSelector=metadata.name=..",
        "fieldSelector=",
        "dryRun=All",
        "command=a",
        "x=%0a",
        "x=\u{e9}",
        "x=%c3%a9",
        "x=#",
        "x=/../y",
    ];
    vec(select(PAIRS), 0..4)
        .prop_map(|pairs| if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
}

/// The paths after which a backend reads the rest.
const BACKENDS: [&str; 4] = [
    "/api/v1/namespaces/demo/services/s/proxy/",
    "/api/v1/namespaces/demo/pods/https:p:8443/proxy/",
    "/api/v1/nodes/n/proxy/",
    "/api/v1/proxy/namespaces/demo/services/s/",
];

fn tails() -> impl Strategy<Value = String> {
    let odd = select(
        &[
            "a%2Fb",
            "my%20file.txt",
            "%E2%82%AC",
            "f(1);v=2",
            "",
            "a..b",
            "...",
            "%2e%2e",
            "..",
            "%252e%252e",
            "..%2f..",
            "..%5c",
            "..;x",
            "%ff",
            "%25",
            "a%2525b",
            "secrets",
            "%00",
            "{a}",
            "a|b",
            "~",
            "$x",
            "'",
            "@",
            ":",
            "%zz",
        ][..],
    );
    vec(odd, 0..5).prop_map(|parts| parts.join("/"))
}

/// Decodes once what can be decoded.
fn percent_decode(text: &str) -> String {
    let (mut out, mut index) = (Vec::new(), 0);
    while let Some(byte) = text.as_bytes().get(index) {
        let digits = text.get(index + 1..index + 3).filter(|_| *byte == b'%');
        let decoded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(decoded.unwrap_or(*byte));
        index += if decoded.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn parse(method: &str, target: &str) -> Option<ApiRequest> {
    ApiRequest::parse(&Method::from_bytes(method.as_bytes()).unwrap(), target).ok()
}

/// Returns a grant to read pods in `demo`.
fn reader() -> Grant {
    Grant::parse(
        "{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {name: t}, spec: {api: [{apiGroups: [''], resources: [pods], \
         verbs: [get, list], namespaces: [demo]}]}}",
    )
    .unwrap()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_judged_is_what_the_server_reads(method in methods(), path in paths(), query in queries()) {
        let raw = path + &query;
        if let Some(request) = parse(method, &raw) {
            let reading = Some(judged(&request));
            prop_assert_eq!(&server::read(method, request.target()), &reading, "sent: {}", request.target());
            // A trailing slash without a meaning is dropped. Otherwise the guest's own spelling has the same meaning.
            prop_assert_eq!(&server::read(method, &raw), &reading, "asked: {}", raw);
        }
    }

    #[test]
    fn the_query_of_a_collection_is_judged_as_the_server_reads_it(
        method in select(&["GET", "GET", "HEAD", "DELETE"][..]),
        path in select(&["/api/v1/pods", "/api/v1/namespaces/demo/pods", "/apis/apps/v1/watch/deployments", "/api/v1/namespaces"][..]),
        query in queries(),
    ) {
        let raw = path.to_owned() + &query;
        if let Some(request) = parse(method, &raw) {
            let reading = Some(judged(&request));
            prop_assert_eq!(&server::read(method, request.target()), &reading, "sent: {}", request.target());
            prop_assert_eq!(&server::read(method, &raw), &reading, "asked: {}", raw);
        }
    }

    #[test]
    fn what_is_sent_is_canonical(method in methods(), path in paths(), query in queries()) {
        if let Some(request) = parse(method, &(path + &query)) {
            prop_assert_eq!(parse(method, request.target()), Some(request.clone()));
            prop_assert!(request.target().bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"#<>".contains(&byte)));
            let head = server::before_backend(&request);
            prop_assert!(!head.contains([';', '|', '(']) && !head.contains("//"), "{}", head);
            prop_assert!(!request.path().split('/').any(|part| part == "." || part == ".."));
            // Only names are encoded, and never what a reader could cut or climb by.
            prop_assert!(!["%2e", "%2f", "%25"].iter().any(|escape| head.to_lowercase().contains(escape)), "{}", head);
            prop_assert!(request.resource().is_some_and(|at| !at.group.is_empty()) || !head.contains('%'), "{}", head);
        }
    }

    #[test]
    fn what_a_backend_reads_is_sent_as_it_came_and_opens_nothing(
        method in methods(), at in select(&BACKENDS[..]), tail in tails(), query in queries(),
    ) {
        let raw = format!("{at}{tail}{query}");
        if let Some(request) = parse(method, &raw) {
            prop_assert_eq!(request.target(), &raw);
            let path = request.resource().cloned().expect("a resource");
            let proxied = path.subresource.as_deref() == Some("proxy") || request.verb() == "proxy";
            prop_assert!(proxied, "{:?}", path);
            prop_assert_eq!(Some(judged(&request)), server::read(method, &raw));
            // No number of decodings makes the path leave its folder.
            let mut text = tail;
            for _ in 0..8 {
                prop_assert!(!text.split(['/', '\\']).any(|part| part == ".." || part == "."), "{}", text);
                text = percent_decode(&text);
            }
        }
    }

    #[test]
    fn no_spelling_widens_a_grant(method in methods(), path in paths(), query in queries()) {
        let Some(request) = parse(method, &(path + &query)) else { return Ok(()) };
        if let Verdict::Allowed { .. } = reader().judge(&request) {
            let Some(server::Reading::Resource { verb, type_of, namespace, .. }) = server::read(method, request.target()) else {
                return Err(TestCaseError::fail("a path was allowed"));
            };
            prop_assert!(verb == "get" || verb == "list", "{}", verb);
            prop_assert_eq!([&type_of[0], &type_of[2], &type_of[3], &namespace], ["", "pods", "", "demo"]);
        }
    }

    #[test]
    fn the_rule_that_a_denial_names_suffices(method in methods(), path in paths(), query in queries()) {
        let Some(request) = parse(method, &(path + &query)) else { return Ok(()) };
        // No server has such a type, and a rule that names one is a slip of the pen.
        prop_assume!(!request.resource().is_some_and(|path| path.resource == "A" || path.subresource.as_deref() == Some("A")));
        if let Verdict::Denied { needed, .. } = reader().judge(&request) {
            let text = format!(
                "{{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {{name: t}}, spec: {{api: [{needed}]}}}}"
            );
            let grant = Grant::parse(&text);
            prop_assert!(grant.is_ok(), "{text}: {}", grant.unwrap_err());
            prop_assert_eq!(grant.unwrap().judge(&request), Verdict::Allowed { rule: 0 }, "{}", needed);
        }
    }

    #[test]
    fn no_text_makes_the_request_reader_panic(method in methods(), target in any::<String>(), rest in "[ -~]{0,200}") {
        let _ = parse(method, &target);
        let _ = parse(method, &format!("/{rest}"));
        let _ = parse(method, &format!("/api/v1/pods?{rest}"));
    }

    #[test]
    fn a_built_request_has_the_parts_that_were_given(
        group in "[a-z./%]{0,6}", plural in "(pods|watch|namespaces|[a-z/.%?* -]{0,6})", namespace in proptest::option::of("[a-z/.-]{0,5}"),
        name in proptest::option::of("[a-z/.:%?-]{0,5}"), subresource in proptest::option::of("(status|log|[a-z/]{0,4})"),
    ) {
        let mut builder = ApiRequest::builder().resource(&group, "v1", &plural).namespace(namespace.as_deref());
        if let Some(name) = &name {
            builder = builder.name(name);
        }
        if let Some(subresource) = &subresource {
            builder = builder.subresource(subresource);
        }
        if let Ok(request) = builder.build(&Method::GET) {
            let path = request.resource().cloned().expect("a resource");
            prop_assert_eq!((path.group, path.resource, path.name.clone(), path.subresource), (group, plural.clone(), name, subresource));
            // A namespace lies in itself.
            let lies_in = if plural == "namespaces" && namespace.is_none() { path.name } else { namespace };
            prop_assert_eq!(path.namespace, lies_in);
            prop_assert!(parse("GET", request.target()).is_some());
        }
    }

    #[test]
    fn no_text_makes_the_grant_reader_panic(text in any::<String>(), yaml in "[a-z:{}\\[\\],'\"&*!|>#\\n -]{0,120}") {
        let _ = Grant::parse(&text);
        let _ = Grant::parse(&yaml);
    }

    #[test]
    fn a_damaged_grant_is_refused_or_reads_back_the_same(at in 0..GRANT.len(), length in 0..8_usize, put in "[a-zA-Z0-9:{}\\[\\],'\"*$()/ \\n.-]{0,4}") {
        let damaged = [&GRANT[..at], &put, GRANT.get(at + length..).unwrap_or_default()].concat();
        match Grant::parse(&damaged) {
            Ok(grant) => prop_assert_eq!(Grant::parse(&grant.to_yaml()), Ok(grant), "{}", damaged),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

/// A grant with every field.
const GRANT: &str = r#"apiVersion: attache.dev/v1alpha1
kind: Grant
metadata: {name: pod-card}
spec:
  component: {sha256: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}
  podinfo: {mountPath: /etc/podinfo, items: [labels]}
  env: [POD_NAME, POD_NAMESPACE]
  credentials: {mode: scoped, mountPath: /run/creds}
  api:
  - apiGroups: ["", apps]
    resources: [pods, pods/log, "*/scale", secrets]
    verbs: [get, list, watch]
    namespaces: ["$(POD_NAMESPACE)", demo]
    resourceNames: [a, "system:b"]
  - {nonResourceURLs: [/version, "/openapi/*"], verbs: [get]}
  egress: ["https://hooks.example.com:8443", "http://[::1]"]
  limits: {memory: 64Mi, deadline: 1m30s, cpu: 1s, requestsPerSecond: 20, burst: 40, inFlight: 8,
           responseBytes: 8Mi, watches: 8, handles: 1024, logBytesPerSecond: 64Ki}
"#;
