//! Paths, segment by segment.
#![allow(clippy::unwrap_used)]
use super::*;

/// Reads a path whose segments are all plain.
fn plain(path: &str) -> Result<Segments, InvalidRequest> {
    let segments = Segments::parse(path)?;
    segments.list.iter().try_for_each(|part| check(part))?;
    Ok(segments)
}

#[test]
fn plain_paths_come_back_as_they_were() {
    for path in ["/", "/api", "/api/v1/namespaces/a/pods", "/apis/", "/x/system:node", "/a/b~!*+,=:@"] {
        assert_eq!(plain(path).unwrap().write(true), path);
    }
}

#[test]
fn harmless_escapes_are_undone() {
    assert_eq!(plain("/clusterroles/system%3anode").unwrap().write(true), "/clusterroles/system:node");
}

#[test]
fn names_have_one_spelling() {
    for (raw, decoded, sent) in [
        ("/a|b", "a|b", "/a%7Cb"),
        ("/a%7cb", "a|b", "/a%7Cb"),
        ("/admin%20(all)", "admin (all)", "/admin%20%28all%29"),
        ("/r%C3%B4le", "rôle", "/r%C3%B4le"),
        ("/a;b", "a;b", "/a%3Bb"),
        ("/a%5cb", "a\\b", "/a%5Cb"),
        ("/a%3fb%23", "a?b#", "/a%3Fb%23"),
    ] {
        let segments = Segments::parse(raw).unwrap();
        assert_eq!((segments.list.as_slice(), segments.write(false).as_str()), (&[decoded.to_owned()][..], sent));
        assert_eq!(Segments::parse(sent).unwrap(), segments);
    }
    for raw in [
        "/%e2%80%ae",
        "/a%e2%80%8b",
        "/a%c2%a0",
        "/$(A)",
        "/a%24(A)",
        "/a%252fb",
        "/a%2f",
        "/%ff",
        "/a%7f",
        "/a%EF%BC%8Fb",
        "/%E2%80%A5",
        "/%EF%BC%8E%EF%BC%8E",
        "/a%EF%BC%852fb",
        "/..%20",
    ] {
        assert!(Segments::parse(raw).is_err(), "{raw}");
    }
}

#[test]
fn tricks_are_refused() {
    for path in [
        "",
        "api",
        "//",
        "//api",
        "/api//v1",
        "/api/v1//",
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/a/%2e%2e/b",
        "/a/%2E/b",
        "/a%2fb",
        "/a%5cb",
        "/a%00",
        "/a%0d%0ab",
        "/a%25",
        "/a%252fb",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a\\b",
        "/a b",
        "/a%20b",
        "/\u{e9}",
        "/%c3%a9",
        "/a%3fb",
        "/a%23b",
        "/a\"b",
        "/a<b",
        "/a%7fb",
        "/a%2ejson",
        "/a;b",
        "/$(A)",
        "/a&b",
        "/a'b",
        "/a%3bb",
    ] {
        assert!(plain(path).is_err(), "{path}");
    }
}

#[test]
fn what_a_backend_reads_is_found_and_kept() {
    for (path, tail) in [
        ("/api/v1/namespaces/a/pods/p/proxy", None),
        ("/api/v1/namespaces/a/pods/p/proxy/", Some("")),
        ("/api/v1/namespaces/a/pods/p/proxy/x%2Fy//z/", Some("x%2Fy//z/")),
        ("/api/v1/nodes/n/proxy/f(1);v=2", Some("f(1);v=2")),
        ("/apis/example.com/v1/things/t/proxy/a..b/...", Some("a..b/...")),
        ("/api/v1/proxy/nodes/n/a%20b", Some("a%20b")),
        ("/api/v1/proxy/namespaces/a/services/s/%E2%82%AC", Some("%E2%82%AC")),
        ("/api/v1/namespaces/a/pods/proxy/log", None),
        ("/api/v1/namespaces/a/proxy/x/y", None),
        ("/api/v1/watch/namespaces/a/pods/p/proxy/x", None),
        ("/version/x/y/z/proxy/a", None),
    ] {
        let segments = Segments::parse(path).unwrap();
        assert_eq!((segments.tail.as_deref(), segments.write(true).as_str()), (tail, path), "{path}");
    }
}

#[test]
fn nothing_climbs_out_of_what_a_backend_reads() {
    for tail in [
        "..",
        ".",
        "../secrets",
        "a/../../b",
        "%2e%2e/secrets",
        "..%2fsecrets",
        "a%2f..%2f..%2fsecrets",
        "..%5csecrets",
        "..;/secrets",
        "%252e%252e%252fsecrets",
        "%25252e%25252e/x",
        "%2525252525252525252525",
        "a%0d%0ab",
        "a%00",
        "a%250ab",
        "a%",
        "a%2",
        "a`b",
        "%C0%AE%C0%AE/secrets",
        "%25c0%25ae%25c0%25ae/secrets",
        "%E0%80%AF",
        "%FF",
        "%EF%BC%8E./secrets",
        "..%E2%88%95secrets",
        "%EF%BC%852E%EF%BC%852E/",
        "%25u002E%25u002E/",
        "..%20/",
    ] {
        let path = format!("/api/v1/namespaces/a/services/s/proxy/{tail}");
        assert!(Segments::parse(&path).is_err(), "{path}");
    }
}
