//! Role-based access control from the objects in the store.
//!
//! Roles and bindings are compiled into a form for fast look-ups. They are compiled again after any of them changes.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::catalogue::Catalogue;
use crate::model::collection::Part;
use crate::model::identity::Identity;
use crate::model::status::ApiError;
use crate::model::store::Store;
use crate::wire::request::{RequestInfo, ResourcePath};

/// The group of the four types that are read here.
pub(crate) const GROUP: &str = "rbac.authorization.k8s.io";

/// One rule of a role.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) api_groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    pub(crate) non_resource_urls: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Role {
    metadata: Metadata,
    rules: Option<Vec<Rule>>,
    aggregation_rule: Option<Aggregation>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    name: String,
    namespace: String,
    labels: Option<HashMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Aggregation {
    cluster_role_selectors: Vec<LabelSelector>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LabelSelector {
    match_labels: HashMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Binding {
    metadata: Metadata,
    subjects: Option<Vec<Subject>>,
    role_ref: Reference,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reference {
    kind: String,
    name: String,
}

/// An attempt to use the API, as rules judge it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Act<'a> {
    Resource { verb: &'a str, at: &'a ResourcePath },
    Path { verb: &'a str, path: &'a str },
}

impl<'a> Act<'a> {
    /// Returns the act of a request.
    pub(crate) fn of(info: &'a RequestInfo) -> Self {
        match &info.resource {
            Some(at) => Self::Resource { verb: info.verb, at },
            None => Self::Path { verb: info.verb, path: &info.path },
        }
    }

    /// Returns the error for a denied act.
    pub(crate) fn forbidden(&self, identity: &Identity) -> ApiError {
        let user = &identity.user;
        match self {
            Self::Path { verb, path } => {
                let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}");
                ApiError::new(403, "Forbidden", message).with_details(json!({}))
            }
            Self::Resource { verb, at } => {
                let qualified =
                    if at.group.is_empty() { at.plural.clone() } else { format!("{}.{}", at.plural, at.group) };
                let named = if at.name.is_empty() { String::new() } else { format!(" {:?}", at.name) };
                let resource = at.with_subresource();
                let place = if at.namespace.is_empty() {
                    "at the cluster scope".to_owned()
                } else {
                    format!("in the namespace {:?}", at.namespace)
                };
                let message = format!(
                    "{qualified}{named} is forbidden: User {user:?} cannot {verb} resource {resource:?} in API group {:?} {place}",
                    at.group
                );
                let mut details = json!({"kind": at.plural});
                if !at.name.is_empty() {
                    details["name"] = at.name.as_str().into();
                }
                if !at.group.is_empty() {
                    details["group"] = at.group.as_str().into();
                }
                ApiError::new(403, "Forbidden", message).with_details(details)
            }
        }
    }
}

impl ResourcePath {
    /// Returns `PLURAL/SUBRESOURCE`, or the plural alone, as rules write it.
    pub(crate) fn with_subresource(&self) -> String {
        if self.subresource.is_empty() { self.plural.clone() } else { format!("{}/{}", self.plural, self.subresource) }
    }
}

fn any(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == "*" || one == wanted)
}

impl Rule {
    fn permits(&self, act: &Act<'_>) -> bool {
        match act {
            Act::Path { verb, path } => any(&self.verbs, verb) && self.covers_path(path),
            Act::Resource { verb, at } => {
                any(&self.verbs, verb)
                    && any(&self.api_groups, &at.group)
                    && self.covers_resource(at)
                    && (self.resource_names.is_empty() || self.resource_names.contains(&at.name))
            }
        }
    }

    fn covers_resource(&self, at: &ResourcePath) -> bool {
        let whole = at.with_subresource();
        self.resources.iter().any(|one| {
            one == "*"
                || *one == whole
                || (!at.subresource.is_empty() && one.strip_prefix("*/") == Some(&at.subresource))
        })
    }

    fn covers_path(&self, path: &str) -> bool {
        self.non_resource_urls.iter().any(|one| match one.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => one == path,
        })
    }
}

impl Subject {
    fn is(&self, identity: &Identity, namespace: &str) -> bool {
        match self.kind.as_str() {
            "User" => self.name == identity.user,
            "Group" => identity.groups.contains(&self.name),
            "ServiceAccount" => {
                let home = if self.namespace.is_empty() { namespace } else { &self.namespace };
                identity.as_service_account() == Some((home, &self.name))
            }
            _ => false,
        }
    }

    fn shown(&self) -> String {
        match self.kind.as_str() {
            "ServiceAccount" => format!("ServiceAccount \"{}/{}\"", self.name, self.namespace),
            kind => format!("{kind} {:?}", self.name),
        }
    }
}

/// All roles and bindings in compiled form.
#[derive(Debug, Default)]
struct Policies {
    cluster_roles: HashMap<String, Vec<Rule>>,
    roles: HashMap<(String, String), Vec<Rule>>,
    cluster_bindings: Vec<Binding>,
    bindings: HashMap<String, Vec<Binding>>,
}

/// The authorizer of all requests, from the objects in the store.
#[derive(Debug, Default)]
pub(crate) struct Authorizer {
    policies: RwLock<(Option<u64>, Arc<Policies>)>,
}

impl Authorizer {
    /// Returns the reason if `identity` may perform the act, and nothing otherwise.
    pub(crate) fn allows(
        &self,
        store: &Store,
        catalogue: &Catalogue,
        identity: &Identity,
        act: &Act<'_>,
    ) -> Option<String> {
        if identity.is_master() {
            return Some(String::new());
        }
        let policies = self.policies(store, catalogue);
        let mut reason = None;
        policies.visit(identity, act.namespace(), |binding, subject, rule| {
            if rule.permits(act) {
                reason = Some(binding.reason(subject));
            }
            reason.is_none()
        });
        reason
    }

    /// Returns all rules for `identity` in `namespace`, in the order of evaluation.
    pub(crate) fn rules(
        &self,
        store: &Store,
        catalogue: &Catalogue,
        identity: &Identity,
        namespace: &str,
    ) -> Vec<Rule> {
        let mut rules = Vec::new();
        self.policies(store, catalogue).visit(identity, namespace, |_, _, rule| {
            rules.push(rule.clone());
            true
        });
        rules
    }

    /// Returns the policies as of now. They are compiled anew when any of the four tables has changed since.
    fn policies(&self, store: &Store, catalogue: &Catalogue) -> Arc<Policies> {
        let newest = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"]
            .iter()
            .filter_map(|plural| catalogue.find(GROUP, "v1", plural))
            .map(|of| store.collection(&of).generation())
            .sum::<u64>();
        {
            let cached = self.policies.read().unwrap_or_else(PoisonError::into_inner);
            if cached.0 == Some(newest) {
                return Arc::clone(&cached.1);
            }
        }
        let compiled = Arc::new(Policies::compile(store, catalogue));
        let mut cached = self.policies.write().unwrap_or_else(PoisonError::into_inner);
        *cached = (Some(newest), Arc::clone(&compiled));
        compiled
    }
}

impl Act<'_> {
    fn namespace(&self) -> &str {
        match self {
            Act::Resource { at, .. } => &at.namespace,
            Act::Path { .. } => "",
        }
    }
}

impl Binding {
    fn reason(&self, subject: &Subject) -> String {
        let Metadata { name, namespace, .. } = &self.metadata;
        let (kind, shown) = if namespace.is_empty() {
            ("ClusterRoleBinding", format!("{name:?}"))
        } else {
            ("RoleBinding", format!("\"{name}/{namespace}\""))
        };
        let Reference { kind: role_kind, name: role } = &self.role_ref;
        format!("RBAC: allowed by {kind} {shown} of {role_kind} {role:?} to {}", subject.shown())
    }
}

impl Policies {
    fn compile(store: &Store, catalogue: &Catalogue) -> Self {
        let objects = |plural: &str| -> Vec<Value> {
            let Some(of) = catalogue.find(GROUP, "v1", plural) else { return Vec::new() };
            let listing = store.list(&store.collection(&of), &Part::default(), |_| true);
            listing.map(|listing| listing.items.iter().map(|item| item.value()).collect()).unwrap_or_default()
        };
        let mut policies = Self::default();
        let cluster_roles: Vec<Role> = parsed(objects("clusterroles"));
        for role in &cluster_roles {
            policies.cluster_roles.insert(role.metadata.name.clone(), aggregated(role, &cluster_roles));
        }
        for role in parsed::<Role>(objects("roles")) {
            let key = (role.metadata.namespace, role.metadata.name);
            policies.roles.insert(key, role.rules.unwrap_or_default());
        }
        policies.cluster_bindings = parsed(objects("clusterrolebindings"));
        for binding in parsed::<Binding>(objects("rolebindings")) {
            policies.bindings.entry(binding.metadata.namespace.clone()).or_default().push(binding);
        }
        policies
    }

    /// Calls `see` with each rule that applies, until `see` returns true.
    fn visit(&self, identity: &Identity, namespace: &str, mut see: impl FnMut(&Binding, &Subject, &Rule) -> bool) {
        let local = self.bindings.get(namespace).map(Vec::as_slice).unwrap_or_default();
        for binding in self.cluster_bindings.iter().chain(local) {
            let subjects = binding.subjects.as_deref().unwrap_or_default();
            let home = &binding.metadata.namespace;
            let Some(subject) = subjects.iter().find(|subject| subject.is(identity, home)) else { continue };
            for rule in self.rules_of(binding) {
                if !see(binding, subject, rule) {
                    return;
                }
            }
        }
    }

    fn rules_of(&self, binding: &Binding) -> &[Rule] {
        let name = &binding.role_ref.name;
        let found = if binding.role_ref.kind == "Role" {
            self.roles.get(&(binding.metadata.namespace.clone(), name.clone()))
        } else {
            self.cluster_roles.get(name)
        };
        found.map(Vec::as_slice).unwrap_or_default()
    }
}

fn parsed<T: for<'a> Deserialize<'a>>(values: Vec<Value>) -> Vec<T> {
    values.into_iter().filter_map(|value| serde_json::from_value(value).ok()).collect()
}

/// Returns a role's own rules and those of the roles that its selectors match.
fn aggregated(role: &Role, all: &[Role]) -> Vec<Rule> {
    let mut rules = role.rules.clone().unwrap_or_default();
    let selectors = role.aggregation_rule.iter().flat_map(|rule| &rule.cluster_role_selectors);
    for selector in selectors {
        let selected = all.iter().filter(|other| {
            let labels = other.metadata.labels.as_ref();
            let carries = |(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value);
            other.metadata.name != role.metadata.name && selector.match_labels.iter().all(carries)
        });
        rules.extend(selected.flat_map(|other| other.rules.iter().flatten()).cloned());
    }
    rules
}
