//! Grants that only read, and the documents that every client reads first.

use super::powers::acts_on_reading;
use super::rules::ALL;
use super::{Grant, Limits, Rule};

/// The verbs that change nothing.
const READING: [&str; 3] = ["get", "list", "watch"];

/// The methods that change nothing, as rules for paths name them.
const READING_PATHS: [&str; 2] = ["get", "head"];

/// The discovery documents, which the API server answers: the paths of the role `system:discovery`, which every
/// account has (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go`).
const DISCOVERY: [&str; 11] = [
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
];

impl Grant {
    /// Returns a grant that reads everything ordinary, in all namespaces: no secrets, and no rights that hand out
    /// power. Its limits suit a user with kubectl.
    pub fn reading(name: impl Into<String>) -> Self {
        let rule = Rule::default().api_groups([ALL]).resources([ALL]).verbs(READING).namespaces([ALL]);
        let limits = Limits::default().requests_per_second(50).burst(300).in_flight(64).response_bytes(256 << 20);
        Self { api: vec![rule], limits, ..Self::nothing(name) }
    }

    /// Returns the same grant with only the reading part of its rules. Changes are left out, and so are `exec`,
    /// `attach`, `portforward` and `proxy`, which act with any verb.
    #[must_use]
    pub fn reading_only(mut self) -> Self {
        self.api = self.api.into_iter().filter_map(reading).collect();
        self
    }

    /// Returns the same grant with one more rule at the end, for the discovery documents. They list the types and no
    /// objects, and every client reads them first.
    #[must_use]
    pub fn with_discovery(mut self) -> Self {
        self.api.push(Rule::default().verbs(READING_PATHS).non_resource_urls(DISCOVERY));
        self
    }
}

/// Returns the part of a rule that reads, if there is one.
fn reading(mut rule: Rule) -> Option<Rule> {
    let verbs: &[&str] = if rule.non_resource_urls.is_empty() { &READING } else { &READING_PATHS };
    let all = rule.verbs.iter().any(|verb| verb == ALL);
    rule.verbs = verbs
        .iter()
        .filter(|verb| all || rule.verbs.iter().any(|own| own == *verb))
        .map(|verb| (*verb).to_owned())
        .collect();
    rule.resources.retain(|resource| !acts(resource));
    let something = !rule.resources.is_empty() || !rule.non_resource_urls.is_empty();
    (something && !rule.verbs.is_empty()).then_some(rule)
}

/// Returns whether a GET of the subresource acts, too.
fn acts(resource: &str) -> bool {
    resource.split_once('/').is_some_and(|(_, subresource)| acts_on_reading(subresource))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{ApiRequest, Verdict};
    use http::Method;

    fn allows(grant: &Grant, line: &str) -> bool {
        let (method, target) = line.split_once(' ').unwrap();
        let request = ApiRequest::parse(&Method::from_bytes(method.as_bytes()).unwrap(), target).unwrap();
        matches!(grant.judge(&request), Verdict::Allowed { .. })
    }

    #[test]
    fn of_a_grant_that_may_do_all_reading_is_left() {
        let text = "{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {name: g}, spec: {api: [\
            {apiGroups: ['*'], resources: ['*', secrets, pods/exec, nodes/proxy], verbs: ['*', proxy], namespaces: ['*']}, \
            {apiGroups: [''], resources: [pods], verbs: [create], namespaces: ['*']}, \
            {nonResourceURLs: ['*'], verbs: ['*']}]}}";
        let grant = Grant::parse(text).unwrap().reading_only();
        assert_eq!(grant.api.len(), 2);
        for line in [
            "GET /api/v1/pods",
            "GET /api/v1/namespaces/a/secrets/s",
            "GET /api/v1/pods?watch=1",
            "GET /metrics",
            "HEAD /metrics",
        ] {
            assert!(allows(&grant, line), "{line}");
        }
        for line in [
            "POST /api/v1/namespaces/a/pods",
            "DELETE /api/v1/namespaces/a/pods",
            "GET /api/v1/namespaces/a/pods/p/exec",
            "GET /api/v1/nodes/n/proxy/logs",
            "GET /api/v1/proxy/nodes/n",
            "POST /metrics",
        ] {
            assert!(!allows(&grant, line), "{line}");
        }
    }

    #[test]
    fn the_reading_grant_reads_what_is_ordinary() {
        let grant = Grant::reading("r").with_discovery();
        for line in [
            "GET /api/v1/nodes",
            "GET /apis/apps/v1/namespaces/a/deployments/d/scale",
            "GET /openapi/v3/apis/apps/v1",
            "GET /version",
        ] {
            assert!(allows(&grant, line), "{line}");
        }
        for line in
            ["GET /api/v1/namespaces/a/secrets", "GET /metrics", "GET /logs", "POST /api", "PATCH /api/v1/nodes/n"]
        {
            assert!(!allows(&grant, line), "{line}");
        }
    }
}
