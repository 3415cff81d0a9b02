//! The RBAC manifest of a grant.
//!
//! Threat: an account with more rights than the grant opens. The manifest is as narrow as RBAC allows. A remark names
//! each right that RBAC cannot restrict so far.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use attache_base::names::{is_dns_name, is_label};
use serde::{Serialize, Serializer};
use thiserror::Error;

use super::powers::ORDINARY_VERBS;
use super::rules::ALL;
use super::{Grant, ResolveError, Rule};

/// The API group and version of roles.
const RBAC: &str = "rbac.authorization.k8s.io";
const RBAC_VERSION: &str = "rbac.authorization.k8s.io/v1";

/// The variable that means the account's own namespace.
const POD_NAMESPACE: &str = "POD_NAMESPACE";

/// A service account, written `NAMESPACE:NAME` as kubectl's `--serviceaccount` has it.
///
/// ```
/// use attache_policy::{Account, Grant};
///
/// let account: Account = "demo:reader".parse()?;
/// assert!(Grant::nothing("none").to_rbac(&account).expect("no variables").is_empty());
/// # Ok::<(), attache_policy::AccountError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The namespace of the account and of its pods.
    pub namespace: String,
    /// The name of the account.
    pub name: String,
}

/// The error for a text that names no service account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a service account is written NAMESPACE:NAME")]
pub struct AccountError;

impl FromStr for Account {
    type Err = AccountError;

    fn from_str(text: &str) -> Result<Self, AccountError> {
        let (namespace, name) = text.split_once(':').ok_or(AccountError)?;
        if is_label(namespace) && is_dns_name(name) {
            return Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() });
        }
        Err(AccountError)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.namespace, self.name)
    }
}

/// Roles and their bindings. It serialises to a `v1` `List`; [`Rbac::to_yaml`] has one document for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rbac {
    objects: Vec<Object>,
    remarks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<Rule>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_ref: Option<RoleRef>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subjects: Vec<Subject>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Metadata {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RoleRef {
    api_group: &'static str,
    kind: &'static str,
    name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Subject {
    kind: &'static str,
    #[serde(flatten)]
    account: Account,
}

impl Grant {
    /// Returns the roles and bindings that give `account` the rights of this grant: a `Role` in each namespace that the
    /// grant names, and a `ClusterRole` for paths and for rights in all namespaces.
    ///
    /// `$(POD_NAMESPACE)` becomes the account's namespace. A name with another variable differs from pod to pod, which
    /// RBAC cannot express: its rule then holds for all names, with a remark.
    ///
    /// # Errors
    /// [`ResolveError`] for a namespace that names another variable.
    pub fn to_rbac(&self, account: &Account) -> Result<Rbac, ResolveError> {
        let mut remarks = Vec::new();
        let mut grant = self.clone();
        for (index, rule) in grant.api.iter_mut().enumerate() {
            remarks.extend(widen(index, rule));
        }
        let grant = grant.resolve(|name| (name == POD_NAMESPACE).then(|| account.namespace.clone()))?;
        let mut places: BTreeMap<Option<String>, Vec<Rule>> = BTreeMap::new();
        for rule in &grant.api {
            for place in rule.scopes() {
                places.entry(place).or_default().push(in_rbac(rule));
            }
        }
        let pair = |(place, rules)| objects(&self.name, account, place, rules);
        Ok(Rbac { objects: places.into_iter().flat_map(pair).collect(), remarks })
    }
}

impl Rule {
    /// Returns the namespaces that the rule holds in; `None` is the whole cluster, which covers all others.
    pub(super) fn scopes(&self) -> BTreeSet<Option<String>> {
        if !self.non_resource_urls.is_empty() || self.namespaces.iter().any(|namespace| namespace == ALL) {
            return BTreeSet::from([None]);
        }
        self.namespaces.iter().cloned().map(Some).collect()
    }
}

/// Widens a rule to the nearest one that RBAC can express. Returns a remark for each right that this adds.
fn widen(index: usize, rule: &mut Rule) -> Vec<String> {
    let mut remarks = Vec::new();
    if rule.resource_names.iter().any(|name| name.contains('$')) {
        remarks.push(format!(
            "spec.api[{index}] names objects by a variable; RBAC cannot, so the role holds for all names"
        ));
        rule.resource_names.clear();
    }
    if rule.resources.iter().any(|resource| resource == ALL) {
        remarks.push(format!(
            "spec.api[{index}] covers all that is ordinary; RBAC's `*` also covers secrets, tokens, reviews, certificates, \
             exec and the like: name the resources to keep the account as small as the grant"
        ));
    }
    remarks
}

/// Returns the rule in RBAC's own form: a `Role`'s rules have no namespaces, and RBAC's verb `*` covers verbs that the
/// grant's `*` never covers.
fn in_rbac(rule: &Rule) -> Rule {
    let mut rule = Rule { namespaces: Vec::new(), ..rule.clone() };
    if rule.non_resource_urls.is_empty() && rule.verbs.iter().any(|verb| verb == ALL) {
        rule.verbs.retain(|verb| verb != ALL && !ORDINARY_VERBS.contains(&verb.as_str()));
        rule.verbs.splice(0..0, ORDINARY_VERBS.map(str::to_owned));
    }
    rule
}

fn objects(name: &str, account: &Account, place: Option<String>, rules: Vec<Rule>) -> [Object; 2] {
    let (role, binding, name) = match &place {
        Some(_) => ("Role", "RoleBinding", name.to_owned()),
        // A cluster-wide name contains the namespace of its owner.
        None => ("ClusterRole", "ClusterRoleBinding", format!("attache:{}:{name}", account.namespace)),
    };
    let metadata = Metadata { name: name.clone(), namespace: place };
    let object = |kind| Object {
        api_version: RBAC_VERSION,
        kind,
        metadata: metadata.clone(),
        rules: Vec::new(),
        role_ref: None,
        subjects: Vec::new(),
    };
    let subject = Subject { kind: "ServiceAccount", account: account.clone() };
    let role_ref = RoleRef { api_group: RBAC, kind: role, name };
    [Object { rules, ..object(role) }, Object { role_ref: Some(role_ref), subjects: vec![subject], ..object(binding) }]
}

impl Rbac {
    /// Returns whether the account needs no rights at all.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Returns the rights that the manifest gives beyond the grant, in sentences.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Returns the manifest: one YAML document for each object, with the remarks as comments before them.
    pub fn to_yaml(&self) -> String {
        let remarks = self.remarks.iter().map(|remark| format!("# {remark}\n"));
        // Writing texts and lists cannot fail.
        let documents = self.objects.iter().map(|object| serde_saphyr::to_string(object).unwrap_or_default());
        let documents: Vec<_> = documents.collect();
        remarks.collect::<String>() + &documents.join("---\n")
    }
}

impl Serialize for Rbac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct List<'a> {
            api_version: &'static str,
            kind: &'static str,
            items: &'a [Object],
        }
        List { api_version: "v1", kind: "List", items: &self.objects }.serialize(serializer)
    }
}
