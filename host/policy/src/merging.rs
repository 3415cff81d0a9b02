//! The merging of many rules into few.
//!
//! Threat: a merged list that opens more than the original rules. Two rules become one only if they differ in a single
//! list, so that the merged rule covers the same requests. Only [`fold_reading`] adds something.

use super::Rule;
use super::powers::ORDINARY_VERBS;
use super::rules::ALL;

/// The verbs that reveal an object and change nothing.
const READING: [&str; 3] = ["get", "list", "watch"];

/// The lists in which rules may differ and still become one, in the order in which they are tried.
///
/// Groups are not among them: a resource of one group and another group would make types that no rule names.
const LISTS: [fn(&mut Rule) -> &mut Vec<String>; 5] = [
    |rule| &mut rule.resource_names,
    |rule| &mut rule.verbs,
    |rule| &mut rule.resources,
    |rule| &mut rule.namespaces,
    |rule| &mut rule.non_resource_urls,
];

impl Rule {
    /// Merges rules into fewer ones that cover all requests of `rules`.
    ///
    /// They open one more thing: if a type may be listed, its objects may also be read and watched. A list contains the
    /// whole objects.
    pub fn merged(rules: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut rules: Vec<Self> = rules.into_iter().collect();
        fold_reading(&mut rules);
        for list in LISTS {
            rules = merged_in(rules, list);
        }
        rules.iter_mut().for_each(|rule| rule.verbs.sort_by_key(|verb| rank(verb)));
        rules
    }
}

fn rank(verb: &str) -> usize {
    ORDINARY_VERBS.iter().position(|known| *known == verb).unwrap_or(ORDINARY_VERBS.len())
}

/// Removes the names from rules that only read, if another rule lists the type.
fn fold_reading(rules: &mut [Rule]) {
    let lists: Vec<_> = rules.iter().filter(|rule| lists_all(rule)).cloned().collect();
    let listed = |rule: &Rule| {
        lists.iter().any(|list| {
            (&list.api_groups, &list.resources, &list.namespaces)
                == (&rule.api_groups, &rule.resources, &rule.namespaces)
        })
    };
    for rule in rules {
        if rule.verbs.iter().all(|verb| READING.contains(&verb.as_str())) && listed(rule) {
            rule.resource_names.clear();
        }
    }
}

fn lists_all(rule: &Rule) -> bool {
    rule.resource_names.is_empty() && rule.non_resource_urls.is_empty() && rule.verbs.iter().any(|verb| verb == "list")
}

/// Merges rules that differ in this list only. An empty list means all or nothing, never a part, so it stays apart from
/// lists with words.
fn merged_in(rules: Vec<Rule>, list: fn(&mut Rule) -> &mut Vec<String>) -> Vec<Rule> {
    let mut merged: Vec<(Rule, Vec<String>)> = Vec::new();
    for mut rule in rules {
        let words = std::mem::take(list(&mut rule));
        match merged.iter_mut().find(|(rest, known)| *rest == rule && known.is_empty() == words.is_empty()) {
            Some((_, known)) => known.extend(words),
            None => merged.push((rule, words)),
        }
    }
    let whole = |(mut rule, words): (Rule, Vec<String>)| {
        *list(&mut rule) = tidy(words);
        rule
    };
    merged.into_iter().map(whole).collect()
}

/// Returns each word once, in order; `*` alone where it is among them.
fn tidy(mut words: Vec<String>) -> Vec<String> {
    if words.iter().any(|word| word == ALL) {
        return vec![ALL.to_owned()];
    }
    words.sort();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ApiRequest;
    use http::Method;

    /// The rules for these requests, as a grant prints them.
    fn rules(lines: &[&str]) -> Vec<String> {
        let request = |line: &&str| {
            let (method, target) = line.split_once(' ').unwrap();
            ApiRequest::parse(&Method::from_bytes(method.as_bytes()).unwrap(), target).unwrap()
        };
        Rule::merged(lines.iter().map(request).map(|request| Rule::needed_for(&request)))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn verbs_resources_and_namespaces_come_together_where_nothing_is_added() {
        assert_eq!(
            rules(&[
                "GET /api/v1/namespaces/a/pods",
                "GET /api/v1/namespaces/a/pods?watch=1",
                "GET /api/v1/namespaces/a/services",
                "GET /api/v1/namespaces/a/services?watch=1",
                "GET /apis/batch/v1/namespaces/a/jobs",
                "GET /api/v1/nodes"
            ]),
            [
                "{apiGroups: [\"\"], resources: [pods, services], verbs: [list, watch], namespaces: [a]}",
                "{apiGroups: [batch], resources: [jobs], verbs: [list], namespaces: [a]}",
                "{apiGroups: [\"\"], resources: [nodes], verbs: [list], namespaces: [\"*\"]}"
            ]
        );
    }

    #[test]
    fn names_are_kept_unless_the_type_is_listed_anyway() {
        assert_eq!(
            rules(&[
                "GET /api/v1/namespaces/a/configmaps/x",
                "GET /api/v1/namespaces/a/configmaps/z",
                "PUT /api/v1/namespaces/a/configmaps/x",
                "GET /api/v1/namespaces/a/pods",
                "GET /api/v1/namespaces/a/pods/p",
                "DELETE /api/v1/namespaces/a/pods/p"
            ]),
            [
                "{apiGroups: [\"\"], resources: [configmaps], verbs: [get], namespaces: [a], resourceNames: [x, z]}",
                "{apiGroups: [\"\"], resources: [configmaps], verbs: [update], namespaces: [a], resourceNames: [x]}",
                "{apiGroups: [\"\"], resources: [pods], verbs: [get, list], namespaces: [a]}",
                "{apiGroups: [\"\"], resources: [pods], verbs: [delete], namespaces: [a], resourceNames: [p]}"
            ]
        );
    }

    #[test]
    fn paths_come_together_by_verb() {
        assert_eq!(
            rules(&["GET /version", "GET /api", "GET /version"]),
            ["{nonResourceURLs: [\"/api\", \"/version\"], verbs: [get]}"]
        );
    }
}
