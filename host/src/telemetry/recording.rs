//! What an extension asked for, kept to draw up the grant that it needs.
//!
//! A recording opens nothing: requests are judged by the grant in force as without it. What was allowed becomes the rules of
//! the draft, what was denied stands beside them as comments, for a person to decide on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Audit, AuditRecord, AuditedResource, Decision, MAX_TEXT, Way};
use crate::policy::{Draft, Grant, Rule};

/// How many different requests are kept, each as a rule of a few hundred bytes. Who needs more writes a rule by hand.
const MAX_RULES: usize = 2048;

/// Keeps what is asked for, and passes each record on.
pub struct Recording {
    next: Arc<dyn Audit>,
    asked: Mutex<Asked>,
}

#[derive(Default)]
struct Asked {
    allowed: BTreeSet<Rule>,
    denied: BTreeSet<Rule>,
    full: bool,
}

impl Recording {
    /// Records, and passes each record on to `next`.
    pub fn new(next: Arc<dyn Audit>) -> Self {
        Self { next, asked: Mutex::default() }
    }

    /// The grant that the requests so far needed. All but its rules is as in `given`, the grant that they were judged by:
    /// requests do not tell which mounts, variables and limits were needed.
    ///
    /// `variables` are those of the pod (such as `POD_NAMESPACE` and its value): where a rule has the value of one as its
    /// namespace or its object's name, it gets the variable, so that the grant fits another pod too.
    pub fn draft(&self, given: &Grant, variables: &[(&str, &str)]) -> Draft {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = |rules: &BTreeSet<Rule>| Rule::merged(rules.iter().map(|rule| with_variables(rule, variables)));
        let mut draft = Draft::new(Grant { api: rules(&asked.allowed), ..given.clone() });
        draft.about = vec![
            format!(
                "What was asked of the API server in a run under the grant {:?}: rules that were not used are left",
                given.name
            ),
            "out. All else is as in that grant; a recording does not tell what of it was needed.".to_owned(),
        ];
        if asked.full {
            draft.about.push(format!("More than {MAX_RULES} different requests were made: rules are missing."));
        }
        let why = "Denied in that run. Take the sign off in front of what it is to have:".to_owned();
        draft.open_rules = Some((why, rules(&asked.denied)));
        draft
    }

    fn keep(&self, line: &AuditRecord<'_>) {
        let allowed = match line.verdict {
            Decision::Allowed => true,
            Decision::Denied => false,
            // Nobody has judged these; who meant them asks again.
            _ => return,
        };
        let Some(rule) = needed(line) else { return };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.allowed.len().saturating_add(asked.denied.len()) >= MAX_RULES {
            asked.full = true;
            return;
        }
        if allowed {
            asked.allowed.insert(rule)
        } else {
            asked.denied.insert(rule)
        };
    }
}

impl Audit for Recording {
    fn record(&self, line: &AuditRecord<'_>) {
        if line.way != Way::Host {
            self.keep(line);
        }
        self.next.record(line);
    }
}

/// The smallest rule for what a record tells; `None` where a text in it has been cut.
fn needed(line: &AuditRecord<'_>) -> Option<Rule> {
    let whole = |text: &str| (text.len() < MAX_TEXT).then(|| vec![text.to_owned()]);
    let mut verbs = whole(&line.verb)?;
    verbs.extend(line.applies.then(|| "create".to_owned()));
    let Some(AuditedResource { group, resource, subresource, namespace, name, .. }) = line.resource else {
        return Some(Rule { verbs, non_resource_urls: whole(&line.path)?, ..Rule::default() });
    };
    let resource = subresource.map_or_else(|| resource.to_owned(), |subresource| format!("{resource}/{subresource}"));
    Some(Rule {
        api_groups: whole(group)?,
        resources: whole(&resource)?,
        verbs,
        namespaces: whole(namespace.unwrap_or("*"))?,
        // The metrics APIs call all objects `*`; no rule can name that.
        resource_names: name.filter(|name| *name != "*").map_or(Some(Vec::new()), whole)?,
        non_resource_urls: Vec::new(),
    })
}

fn with_variables(rule: &Rule, variables: &[(&str, &str)]) -> Rule {
    let named = |text: &String| {
        let variable = variables.iter().find(|(_, value)| text == value);
        variable.map_or_else(|| text.clone(), |(name, _)| format!("$({name})"))
    };
    Rule {
        namespaces: rule.namespaces.iter().map(named).collect(),
        resource_names: rule.resource_names.iter().map(named).collect(),
        ..rule.clone()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::policy::{ApiRequest, Verdict};
    use crate::telemetry::NoAudit;
    use http::{HeaderValue, Method};
    use jiff::Timestamp;

    fn record(recording: &Recording, target: &str, verdict: Decision, way: Way) {
        let request = ApiRequest::parse(&Method::GET, target).unwrap();
        recording
            .record(&AuditRecord { verdict, ..AuditRecord::of_request(Timestamp::UNIX_EPOCH, "e", way, &request) });
    }

    #[test]
    fn what_was_used_is_granted_and_what_was_denied_is_commented() {
        let recording = Recording::new(Arc::new(NoAudit));
        record(&recording, "/api/v1/namespaces/demo/pods/me", Decision::Allowed, Way::Api);
        record(&recording, "/api/v1/namespaces/demo/pods/me", Decision::Allowed, Way::WasiHttp);
        record(&recording, "/api/v1/namespaces/demo/pods/me/log", Decision::Allowed, Way::WasiHttp);
        record(&recording, "/apis/batch/v1/namespaces/other/jobs", Decision::Denied, Way::Api);
        record(&recording, "/api/v1/nodes", Decision::Throttled, Way::Api);
        record(&recording, "/apis", Decision::Allowed, Way::Host);
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
        recording.record(&AuditRecord::of_request(Timestamp::UNIX_EPOCH, "e", Way::WasiHttp, &request));
        let drafted = recording.draft(&Grant::nothing("given"), &[]).grant;
        assert_eq!(drafted.api[0].verbs, ["create", "patch"]);
        assert_eq!(drafted.judge(&request), Verdict::Allowed { rule: 0 });
    }
}
