//! The rights of a grant that its service account does not have.
//!
//! Question: will the API server refuse a request that this grant allows? A grant that exceeds its account opens
//! nothing more, but its requests fail at run time.

use std::collections::BTreeSet;

use super::powers::ORDINARY_VERBS;
use super::rules::ALL;
use super::{Grant, Rule};

/// The rights of an account in one namespace, or in the whole cluster, as a `SelfSubjectRulesReview` lists them.
///
/// ```
/// use attache_policy::{AccountRules, Grant, Rule};
///
/// let pods = Rule::default().api_groups([""]).resources(["pods"]).namespaces(["demo"]);
/// let mut grant = Grant::nothing("reader");
/// grant.api.push(pods.clone().verbs(["get", "list"]));
/// let account = AccountRules { rules: vec![pods.clone().verbs(["get"])], incomplete: false };
/// assert_eq!(grant.beyond(Some("demo"), &account), [pods.verbs(["list"])]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountRules {
    /// The rules in RBAC's words: `namespaces` is empty, and `*` covers everything.
    pub rules: Vec<Rule>,
    /// Set where an authoriser cannot list all that it allows, such as a webhook: a right that seems to be missing may
    /// be there.
    pub incomplete: bool,
}

impl Grant {
    /// Returns the namespaces that the rules hold in; `None` is the whole cluster. The grant's `$(…)` must be resolved.
    pub fn scopes(&self) -> BTreeSet<Option<String>> {
        self.api.iter().flat_map(Rule::scopes).collect()
    }

    /// Returns the grant without pairs of group and type that no server has. A rule with the groups `""` and `batch`
    /// and the types `pods` and `jobs` means pods of the first group and jobs of the second. `serves` returns whether a
    /// group (empty for the core group) has a type, or a subresource as in `pods/log`. A type that no group of its rule
    /// has stays with all of them.
    #[must_use]
    pub fn served(&self, serves: impl Fn(&str, &str) -> bool) -> Self {
        Self { api: self.api.iter().flat_map(|rule| rule.served(&serves)).collect(), ..self.clone() }
    }

    /// Returns the rights that this grant opens in one of its scopes and that the account lacks there.
    pub fn beyond(&self, scope: Option<&str>, account: &AccountRules) -> Vec<Rule> {
        let here = |rule: &&Rule| rule.scopes().contains(&scope.map(str::to_owned));
        let missing =
            self.api.iter().filter(here).flat_map(|rule| atoms(rule, scope)).filter(|atom| !account.covers(atom));
        Rule::merged(missing.collect::<Vec<_>>())
    }
}

impl Rule {
    fn served(&self, serves: &impl Fn(&str, &str) -> bool) -> Vec<Self> {
        let groups = &self.api_groups;
        if groups.len() < 2 {
            return vec![self.clone()];
        }
        let has = |group: &str, resource: &str| serves(group, resource) || group == ALL || resource.starts_with(ALL);
        let of = |group: &String| {
            let belongs = |resource: &&String| has(group, resource) || !groups.iter().any(|other| has(other, resource));
            let resources: Vec<_> = self.resources.iter().filter(belongs).cloned().collect();
            let rule = Self { api_groups: vec![group.clone()], resources, ..self.clone() };
            (!rule.resources.is_empty()).then_some(rule)
        };
        groups.iter().filter_map(of).collect()
    }
}

/// Returns a rule as rules of one word in each list.
fn atoms(rule: &Rule, scope: Option<&str>) -> Vec<Rule> {
    let namespace = if rule.non_resource_urls.is_empty() { vec![scope.unwrap_or(ALL).to_owned()] } else { Vec::new() };
    let verbs: Vec<String> = rule.verbs.iter().flat_map(|verb| spelt_out(verb, rule)).collect();
    let mut atoms = Vec::new();
    for group in words(&rule.api_groups) {
        for resource in words(&rule.resources) {
            for verb in &verbs {
                for name in words(&rule.resource_names) {
                    for url in words(&rule.non_resource_urls) {
                        atoms.push(Rule {
                            api_groups: group.clone(),
                            resources: resource.clone(),
                            verbs: vec![verb.clone()],
                            namespaces: namespace.clone(),
                            resource_names: name.clone(),
                            non_resource_urls: url,
                        });
                    }
                }
            }
        }
    }
    atoms
}

/// Returns each word as a list of its own; for no words one empty list.
fn words(list: &[String]) -> Vec<Vec<String>> {
    if list.is_empty() { vec![Vec::new()] } else { list.iter().map(|word| vec![word.clone()]).collect() }
}

/// Returns the verbs for which a verb stands: for a resource, `*` stands for each verb that a request can have.
fn spelt_out(verb: &str, rule: &Rule) -> Vec<String> {
    match verb {
        ALL if rule.non_resource_urls.is_empty() => ORDINARY_VERBS.map(str::to_owned).into(),
        _ => vec![verb.to_owned()],
    }
}

impl AccountRules {
    /// Returns whether one of the account's rules covers a rule of one word in each list.
    fn covers(&self, atom: &Rule) -> bool {
        self.rules.iter().any(|rule| covers(rule, atom))
    }
}

/// Returns whether a rule covers an atom, as `rbac/validation.Covers` of `component-helpers/auth/rbac` has it: only a
/// star covers a star.
fn covers(rule: &Rule, atom: &Rule) -> bool {
    let each = |list: &[String], own: &[String], fits: fn(&str, &str) -> bool| {
        list.iter().all(|word| own.iter().any(|known| fits(known, word)))
    };
    each(&atom.verbs, &rule.verbs, is_or_star)
        && each(&atom.api_groups, &rule.api_groups, is_or_star)
        && each(&atom.resources, &rule.resources, covers_resource)
        && each(&atom.non_resource_urls, &rule.non_resource_urls, covers_path)
        && (rule.resource_names.is_empty()
            || (!atom.resource_names.is_empty()
                && each(&atom.resource_names, &rule.resource_names, |known, word| known == word)))
}

fn is_or_star(known: &str, word: &str) -> bool {
    known == ALL || known == word
}

fn covers_resource(known: &str, word: &str) -> bool {
    let subresource = |text: &str| text.split_once('/').map(|(_, subresource)| subresource.to_owned());
    is_or_star(known, word) || (known.starts_with("*/") && subresource(known) == subresource(word))
}

fn covers_path(known: &str, word: &str) -> bool {
    match known.strip_suffix(ALL) {
        Some(start) => word.trim_end_matches(ALL).starts_with(start),
        None => known == word,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn grant(rules: &[&str]) -> Grant {
        let text = format!(
            "{{apiVersion: attache.dev/v1alpha1, kind: Grant, metadata: {{name: g}}, spec: {{api: [{}]}}}}",
            rules.join(", ")
        );
        Grant::parse(&text).unwrap()
    }

    /// Returns an account with these rules, written as a grant's rules.
    fn account(rules: &[&str]) -> AccountRules {
        AccountRules { rules: if rules.is_empty() { Vec::new() } else { grant(rules).api }, incomplete: false }
    }

    #[test]
    fn only_what_no_rule_of_the_account_covers_is_beyond() {
        let table: [(&str, &[&str], &[&str]); 8] = [
            (
                "{apiGroups: [''], resources: [pods], verbs: [get, list], namespaces: [a]}",
                &["{apiGroups: [''], resources: [pods], verbs: [get]}"],
                &["{apiGroups: [\"\"], resources: [pods], verbs: [list], namespaces: [a]}"],
            ),
            (
                "{apiGroups: [''], resources: [pods], verbs: [get, list], namespaces: [a]}",
                &["{apiGroups: ['*'], resources: ['*'], verbs: ['*']}"],
                &[],
            ),
            (
                "{apiGroups: [''], resources: ['*'], verbs: [get], namespaces: [a]}",
                &["{apiGroups: [''], resources: [pods], verbs: ['*']}"],
                &["{apiGroups: [\"\"], resources: [\"*\"], verbs: [get], namespaces: [a]}"],
            ),
            (
                "{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [a], resourceNames: [x, z]}",
                &["{apiGroups: [''], resources: [pods], verbs: [get], resourceNames: [x]}"],
                &["{apiGroups: [\"\"], resources: [pods], verbs: [get], namespaces: [a], resourceNames: [z]}"],
            ),
            (
                "{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [a]}",
                &["{apiGroups: [''], resources: [pods], verbs: [get], resourceNames: [x]}"],
                &["{apiGroups: [\"\"], resources: [pods], verbs: [get], namespaces: [a]}"],
            ),
            (
                "{apiGroups: [apps], resources: [deployments/scale], verbs: [update], namespaces: [a]}",
                &["{apiGroups: [apps], resources: ['*/scale'], verbs: [update]}"],
                &[],
            ),
            (
                "{nonResourceURLs: [/apis/*, /version, /metrics], verbs: [get]}",
                &["{nonResourceURLs: [/api*, /version], verbs: ['*']}"],
                &["{nonResourceURLs: [\"/metrics\"], verbs: [get]}"],
            ),
            ("{apiGroups: [''], resources: [pods], verbs: [get], namespaces: [elsewhere]}", &[], &[]),
        ];
        for (rule, has, beyond) in table {
            let grant = grant(&[rule]);
            let scope = if rule.contains("nonResource") { None } else { Some("a") };
            let found: Vec<_> = grant.beyond(scope, &account(has)).iter().map(ToString::to_string).collect();
            assert_eq!(found, beyond, "{rule}");
        }
    }

    #[test]
    fn a_pair_that_no_server_has_is_nobodys_to_be_granted() {
        let serves = |group: &str, resource: &str| {
            [("", "pods"), ("", "pods/log"), ("batch", "jobs"), ("apps", "deployments")].contains(&(group, resource))
        };
        let rule = "{apiGroups: ['', apps, batch], resources: [pods, pods/log, deployments, jobs, widgets], \
                    verbs: [get], namespaces: [a]}";
        let beyond = grant(&[rule]).served(serves).beyond(Some("a"), &account(&[]));
        let beyond: Vec<_> = beyond.iter().map(ToString::to_string).collect();
        assert_eq!(
            beyond,
            [
                "{apiGroups: [\"\"], resources: [pods, pods/log, widgets], verbs: [get], namespaces: [a]}",
                "{apiGroups: [apps], resources: [deployments, widgets], verbs: [get], namespaces: [a]}",
                "{apiGroups: [batch], resources: [jobs, widgets], verbs: [get], namespaces: [a]}",
            ]
        );
        let stars = grant(&["{apiGroups: ['', '*'], resources: ['*', pods], verbs: [get], namespaces: [a]}"]);
        assert_eq!(stars.served(serves).api.len(), 2);
    }

    #[test]
    fn a_star_of_verbs_is_spelt_out() {
        let grant = grant(&["{apiGroups: [''], resources: [pods], verbs: ['*'], namespaces: ['*']}"]);
        let reading = account(&["{apiGroups: [''], resources: [pods], verbs: [get, list, watch]}"]);
        let beyond = grant.beyond(None, &reading);
        assert_eq!(beyond[0].verbs, ["create", "update", "patch", "delete", "deletecollection"]);
        assert_eq!(beyond[0].namespaces, ["*"]);
    }
}
