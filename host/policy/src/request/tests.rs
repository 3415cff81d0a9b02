//! Requests as the API server reads them, line by line.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use http::Method;

use crate::{ApiRequest, InvalidRequest, MAX_TARGET};

fn parse(line: &str) -> Result<ApiRequest, InvalidRequest> {
    let (method, target) = line.split_once(' ').unwrap();
    ApiRequest::parse(&Method::from_bytes(method.as_bytes()).unwrap(), target)
}

/// Returns `verb group/version resource/subresource namespace name`, with `-` for missing parts.
fn judged(request: &ApiRequest) -> String {
    let Some(path) = request.resource() else { return format!("{} {}", request.verb(), request.path()) };
    let or_dash = |part: &Option<String>| part.clone().unwrap_or_else(|| "-".into());
    let (group, version, resource) = (&path.group, &path.version, &path.resource);
    let subresource = path.subresource.as_ref().map(|sub| format!("/{sub}")).unwrap_or_default();
    let (namespace, name) = (or_dash(&path.namespace), or_dash(&path.name));
    format!("{} {group}/{version} {resource}{subresource} {namespace} {name}", request.verb())
}

#[test]
fn each_request_is_read_as_the_server_reads_it() {
    for (line, expected) in [
        // Paths that are no resources.
        ("GET /", "get /"),
        ("GET /api", "get /api"),
        ("GET /api/", "get /api/"),
        ("GET /api/v1", "get /api/v1"),
        ("GET /api/v1/", "get /api/v1/"),
        ("GET /apis", "get /apis"),
        ("GET /apis/apps", "get /apis/apps"),
        ("GET /apis/apps/v1", "get /apis/apps/v1"),
        ("GET /apis/apps/v1/", "get /apis/apps/v1/"),
        ("HEAD /healthz", "head /healthz"),
        ("POST /healthz", "post /healthz"),
        ("DELETE /a/b/c/d/e", "delete /a/b/c/d/e"),
        ("GET /readyz?verbose&exclude=a&exclude=b", "get /readyz"),
        ("GET /API/v1/pods", "get /API/v1/pods"),
        ("GET /openapi/v3/apis/apps/v1", "get /openapi/v3/apis/apps/v1"),
        // Verbs.
        ("GET /api/v1/pods", "list /v1 pods - -"),
        ("HEAD /api/v1/pods", "list /v1 pods - -"),
        ("GET /api/v1/pods/", "list /v1 pods - -"),
        ("GET /api/v1/namespaces/n/pods", "list /v1 pods n -"),
        ("GET /api/v1/namespaces/n/pods/p", "get /v1 pods n p"),
        ("HEAD /api/v1/namespaces/n/pods/p", "get /v1 pods n p"),
        ("POST /api/v1/namespaces/n/pods", "create /v1 pods n -"),
        ("POST /api/v1/namespaces/n/pods/p", "create /v1 pods n p"),
        ("PUT /api/v1/namespaces/n/pods/p", "update /v1 pods n p"),
        ("PUT /api/v1/namespaces/n/pods", "update /v1 pods n -"),
        ("PATCH /api/v1/namespaces/n/pods/p", "patch /v1 pods n p"),
        ("DELETE /api/v1/namespaces/n/pods/p", "delete /v1 pods n p"),
        ("DELETE /api/v1/namespaces/n/pods", "deletecollection /v1 pods n -"),
        ("DELETE /api/v1/namespaces/n/pods?watch=1", "deletecollection /v1 pods n -"),
        // Groups.
        ("GET /apis/apps/v1/namespaces/n/deployments/d", "get apps/v1 deployments n d"),
        (
            "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
            "get rbac.authorization.k8s.io/v1 clusterroles - system:node",
        ),
        (
            "GET /apis/rbac.authorization.k8s.io/v1/clusterroles/system%3anode",
            "get rbac.authorization.k8s.io/v1 clusterroles - system:node",
        ),
        ("GET /api/v1/apps/v1/deployments", "get /v1 apps/deployments - v1"),
        // Namespaces themselves.
        ("GET /api/v1/namespaces", "list /v1 namespaces - -"),
        ("GET /api/v1/namespaces/n", "get /v1 namespaces n n"),
        ("DELETE /api/v1/namespaces/n", "delete /v1 namespaces n n"),
        ("GET /api/v1/namespaces/n/status", "get /v1 namespaces/status n n"),
        ("PUT /api/v1/namespaces/n/finalize", "update /v1 namespaces/finalize n n"),
        ("GET /api/v1/namespaces/n/statuses", "list /v1 statuses n -"),
        ("GET /api/v1/namespaces/n/namespaces/m", "get /v1 namespaces n m"),
        ("GET /apis/x.io/v1/namespaces/n", "get x.io/v1 namespaces n n"),
        // Subresources and the paths below them.
        ("GET /api/v1/namespaces/n/pods/p/log?container=c&follow=true", "get /v1 pods/log n p"),
        ("POST /api/v1/namespaces/n/pods/p/eviction", "create /v1 pods/eviction n p"),
        ("GET /api/v1/nodes/a/proxy/logs/kubelet.log", "get /v1 nodes/proxy - a"),
        ("DELETE /api/v1/namespaces/n/services/s/proxy/a/b?x=1&x=2", "delete /v1 services/proxy n s"),
        (
            "GET /apis/custom.metrics.k8s.io/v1beta2/namespaces/n/pods/*/http_requests",
            "get custom.metrics.k8s.io/v1beta2 pods/http_requests n *",
        ),
        // Watches, the new way and the old.
        ("GET /api/v1/pods?watch", "watch /v1 pods - -"),
        ("GET /api/v1/pods?watch=", "watch /v1 pods - -"),
        ("GET /api/v1/pods?watch=1", "watch /v1 pods - -"),
        ("GET /api/v1/pods?watch=true", "watch /v1 pods - -"),
        ("GET /api/v1/pods?watch=TRUE", "watch /v1 pods - -"),
        ("GET /api/v1/pods?w%61tch=%31", "watch /v1 pods - -"),
        ("GET /api/v1/pods?watch=0", "list /v1 pods - -"),
        ("GET /api/v1/pods?watch=false", "list /v1 pods - -"),
        ("GET /api/v1/pods?watch=False", "list /v1 pods - -"),
        ("GET /api/v1/pods?Watch=1", "list /v1 pods - -"),
        ("GET /api/v1/pods?watch%20=1", "list /v1 pods - -"),
        ("GET /api/v1/namespaces/n/pods/p?watch=1", "get /v1 pods n p"),
        ("GET /api/v1/watch/pods", "watch /v1 pods - -"),
        ("GET /api/v1/watch/namespaces/n/pods/p", "watch /v1 pods n p"),
        ("GET /api/v1/watch/namespaces/n", "watch /v1 namespaces n n"),
        ("GET /apis/apps/v1/watch/namespaces/n/deployments?watch=true", "watch apps/v1 deployments n -"),
        ("GET /api/v1/namespaces/n/watch/x", "get /v1 watch n x"),
        ("GET /api/v1/proxy/namespaces/n/services/s/a/b", "proxy /v1 services n s"),
        ("POST /api/v1/proxy/nodes/a", "proxy /v1 nodes - a"),
        // A selector that names one object.
        ("GET /api/v1/pods?fieldSelector=metadata.name%3Dp", "list /v1 pods - p"),
        ("GET /api/v1/pods?watch=1&fieldSelector=metadata.name==p", "watch /v1 pods - p"),
        (
            "DELETE /api/v1/namespaces/n/pods?fieldSelector=metadata.name=p,status.phase=Failed",
            "deletecollection /v1 pods n p",
        ),
        ("GET /api/v1/pods?fieldSelector=metadata.name!=p", "list /v1 pods - -"),
        ("GET /api/v1/watch/pods?fieldSelector=metadata.name=p", "watch /v1 pods - -"),
        ("POST /api/v1/namespaces/n/pods?fieldSelector=metadata.name=p", "create /v1 pods n -"),
        ("GET /api/v1/namespaces/n/pods/p?fieldSelector=metadata.name=q", "get /v1 pods n p"),
        // Everything else in the query passes.
        ("GET /api/v1/pods?limit=5&continue=abc&resourceVersion=0&timeoutSeconds=9&pretty=true", "list /v1 pods - -"),
        ("PATCH /api/v1/namespaces/n/pods/p?dryRun=All&dryRun=All&fieldManager=a&force=true", "patch /v1 pods n p"),
    ] {
        assert_eq!(judged(&parse(line).unwrap_or_else(|error| panic!("{line}: {error}"))), expected, "{line}");
    }
}

#[test]
fn what_is_sent_has_one_spelling() {
    for (line, target) in [
        ("GET /", "/"),
        ("GET /api/", "/api/"),
        ("GET /api/v1/pods/", "/api/v1/pods"),
        ("GET /api/v1/namespaces/n/pods/p/", "/api/v1/namespaces/n/pods/p"),
        ("GET /api/v1/namespaces/n/services/s/proxy/", "/api/v1/namespaces/n/services/s/proxy/"),
        ("GET /api/v1/pods?", "/api/v1/pods"),
        ("GET /api/v1/pods?&watch&", "/api/v1/pods?watch="),
        ("GET /api/v1/pods?labelSelector=a+in+(b,c)", "/api/v1/pods?labelSelector=a%20in%20%28b%2Cc%29"),
        ("GET /api/v1/pods?a=%2f%3F", "/api/v1/pods?a=%2F%3F"),
        ("GET /api/v1/clusterroles/system%3Anode", "/api/v1/clusterroles/system:node"),
    ] {
        assert_eq!(parse(line).unwrap().target(), target, "{line}");
    }
}

#[test]
fn what_a_backend_reads_is_sent_as_it_came() {
    for line in [
        "GET /api/v1/namespaces/n/services/s/proxy/a%2Fb",
        "GET /api/v1/namespaces/n/services/s/proxy/my%20file.txt",
        "GET /api/v1/namespaces/n/services/s/proxy/%E2%82%AC",
        "GET /api/v1/namespaces/n/services/s/proxy/f(1);v=2",
        "GET /api/v1/namespaces/n/services/s/proxy/x?flag",
        "GET /api/v1/namespaces/n/services/s/proxy/x?sig=a+b%2Bc",
        "GET /api/v1/namespaces/n/services/s/proxy/x?",
        "GET /api/v1/namespaces/n/services/s/proxy?x=1;y",
        "GET /api/v1/namespaces/n/services/s/proxy/x?a=1&&a=2&watch=0&watch=1&%zz&=&fieldSelector=metadata.name=q",
        "GET /api/v1/namespaces/n/services/s/proxy/x?q=sum(x)%0Aby",
        "POST /api/v1/namespaces/n/pods/p/proxy//a//b/",
        "GET /api/v1/nodes/n/proxy/logs/?query=x",
        "GET /api/v1/proxy/nodes/n/a%2Fb?x;y",
        "GET /apis/example.com/v1/things/t/proxy/%7e",
    ] {
        let request = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(format!("{} {}", request.method(), request.target()), line);
        let path = request.resource().unwrap();
        assert!(path.subresource.as_deref() == Some("proxy") || request.verb() == "proxy", "{line}");
    }
    // The part before it is still written anew.
    let request = parse("GET /api/v1/n%61mespaces/n/services/s/pr%6fxy/a%2Fb?x").unwrap();
    assert_eq!(request.target(), "/api/v1/namespaces/n/services/s/proxy/a%2Fb?x");
    for line in [
        "GET /api/v1/namespaces/n/services/s/proxy/../../secrets",
        "GET /api/v1/namespaces/n/services/s/proxy/%2e%2e%2f%2e%2e%2fsecrets",
        "GET /api/v1/namespaces/n/services/s%2Fproxy/x",
        "GET /api/v1/namespaces/n/services/s/proxy/x?a=b c",
        "GET /api/v1/namespaces/n/services/s/proxy/x#y",
        "GET /api/v1/namespaces/n/services/s/proxy/x?a#y",
        "GET /api/v1/namespaces/n/services/s/proxy/x?a=\u{e9}",
        "GET /api/v1/namespaces/n/services/s/proxy/a%0d%0aX:y",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn a_selector_of_a_thousand_names_fits() {
    let names: Vec<_> = (0..1000).map(|number| format!("my-deployment-7d9f8b6c5d-{number:05}-of-the-shop")).collect();
    let target = format!("/api/v1/pods?labelSelector=app+in+({})", names.join("%2C"));
    assert!(target.len() > 40_000 && parse(&format!("GET {target}")).is_ok(), "{}", target.len());
    let built = ApiRequest::builder()
        .resource("", "v1", "pods")
        .query("labelSelector", &format!("app in ({})", names.join(",")));
    assert!(built.build(&Method::GET).is_ok());
}

#[test]
fn what_has_two_readings_is_refused() {
    for line in [
        "GET api/v1/pods",
        "GET *",
        "GET ",
        "GET https://kubernetes/api/v1/pods",
        "GET //kubernetes/api/v1/pods",
        "GET /api//v1/pods",
        "GET /api/v1/pods//",
        "GET /api/v1/namespaces/n/pods/../secrets",
        "GET /api/v1/namespaces/n/pods/./p",
        "GET /api/v1/namespaces/n/pods/%2e%2e/secrets",
        "GET /api/v1/namespaces/n/pods/..%2fsecrets",
        "GET /api/v1/namespaces/n/pods%2fp",
        "GET /api/v1/namespaces/n/pods/p%2flog",
        "GET /api/v1/namespaces/n/pods/p%00",
        "GET /api/v1/namespaces/n/pods/p%0d%0aX:%20y",
        "GET /api/v1/namespaces/n/pods/p%5c..",
        "GET /api/v1/namespaces/n\\pods",
        "GET /api/v1/namespaces/n/pods/p%3Fwatch=1",
        "GET /api/v1/namespaces/n/pods/p%23",
        "GET /api/v1/namespaces/n/pods/p%25",
        "GET /api/v1/namespaces/n/pods/\u{ff0e}\u{ff0e}",
        "GET /api/v1/pods#x",
        "GET /api/v1/pods?watch=1#x",
        "GET /api/v1/pods HTTP/1.1",
        "GET /api/v1/pods\r\nX: y",
        "GET /api/v1/pods\0",
        "GET /api/v1/namespaces/N/pods",
        "GET /api/v1/namespaces/*/pods",
        "GET /api/v1/namespaces/n/*",
        "GET /api/v1/namespaces/n/pods/p/*",
        "GET /apis/*/v1/pods",
        "GET /openapi/*",
        "GET /api/v1/watch",
        "GET /api/v1/watch/",
        "GET /api/v1/proxy",
        "POST /api/v1/watch/pods",
        "DELETE /api/v1/watch/namespaces/n/pods",
        "GET /api/v1/watch/pods?watch=0",
        "GET /api/v1/pods?watch=1&watch=0",
        "GET /api/v1/pods?watch=0&watch=1",
        "GET /api/v1/pods?watch=0&w%61tch=1",
        "GET /api/v1/pods?watch=f",
        "GET /api/v1/pods?watch=no",
        "GET /api/v1/pods?watch=2",
        "GET /api/v1/pods?watch=%20",
        "GET /api/v1/pods?x=1;watch=1",
        "GET /api/v1/pods?watch=1;",
        "GET /api/v1/pods?limit=1&limit=2",
        "GET /api/v1/pods?fieldSelector=a=b&fieldSelector=metadata.name=p",
        "GET /api/v1/pods?fieldSelector=metadata.name=p,metadata.name=q",
        "GET /api/v1/pods?fieldSelector=metadata.name",
        "GET /api/v1/pods?fieldSelector=metadata.name=a%2fb",
        "GET /api/v1/pods?a=%",
        "GET /api/v1/pods?a=%0a",
        "GET /api/v1/pods?=1",
        "GET /api/v1/pods?a=\u{e9}",
        "OPTIONS /api/v1/pods",
        "CONNECT /api/v1/pods",
        "TRACE /api/v1/pods",
        "get /api/v1/pods",
        "PROPFIND /api/v1/pods",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn a_target_has_a_longest_length_also_after_encoding() {
    let limit = InvalidRequest::TooLong { limit: MAX_TARGET };
    assert_eq!(parse(&format!("GET /{}", "a".repeat(MAX_TARGET))), Err(limit.clone()));
    assert!(parse(&format!("GET /{}", "a".repeat(MAX_TARGET - 1))).is_ok());
    // Each comma is one byte here and three on the wire.
    assert_eq!(parse(&format!("GET /api/v1/pods?a={}", ",".repeat(MAX_TARGET / 2))), Err(limit));
}

#[test]
fn a_request_is_built_from_parts() {
    let pods = || ApiRequest::builder().resource("", "v1", "pods").namespace(Some("n"));
    let scale =
        ApiRequest::builder().resource("apps", "v1", "deployments").namespace(Some("n")).name("d").subresource("scale");
    let nodes = ApiRequest::builder().resource("", "v1", "nodes");
    for (method, builder, target, expected) in [
        (Method::GET, pods(), "/api/v1/namespaces/n/pods", "list /v1 pods n -"),
        (Method::GET, pods().name("p"), "/api/v1/namespaces/n/pods/p", "get /v1 pods n p"),
        (Method::POST, pods(), "/api/v1/namespaces/n/pods", "create /v1 pods n -"),
        (
            Method::GET,
            pods().query("labelSelector", "a=b,c!=d").query("watch", "true"),
            "/api/v1/namespaces/n/pods?labelSelector=a%3Db%2Cc%21%3Dd&watch=true",
            "watch /v1 pods n -",
        ),
        (Method::PUT, scale, "/apis/apps/v1/namespaces/n/deployments/d/scale", "update apps/v1 deployments/scale n d"),
        (Method::GET, nodes, "/api/v1/nodes", "list /v1 nodes - -"),
    ] {
        let request = builder.build(&method).unwrap();
        assert_eq!((request.target(), judged(&request).as_str()), (target, expected));
        assert_eq!(ApiRequest::parse(&method, request.target()).unwrap(), request);
    }
}

#[test]
fn no_part_can_add_another() {
    let base = || ApiRequest::builder().resource("", "v1", "pods").namespace(Some("n"));
    for odd in [
        "",
        ".",
        "..",
        "a/b",
        "../secrets",
        "a?watch=1",
        "a#b",
        "a%2fb",
        "a b",
        "a\\b",
        "a\nb",
        "\u{e9}",
        &"a".repeat(300),
    ] {
        for builder in [
            base().name(odd),
            base().name("p").subresource(odd),
            base().namespace(Some(odd)),
            base().resource("", "v1", odd),
            base().resource("", odd, "pods"),
        ] {
            assert!(builder.build(&Method::GET).is_err(), "{odd:?}");
        }
        let group = base().resource(odd, "v1", "pods").build(&Method::GET);
        assert!(group.is_err() || odd.is_empty(), "{odd:?}");
    }
}

#[test]
fn parts_that_would_be_read_as_something_else_are_refused() {
    let cluster = |plural: &str| ApiRequest::builder().resource("", "v1", plural);
    for builder in [
        cluster("watch").name("pods"),
        cluster("proxy").name("nodes"),
        cluster("namespaces").name("n").subresource("pods"),
        cluster("status").namespace(Some("n")),
        cluster("pods").subresource("log"),
        cluster("*"),
        cluster("pods").query("watch", "1").query("watch", "0"),
        cluster("pods").query("", "1"),
        cluster("pods").query("a", "\r\n"),
    ] {
        assert!(builder.clone().build(&Method::GET).is_err(), "{builder:?}");
    }
    assert!(cluster("namespaces").name("n").subresource("status").build(&Method::GET).is_ok());
}

#[test]
fn an_upgrade_of_what_runs_something_takes_create_too() {
    let verbs = |method: &Method, target: &str| -> Option<Vec<_>> {
        let upgraded = ApiRequest::parse(method, target).unwrap().upgraded()?;
        assert!(upgraded.upgrades());
        Some(upgraded.verbs().collect())
    };
    let pod = "/api/v1/namespaces/a/pods/p";
    for (method, target, expected) in [
        (Method::GET, format!("{pod}/exec?command=ls"), Some(vec!["create", "get"])),
        (Method::POST, format!("{pod}/exec?command=ls"), Some(vec!["create"])),
        (Method::GET, format!("{pod}/attach"), Some(vec!["create", "get"])),
        (Method::GET, format!("{pod}/portforward"), Some(vec!["create", "get"])),
        (Method::GET, format!("{pod}/proxy/x"), Some(vec!["get"])),
        (Method::GET, "/api/v1/namespaces/a/services/s:80/proxy/x".into(), Some(vec!["get"])),
        (Method::GET, "/api/v1/nodes/n/proxy/exec/a/p/c".into(), Some(vec!["create", "get"])),
        (Method::GET, "/api/v1/pods?watch=1".into(), Some(vec!["watch"])),
        (Method::GET, format!("{pod}/log?follow=1"), Some(vec!["get"])),
        (Method::GET, format!("{pod}/log"), None),
        (Method::GET, pod.into(), None),
        (Method::GET, "/api/v1/pods".into(), None),
        (Method::GET, "/healthz".into(), None),
        (Method::PUT, format!("{pod}/exec"), None),
        (Method::HEAD, format!("{pod}/exec"), None),
        (Method::GET, "/apis/example.com/v1/namespaces/a/pods/p/exec".into(), None),
        (Method::GET, "/api/v1/namespaces/a/services/s/exec".into(), None),
    ] {
        assert_eq!(verbs(&method, &target), expected, "{method} {target}");
    }
    let plain = ApiRequest::parse(&Method::GET, &format!("{pod}/exec")).unwrap();
    assert_eq!((plain.upgrades(), plain.verbs().collect::<Vec<_>>()), (false, vec!["get"]));
}
