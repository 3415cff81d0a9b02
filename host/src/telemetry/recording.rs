//! A recording of an extension's requests, from which the grant that it needs is suggested.
//!
//! A recording allows nothing: requests are judged by the grant in force. Allowed requests become rules of the
//! suggested grant, and denied ones become comments beside them, for a person to decide on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Audit, AuditRecord, AuditedResource, Channel, Decision, LimitRecord, MAX_TEXT};
use crate::policy::{Destination, Grant, Rule, SuggestedGrant};

/// The verbs of non-resource paths in rules. A request that was never judged is recorded with its method instead.
const PATH_VERBS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// The most different requests that are kept, each as a rule of a few hundred bytes.
const MAX_RULES: usize = 2048;

/// An [`Audit`] that keeps requests and passes each record on.
///
/// ```
/// use attache::policy::Grant;
/// use attache::telemetry::{NoAudit, Recording};
/// use std::sync::Arc;
///
/// let recording = Arc::new(Recording::new(Arc::new(NoAudit)));
/// // For `RuntimeBuilder::audit`. After a run:
/// let suggested = recording.draft(&Grant::nothing("card"), &[("POD_NAMESPACE", "demo")]);
/// println!("{suggested}");
/// ```
pub struct Recording {
    next: Arc<dyn Audit>,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    allowed: BTreeSet<Rule>,
    denied: BTreeSet<Rule>,
    /// Destinations outside the API server, with true for those that are granted.
    called: BTreeSet<(bool, String)>,
    full: bool,
}

impl Asked {
    /// Returns whether there is room for one more request, and notes if there is none.
    fn has_room(&mut self) -> bool {
        let kept = [self.allowed.len(), self.denied.len(), self.called.len()];
        self.full |= kept.into_iter().fold(0_usize, usize::saturating_add) >= MAX_RULES;
        !self.full
    }

    fn destinations(&self, granted: bool) -> impl Iterator<Item = &str> {
        self.called.iter().filter(move |(is, _)| *is == granted).map(|(_, destination)| destination.as_str())
    }
}

impl Recording {
    /// Makes a recording that passes each record on to `next`.
    pub fn new(next: Arc<dyn Audit>) -> Self {
        Self { next, asked: Mutex::default() }
    }

    /// Returns the grant that the requests so far needed. All but its rules is as in `given`, the grant that the
    /// requests were judged by: a recording does not show which mounts, variables and limits were needed.
    ///
    /// `variables` are those of the pod, such as `POD_NAMESPACE` and its value. Where a namespace or an object's name
    /// in a rule is the value of a variable, the rule gets the variable, so that the grant fits other pods too.
    pub fn draft(&self, given: &Grant, variables: &[(&str, &str)]) -> SuggestedGrant {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = |rules: &BTreeSet<Rule>| Rule::merged(rules.iter().map(|rule| with_variables(rule, variables)));
        let called = |destination: &Destination| asked.destinations(true).any(|one| one == destination.to_string());
        let mut grant = given.clone();
        (grant.api, grant.egress) = (rules(&asked.allowed), given.egress.only(called));
        let mut draft = SuggestedGrant::new(grant);
        draft.about = vec![
            format!(
                "What was asked of the API server, and called outside it, in a run under the grant {:?}: rules and",
                given.name
            ),
            "destinations that were not used are left out. All else is as in that grant; a recording does not tell what of it"
                .to_owned(),
            "was needed.".to_owned(),
        ];
        if asked.full {
            draft.about.push(format!("More than {MAX_RULES} different requests were made: rules are missing."));
        }
        let why = "Denied in that run. Take the sign off in front of what it is to have:".to_owned();
        draft.open_rules = Some((why, rules(&asked.denied)));
        draft.open_fields.extend(open_egress(&draft.grant, asked.destinations(false)));
        draft
    }

    fn keep(&self, line: &AuditRecord<'_>) {
        let allowed = match line.verdict {
            Decision::Allowed => true,
            Decision::Denied => false,
            // These were not judged. An extension that needs them asks again.
            _ => return,
        };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(destination) = &line.destination {
            if asked.has_room() {
                asked.called.insert((allowed, destination.to_string()));
            }
            return;
        }
        let Some(rule) = needed(line) else { return };
        if asked.has_room() {
            let rules = if allowed { &mut asked.allowed } else { &mut asked.denied };
            rules.insert(rule);
        }
    }
}

/// Returns the line of `egress` that would allow the denied destinations, for a person to decide on.
fn open_egress<'a>(grant: &Grant, denied: impl Iterator<Item = &'a str>) -> Option<(String, String)> {
    let denied: Vec<_> = denied.collect();
    if denied.is_empty() {
        return None;
    }
    let granted = grant.egress.destinations().iter().map(ToString::to_string);
    let all: Vec<_> = granted.chain(denied.into_iter().map(str::to_owned)).map(|place| format!("{place:?}")).collect();
    Some(("Denied in that run are destinations of this list:".to_owned(), format!("egress: [{}]", all.join(", "))))
}

impl Audit for Recording {
    fn record(&self, line: &AuditRecord<'_>) {
        if line.way != Channel::Host {
            self.keep(line);
        }
        self.next.record(line);
    }

    fn limit(&self, line: &LimitRecord<'_>) {
        self.next.limit(line);
    }

    fn unrecorded(&self, extension: &str, number: u64) {
        self.next.unrecorded(extension, number);
    }
}

/// Returns the smallest rule that allows the request of a record; `None` if a text in the record was cut.
fn needed(line: &AuditRecord<'_>) -> Option<Rule> {
    let whole = |text: &str| (text.len() < MAX_TEXT).then(|| vec![text.to_owned()]);
    let mut verbs = whole(&line.verb)?;
    verbs.extend(line.creates.then(|| "create".to_owned()));
    let Some(AuditedResource { group, resource, subresource, namespace, name, .. }) = line.resource else {
        if !PATH_VERBS.contains(&&*line.verb) || !line.path.starts_with('/') {
            return None;
        }
        return Some(Rule::default().verbs(verbs).non_resource_urls(whole(&line.path)?));
    };
    let resource = subresource.map_or_else(|| resource.to_owned(), |subresource| format!("{resource}/{subresource}"));
    let rule = Rule::default().api_groups(whole(group)?).resources(whole(&resource)?).verbs(with_list(line.way, verbs));
    // The metrics APIs call all objects `*`; no rule can name that.
    let names = name.filter(|name| *name != "*").map_or(Some(Vec::new()), whole)?;
    Some(rule.namespaces(whole(namespace.unwrap_or("*"))?).resource_names(names))
}

/// Adds `list` to the verbs of a follower, which is recorded once, as a watch, and judged for its list as well.
fn with_list(way: Channel, mut verbs: Vec<String>) -> Vec<String> {
    if way == Channel::Api && verbs == ["watch"] {
        verbs.insert(0, "list".to_owned());
    }
    verbs
}

fn with_variables(rule: &Rule, variables: &[(&str, &str)]) -> Rule {
    let named = |text: &String| {
        let variable = variables.iter().find(|(_, value)| text == value);
        variable.map_or_else(|| text.clone(), |(name, _)| format!("$({name})"))
    };
    let (namespaces, names) = (rule.namespaces.iter().map(named), rule.resource_names.iter().map(named));
    rule.clone().namespaces(namespaces).resource_names(names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::{ApiRequest, Verdict};
    use crate::telemetry::NoAudit;
    use http::{HeaderValue, Method};
    use jiff::Timestamp;

    fn record(recording: &Recording, target: &str, verdict: Decision, way: Channel) {
        let request = ApiRequest::parse(&Method::GET, target).unwrap();
        recording
            .record(&AuditRecord { verdict, ..AuditRecord::of_request(Timestamp::UNIX_EPOCH, "e", way, &request) });
    }

    #[test]
    fn what_was_called_outside_is_granted_by_its_destination() {
        let recording = Recording::new(Arc::new(NoAudit));
        let called = |destination: &str, verdict| {
            let time = Timestamp::UNIX_EPOCH;
            let record = AuditRecord::of_egress(time, "e", Channel::WasiHttp, &Method::GET, destination, "/*");
            recording.record(&AuditRecord { verdict, ..record });
        };
        called("https://a.example", Decision::Allowed);
        called("https://b.example", Decision::Denied);
        let spec = "spec: {egress: [\"https://a.example\", \"https://unused.example\"]}";
        let head = "apiVersion: attache.dev/v1alpha1\nkind: Grant\nmetadata: {name: given}\n";
        let given = Grant::parse(&format!("{head}{spec}\n")).unwrap();
        let text = recording.draft(&given, &[]).to_string();
        let grant = Grant::parse(&text).unwrap();
        let places: Vec<_> = grant.egress.destinations().iter().map(ToString::to_string).collect();
        assert_eq!((places.as_slice(), grant.api.len()), (&["https://a.example".to_owned()][..], 0), "{text}");
        assert!(text.contains("# egress: [\"https://a.example\", \"https://b.example\"]"), "{text}");
    }

    #[test]
    fn what_was_never_judged_becomes_no_rule() {
        let recording = Recording::new(Arc::new(NoAudit));
        let record = AuditRecord::of_invalid(Timestamp::UNIX_EPOCH, "e", Channel::WasiHttp, &Method::GET, "http:/x");
        recording.record(&AuditRecord { verdict: Decision::Denied, ..record });
        assert!(!recording.draft(&Grant::nothing("given"), &[]).to_string().contains("nonResourceURLs"));
    }

    #[test]
    fn who_follows_a_collection_needs_its_list_too() {
        let recording = Recording::new(Arc::new(NoAudit));
        record(&recording, "/api/v1/namespaces/demo/pods?watch=1", Decision::Allowed, Channel::Api);
        record(&recording, "/api/v1/namespaces/demo/services?watch=1", Decision::Allowed, Channel::WasiHttp);
        let draft = recording.draft(&Grant::nothing("given"), &[]).to_string();
        let rules: Vec<_> = Grant::parse(&draft).unwrap().api.iter().map(ToString::to_string).collect();
        let rule = |resource, verbs| {
            format!("{{apiGroups: [\"\"], resources: [{resource}], verbs: [{verbs}], namespaces: [demo]}}")
        };
        assert_eq!(rules, [rule("pods", "list, watch"), rule("services", "watch")]);
    }

    #[test]
    fn what_was_used_is_granted_and_what_was_denied_is_commented() {
        let recording = Recording::new(Arc::new(NoAudit));
        record(&recording, "/api/v1/namespaces/demo/pods/me", Decision::Allowed, Channel::Api);
        record(&recording, "/api/v1/namespaces/demo/pods/me", Decision::Allowed, Channel::WasiHttp);
        record(&recording, "/api/v1/namespaces/demo/pods/me/log", Decision::Allowed, Channel::WasiHttp);
        record(&recording, "/apis/batch/v1/namespaces/other/jobs", Decision::Denied, Channel::Api);
        record(&recording, "/api/v1/nodes", Decision::Throttled, Channel::Api);
        record(&recording, "/apis", Decision::Allowed, Channel::Host);
        let mut given = Grant::nothing("given");
        given.env = vec!["POD_NAME".into()];
        let text = recording.draft(&given, &[("POD_NAMESPACE", "demo"), ("POD_NAME", "me")]).to_string();
        let grant = Grant::parse(&text).unwrap();
        assert_eq!(grant.env, given.env);
        let rules: Vec<_> = grant.api.iter().map(ToString::to_string).collect();
        let rule = "{apiGroups: [\"\"], resources: [pods, pods/log], verbs: [get], namespaces: [\"$(POD_NAMESPACE)\"], \
                    resourceNames: [\"$(POD_NAME)\"]}";
        assert_eq!(rules, [rule]);
        assert!(
            text.contains("  # - {apiGroups: [batch], resources: [jobs], verbs: [list], namespaces: [other]}"),
            "{text}"
        );
    }

    #[test]
    fn an_apply_is_granted_with_all_that_it_takes() {
        let recording = Recording::new(Arc::new(NoAudit));
        let apply = HeaderValue::from_static("application/apply-patch+yaml");
        let request = ApiRequest::parse(&Method::PATCH, "/api/v1/namespaces/demo/configmaps/a").unwrap();
        let request = request.with_content_type(Some(&apply));
        recording.record(&AuditRecord::of_request(Timestamp::UNIX_EPOCH, "e", Channel::WasiHttp, &request));
        let drafted = recording.draft(&Grant::nothing("given"), &[]).grant;
        assert_eq!(drafted.api[0].verbs, ["create", "patch"]);
        assert_eq!(drafted.judge(&request), Verdict::Allowed { rule: 0 });
    }

    #[test]
    fn a_put_that_may_create_is_granted_with_all_that_it_takes() {
        let recording = Recording::new(Arc::new(NoAudit));
        let put = |target| ApiRequest::parse(&Method::PUT, target).unwrap();
        let lease = put("/apis/coordination.k8s.io/v1/namespaces/demo/leases/a");
        let map = put("/api/v1/namespaces/demo/configmaps/a");
        for request in [&lease, &map] {
            recording.record(&AuditRecord::of_request(Timestamp::UNIX_EPOCH, "e", Channel::Api, request));
        }
        let drafted = recording.draft(&Grant::nothing("given"), &[]).grant;
        let verbs: Vec<_> = drafted.api.iter().map(|rule| rule.verbs.join(" ")).collect();
        assert_eq!(verbs, ["update", "create update"]);
        assert!(matches!(drafted.judge(&lease), Verdict::Allowed { .. }));
    }
}
