//! Whether a grant allows a request, and which rule would.

use super::{ApiRequest, Grant, Rule, rules::ALL};

/// What a grant says to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The rule of this index in `spec.api` allows it.
    Allowed {
        /// Counted from 0.
        rule: usize,
    },
    /// No rule allows it.
    Denied {
        /// For people: what was asked for and the rule that is needed.
        reason: String,
        /// The smallest rule that would allow this request and as little else as a rule can say.
        needed: Rule,
    },
}

impl Grant {
    /// Judges one request. The first rule that covers it allows it.
    pub fn judge(&self, request: &ApiRequest) -> Verdict {
        match self.api.iter().position(|rule| rule.covers(request)) {
            Some(rule) => Verdict::Allowed { rule },
            None => {
                let needed = Rule::needed_for(request);
                Verdict::Denied {
                    reason: format!("{} {} is not granted", request.verb(), request.path()),
                    needed,
                }
            }
        }
    }

    /// Whether the grant opens any verb on a type, or on a subresource of it, in any namespace.
    pub fn opens(&self, group: &str, plural: &str) -> bool {
        self.api.iter().any(|rule| rule.opens(group, plural))
    }

    /// As [`Grant::opens`], in one namespace; `None` is all of them, or a cluster-scoped type.
    pub fn opens_in(&self, group: &str, plural: &str, namespace: Option<&str>) -> bool {
        self.api
            .iter()
            .any(|rule| rule.opens(group, plural) && rule.names_namespace(namespace))
    }
}

impl Rule {
    /// The smallest rule that covers a request.
    pub fn needed_for(request: &ApiRequest) -> Self {
        let verbs = vec![request.verb().to_owned()];
        let Some(path) = request.resource() else {
            return Self {
                verbs,
                non_resource_urls: vec![request.path().to_owned()],
                ..Self::default()
            };
        };
        let resource = match &path.subresource {
            Some(subresource) => format!("{}/{subresource}", path.resource),
            None => path.resource.clone(),
        };
        Self {
            api_groups: vec![path.group.clone()],
            resources: vec![resource],
            verbs,
            namespaces: vec![path.namespace.clone().unwrap_or_else(|| ALL.to_owned())],
            resource_names: path.name.iter().cloned().collect(),
            non_resource_urls: Vec::new(),
        }
    }
}
