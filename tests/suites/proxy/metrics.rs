//! Counters for a scraper, beside what they count.

use std::io::{BufRead, BufReader};
use std::process::ChildStderr;

use serde_json::json;

use crate::http1::At;
use crate::world::{Proxy, World, refused, within};

/// Returns a proxy on a free port whose callers may read config maps, the address of its metrics, and its stderr, which
/// has to stay open.
fn scraped(world: &World) -> (Proxy, At, BufReader<ChildStderr>) {
    let rule = "{apiGroups: [''], resources: [configmaps], verbs: [get], namespaces: [default]}";
    let grant = world.grant("ui", &format!("{{api: [{rule}]}}"));
    let mut command = world.command(&["--port=0", "--metrics=127.0.0.1:0", "--audit=none"]);
    let mut child = command.arg("--grant").arg(grant).spawn().unwrap();
    let mut errors = BufReader::new(child.stderr.take().unwrap());
    let (line, errors) = within(move || {
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        (line, errors)
    });
    let place = line.trim().strip_prefix("Metrics at http://").and_then(|url| url.strip_suffix("/metrics"));
    let at = At::Tcp(place.unwrap_or_else(|| panic!("{line}")).to_owned());
    (Proxy::of(child), at, errors)
}

#[test]
fn decisions_are_counted_where_a_scraper_asks() {
    let world = World::new();
    world.config_map("a", &json!({"k": "v"}));
    let (proxy, metrics, _errors) = scraped(&world);
    assert_eq!(proxy.at.get("/api/v1/namespaces/default/configmaps/a").0, 200);
    assert_eq!(proxy.at.get("/api/v1/namespaces/default/configmaps/b").0, 404);
    assert_eq!(proxy.at.get("/api/v1/namespaces/default/pods/b").0, 403);
    let answer = metrics.send("GET /metrics", &[], b"");
    assert_eq!(answer.status, 200);
    let of = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(of));
    let text = answer.text();
    for (verdict, status) in [("allowed", "2xx"), ("allowed", "4xx"), ("denied", "")] {
        let labels = format!("extension=\"ui\",way=\"proxy\",verdict=\"{verdict}\",status=\"{status}\"");
        let line = format!("attache_requests_total{{{labels}}} 1");
        assert!(text.lines().any(|had| had == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(metrics.get("/metrics/x").0, 404);
    assert_eq!(metrics.get("/api").0, 404, "nothing but the counters");
    assert_eq!(metrics.send("POST /metrics", &[], b"").status, 405);
    assert_eq!(proxy.at.get("/metrics").0, 403, "the API server's own, which the grant does not open");
}

#[test]
fn an_address_that_cannot_be_had_is_told() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = refused(&mut world.command(&["--port=0", "--read-only", "--metrics", &address]));
    assert!(text.contains("cannot listen on --metrics"), "{text}");
    let text = refused(&mut world.command(&["--port=0", "--read-only", "--metrics", "9464"]));
    assert!(text.contains("127.0.0.1:9464"), "{text}");
}
