//! The judgement of a request by a grant.

use std::fmt;

use super::rule_text::OWN_NAMESPACE;
use super::{ApiRequest, Grant, ResourcePath, Rule, creation, rules::ALL};

/// The answer of a grant to a request.
///
/// ```
/// use attache_policy::{ApiRequest, Grant, Verdict};
///
/// let version = ApiRequest::parse(&http::Method::GET, "/version")?;
/// let Verdict::Denied { needed, .. } = Grant::nothing("none").judge(&version) else { panic!("denied") };
/// assert_eq!(needed.to_string(), r#"{nonResourceURLs: ["/version"], verbs: [get]}"#);
/// # Ok::<(), attache_policy::InvalidRequest>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The rule of this index in `spec.api` allows it.
    Allowed {
        /// The index of the rule, from 0.
        rule: usize,
    },
    /// No rule allows it.
    Denied {
        /// A sentence for a human reader: the request and the rule that is needed.
        reason: String,
        /// The smallest rule that would allow this request and as little else as a rule can say.
        needed: Rule,
    },
}

impl Grant {
    /// Judges one request. The first rule that covers its verb allows it. A request that may create needs a rule that
    /// covers `create`, too ([`ApiRequest::creates`]).
    pub fn judge(&self, request: &ApiRequest) -> Verdict {
        self.judge_all(&[request])
    }

    /// Returns whether the grant allows a verb on a resource, without a request for it; where `path` has no name, on
    /// every object. `update` is allowed where a PUT is, which may need `create` too.
    pub fn allows(&self, verb: &str, path: &ResourcePath) -> bool {
        let covered = |verb| self.api.iter().any(|rule| rule.covers_resource(verb, path));
        let creates = verb == "update" && creation::by_update(path);
        covered(verb) && (!creates || covered("create"))
    }

    /// Judges requests that go together, such as the list and the watch of one collection.
    ///
    /// All of them must be allowed, and [`Verdict::Allowed`] has the rule of the last. The rule that is needed has the
    /// verbs of the requests that are not allowed.
    pub fn judge_all(&self, requests: &[&ApiRequest]) -> Verdict {
        let asked = requests.iter().flat_map(|request| request.verbs().map(move |verb| (*request, verb)));
        let missing: Vec<_> = asked.filter(|(request, verb)| self.rule_for(request, verb).is_none()).collect();
        let Some((last, _)) = missing.last() else {
            let rule = requests.last().and_then(|last| self.rule_for(last, last.verb()));
            return rule.map_or_else(nothing_asked, |rule| Verdict::Allowed { rule });
        };
        let verbs = missing.iter().map(|(_, verb)| (*verb).to_owned()).collect();
        let needed = Rule { verbs, ..Rule::needed_for(last) };
        Verdict::Denied { reason: format!("{} is not granted; it needs the rule {needed}", Asked(last)), needed }
    }

    /// Returns the first rule that covers a request as far as it needs this verb.
    fn rule_for(&self, request: &ApiRequest, verb: &str) -> Option<usize> {
        self.api.iter().position(|rule| rule.covers(request, verb))
    }

    /// Returns whether the grant opens any verb on a type, or on a subresource of it, in any namespace.
    pub fn opens(&self, group: &str, plural: &str) -> bool {
        self.api.iter().any(|rule| rule.opens(group, plural))
    }

    /// Judges whether any verb is open on the objects of a collection, before there is a request for it. The rule that
    /// is needed is the smallest that opens something.
    ///
    /// An object `namespaces/NAME` lies in the namespace NAME, so any rule for `namespaces` opens something of them.
    pub fn judge_opening(&self, collection: &ResourcePath) -> Verdict {
        let ResourcePath { group, resource, namespace, .. } = collection;
        let each_in_its_own = namespace.is_none() && is_namespaces(collection);
        let opens = |rule: &Rule| {
            rule.opens(group, resource) && (each_in_its_own || rule.names_namespace(namespace.as_deref()))
        };
        if let Some(rule) = self.api.iter().position(opens) {
            return Verdict::Allowed { rule };
        }
        let own = each_in_its_own.then(|| vec![OWN_NAMESPACE.to_owned()]);
        let needed = Rule::needed_on(collection, vec!["get".to_owned()]);
        let needed = Rule { namespaces: own.unwrap_or(needed.namespaces), ..needed };
        let reason = format!(
            "nothing is granted on {}; it needs a rule such as {needed}, with the verbs that are used",
            What(collection)
        );
        Verdict::Denied { reason, needed }
    }
}

/// Returns the verdict on no request at all, which is never allowed.
fn nothing_asked() -> Verdict {
    Verdict::Denied { reason: "nothing was asked for".to_owned(), needed: Rule::default() }
}

/// Returns whether the objects are the namespaces themselves.
fn is_namespaces(path: &ResourcePath) -> bool {
    path.group.is_empty() && path.resource == "namespaces"
}

/// A request in words: `list pods in namespace demo`.
struct Asked<'a>(&'a ApiRequest);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(path) = self.0.resource() else { return write!(f, "{} {}", self.0.verb(), self.0.path()) };
        let verb = if self.0.applies() { "apply" } else { self.0.verb() };
        write!(f, "{verb} {}", What(path))
    }
}

/// An object or a collection in words.
struct What<'a>(&'a ResourcePath);

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path) = self;
        f.write_str(&path.resource)?;
        if !path.group.is_empty() {
            write!(f, ".{}", path.group)?;
        }
        if let Some(subresource) = &path.subresource {
            write!(f, "/{subresource}")?;
        }
        if let Some(name) = &path.name {
            write!(f, " {name}")?;
        }
        match &path.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => f.write_str(" in the whole cluster"),
        }
    }
}

impl Rule {
    /// Returns the smallest rule that covers a request.
    pub fn needed_for(request: &ApiRequest) -> Self {
        let verbs = request.verbs().map(str::to_owned).collect();
        let Some(path) = request.resource() else {
            return Self { verbs, non_resource_urls: vec![request.path().to_owned()], ..Self::default() };
        };
        Self::needed_on(path, verbs)
    }

    /// Returns the smallest rule that covers these verbs on a resource.
    fn needed_on(path: &ResourcePath, verbs: Vec<String>) -> Self {
        let resource = match &path.subresource {
            Some(subresource) => format!("{}/{subresource}", path.resource),
            None => path.resource.clone(),
        };
        Self {
            api_groups: vec![path.group.clone()],
            resources: vec![resource],
            verbs,
            namespaces: vec![path.namespace.clone().unwrap_or_else(|| ALL.to_owned())],
            // The metrics APIs call all objects `*`; no rule can name that.
            resource_names: path.name.iter().filter(|name| *name != ALL).cloned().collect(),
            non_resource_urls: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::Method;

    fn denied(verbs: &[&str]) -> Option<String> {
        let mut grant = Grant::nothing("g");
        grant.api.push(Rule {
            api_groups: vec![String::new()],
            resources: vec!["pods".into()],
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
            namespaces: vec!["demo".into()],
            ..Rule::default()
        });
        let asked = |query| ApiRequest::parse(&Method::GET, &format!("/api/v1/namespaces/demo/pods{query}")).unwrap();
        match grant.judge_all(&[&asked(""), &asked("?watch=1")]) {
            Verdict::Allowed { .. } => None,
            Verdict::Denied { reason, .. } => Some(reason),
        }
    }

    #[test]
    fn what_goes_together_needs_one_rule_with_the_verbs_that_are_missing() {
        assert_eq!(denied(&["list", "watch"]), None);
        assert!(denied(&["list"]).unwrap().contains("verbs: [watch]"), "{:?}", denied(&["list"]));
        assert!(denied(&["watch"]).unwrap().starts_with("list pods in namespace demo is not granted"));
        assert!(denied(&["get"]).unwrap().contains("verbs: [list, watch]"), "{:?}", denied(&["get"]));
    }
}
