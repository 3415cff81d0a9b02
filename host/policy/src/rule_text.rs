//! Rules as a grant writes them: the strict reader, and the printer for messages.

use std::fmt;

use attache_base::names::{is_dns_name, is_label};

use super::{
    DocumentError, Problem, Rule,
    document::{Cursor, Fields},
    powers::is_power_of_any,
    rules::ALL,
    segments, variables,
};

/// The fields of a rule.
const FIELDS: &[&str] = &["apiGroups", "resources", "verbs", "namespaces", "resourceNames", "nonResourceURLs"];

/// The verbs that a request for a resource can have, and the other verbs of RBAC.
const VERBS: &[&str] = &[
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "impersonate",
    "bind",
    "escalate",
    "proxy",
    ALL,
];

/// The verbs of a non-resource path: methods in lower case.
const PATH_VERBS: &[&str] = &["get", "head", "post", "put", "patch", "delete", ALL];

/// The default of `namespaces`: the pod's own namespace.
pub(super) const OWN_NAMESPACE: &str = "$(POD_NAMESPACE)";

impl Rule {
    /// Reads one entry of `spec.api`.
    pub(super) fn decode(at: &Cursor<'_>) -> Result<Self, DocumentError> {
        let fields = at.clone().fields(FIELDS)?;
        match fields.get("nonResourceURLs") {
            Some(urls) => Self::decode_paths(&fields, &urls),
            None => Self::decode_resources(&fields),
        }
    }

    fn decode_paths(fields: &Fields<'_>, urls: &Cursor<'_>) -> Result<Self, DocumentError> {
        for name in ["apiGroups", "resources", "namespaces", "resourceNames"] {
            if let Some(other) = fields.get(name) {
                return Err(other.fail(Problem::Excludes("nonResourceURLs")));
            }
        }
        Ok(Self {
            non_resource_urls: urls.each(path)?,
            verbs: fields.need("verbs")?.each(|at| at.one_of(PATH_VERBS).map(str::to_owned))?,
            ..Self::default()
        })
    }

    fn decode_resources(fields: &Fields<'_>) -> Result<Self, DocumentError> {
        let own = || vec![OWN_NAMESPACE.to_owned()];
        let api_groups = fields.need("apiGroups")?.each(group)?;
        let letters = Letters::of(&api_groups);
        Ok(Self {
            resources: fields.need("resources")?.each(|at| resource(at, letters))?,
            api_groups,
            verbs: fields.need("verbs")?.each(|at| at.one_of(VERBS).map(str::to_owned))?,
            namespaces: fields.read("namespaces", |at| at.each(namespace))?.unwrap_or_else(own),
            // RBAC's own rules write an empty list for "all names", and so does the grant's format.
            resource_names: fields
                .get("resourceNames")
                .filter(|at| !at.is_empty_list())
                .map_or(Ok(Vec::new()), |at| at.each(name))?,
            non_resource_urls: Vec::new(),
        })
    }
}

fn group(at: &Cursor<'_>) -> Result<String, DocumentError> {
    let text = at.text()?;
    if matches!(text, "" | ALL) || is_dns_name(text) {
        return Ok(text.to_owned());
    }
    Err(at.invalid(text, "an API group is a DNS name, \"\" for the core group, or `*`"))
}

/// The characters of the names of resources and subresources in some API groups.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Letters {
    /// Lower-case letters and the other characters of plurals.
    Plural,
    /// Any path segment: the names of metrics, and the types of aggregated API servers.
    Segment,
}

impl Letters {
    /// In the groups of metrics, upper case is valid.
    fn of(groups: &[String]) -> Self {
        let metrics = groups.iter().all(|group| group.ends_with(".metrics.k8s.io"));
        if metrics { Self::Segment } else { Self::Plural }
    }

    fn has(self, part: &str) -> bool {
        let upper = part.contains(|letter: char| letter.is_ascii_uppercase());
        segments::check_name(part).is_ok() && !part.contains('*') && (self == Self::Segment || !upper)
    }
}

fn resource(at: &Cursor<'_>, letters: Letters) -> Result<String, DocumentError> {
    let text = at.words()?;
    let (plural, subresource) = text.split_once('/').map_or((text, None), |(plural, sub)| (plural, Some(sub)));
    if !(plural == ALL || letters.has(plural)) || !subresource.is_none_or(|part| letters.has(part)) {
        return Err(at.invalid(text, "a resource is a lower-case plural such as `pods`, `pods/log`, `*/scale`, or `*`"));
    }
    if plural == ALL && subresource.is_some_and(is_power_of_any) {
        return Err(
            at.invalid(text, "a wildcard never covers what hands out power; name the resource, such as `pods/exec`")
        );
    }
    Ok(text.to_owned())
}

fn namespace(at: &Cursor<'_>) -> Result<String, DocumentError> {
    let text = at.words()?;
    if text == ALL || variables::is_template(text, is_label) {
        return Ok(text.to_owned());
    }
    Err(at.invalid(text, "a namespace is a DNS label, `$(VARIABLE)`, or `*` for all"))
}

fn name(at: &Cursor<'_>) -> Result<String, DocumentError> {
    let text = at.words()?;
    if text != ALL && variables::is_template(text, |plain| segments::check_name(plain).is_ok()) {
        return Ok(text.to_owned());
    }
    Err(at.invalid(text, "a resource name is one path segment and no pattern; leave the field out for all names"))
}

fn path(at: &Cursor<'_>) -> Result<String, DocumentError> {
    let text = at.words()?;
    let fixed = text.strip_suffix(ALL).unwrap_or(text);
    let inner = fixed.strip_prefix('/').map(|inner| inner.strip_suffix('/').unwrap_or(inner));
    let plain = |inner: &str| {
        inner.is_empty() || inner.split('/').all(|part| segments::check(part).is_ok() && !part.contains(ALL))
    };
    if text == ALL || inner.is_some_and(plain) {
        return Ok(text.to_owned());
    }
    Err(at.invalid(text, "a path begins with `/` and may end in `*`"))
}

impl fmt::Display for Rule {
    /// One line of YAML, ready to go into `spec.api`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("apiGroups", &self.api_groups),
            ("resources", &self.resources),
            ("nonResourceURLs", &self.non_resource_urls),
            ("verbs", &self.verbs),
            ("namespaces", &self.namespaces),
            ("resourceNames", &self.resource_names),
        ];
        f.write_str("{")?;
        for (index, (name, words)) in lists.into_iter().filter(|(_, words)| !words.is_empty()).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
            write!(f, "{separator}{name}: [{}]", words.join(", "))?;
        }
        f.write_str("}")
    }
}

/// Returns a word in the form that every version of YAML reads back as the same text.
fn quoted(word: &str) -> String {
    let plain = word.starts_with(|first: char| first.is_ascii_lowercase())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./_".contains(&byte))
        && !matches!(word, "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    if plain { word.to_owned() } else { serde_json::Value::from(word).to_string() }
}
