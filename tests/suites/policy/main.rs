//! Grants: what a file may say, and what each rule covers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod creation;
mod judgement;
mod powers;
mod reading;
mod rules;

use attache::policy::{ApiRequest, Grant, Verdict};
use http::Method;

/// Returns a grant whose `spec` is `spec`, indented by two spaces.
fn grant(spec: &str) -> String {
    format!("apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata:\n  name: test\nspec:\n{spec}")
}

/// Returns the grant of the given lines of `api`, in a pod of the namespace `demo`.
fn rules(lines: &[&str]) -> Grant {
    let api = lines.join("\n  - ");
    let own = |name: &str| (name == "POD_NAMESPACE").then(|| "demo".to_owned());
    Grant::parse(&grant(&format!("  api:\n  - {api}\n"))).unwrap().resolve(own).unwrap()
}

/// Returns a request of a line such as `GET /path`.
fn request(line: &str) -> ApiRequest {
    let (method, target) = line.split_once(' ').unwrap();
    ApiRequest::parse(&Method::from_bytes(method.as_bytes()).unwrap(), target).expect(line)
}

fn allows(grant: &Grant, line: &str) -> bool {
    matches!(grant.judge(&request(line)), Verdict::Allowed { .. })
}

/// Checks that a grant allows the first requests and denies the others.
fn check(rule: &[&str], allowed: &[&str], denied: &[&str]) {
    let grant = rules(rule);
    for line in allowed {
        assert!(allows(&grant, line), "{rule:?} must allow {line}");
    }
    for line in denied {
        assert!(!allows(&grant, line), "{rule:?} must deny {line}");
    }
}
