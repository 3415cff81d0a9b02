//! One rule of a grant, and whether it covers a request.
//!
//! Threat: a wildcard that hands out more than its author thought of. `*` covers what is ordinary; what hands out power
//! ([`is_power`]) is granted by name or not at all.

use serde::{Serialize, Serializer};
use serde_saphyr::FlowSeq;

use super::{ApiRequest, ResourcePath};

/// Stands for everything ordinary in a rule's list.
pub(super) const ALL: &str = "*";

/// The verbs that `*` covers, in the order in which people write them.
pub(super) const ORDINARY_VERBS: [&str; 8] =
    ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// One rule: the same words as a rule of Kubernetes' RBAC, and the namespaces that it holds in.
///
/// A request without a namespace in its path, which is a cluster-scoped object or a list over all namespaces, is covered by
/// `namespaces: ["*"]` only: the path does not tell the two apart, and neither lies in the pod's own namespace. An object
/// `namespaces/NAME` lies in the namespace NAME.
///
/// With `resourceNames`, a list, watch or deletecollection is covered when its field selector names one of them with
/// `metadata.name=`. What creates in a collection names nothing, so such a rule never covers it; what creates below a named
/// object (`pods/NAME/eviction`) is covered by that name, as in RBAC, and so is a server-side apply.
///
/// A server-side apply creates what is not there, and needs both `create` and `patch`, in one rule or in two. The API server
/// would let an account with `patch` alone apply to what is there; whether it is cannot be known when a request is judged.
///
/// # What hands out power
/// `*` never covers `secrets`, `serviceaccounts/token`, `*/exec`, `*/attach`, `*/portforward`, `*/proxy`, and the verbs
/// `impersonate`, `bind`, `escalate` and `proxy`. It does cover other things that an operator should think of before writing
/// it, all of them within what the pod's service account may do:
/// - creating or changing `pods` and what makes pods runs code under any service account of the namespace, with its secrets,
///   and so does `pods/ephemeralcontainers`;
/// - `update` of some types (such as `leases`, `endpoints` and `roles`) also creates, where the account has `create`;
/// - `roles`, `rolebindings` and their cluster-wide kin hand on what the service account has, beyond what the grant opens;
/// - `certificatesigningrequests/approval`, `tokenreviews`, webhook configurations and `apiservices` decide about others.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// API groups; empty for the core group, `*` for all.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "in_one_line")]
    pub api_groups: Vec<String>,
    /// Lower-case plurals, with `/` and a subresource where one is meant; `*` for all that is ordinary.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "in_one_line")]
    pub resources: Vec<String>,
    /// Verbs of the API, such as `get`; for paths the method in lower case.
    #[serde(serialize_with = "in_one_line")]
    pub verbs: Vec<String>,
    /// Namespaces; `*` for all, for lists over all and for cluster-scoped objects.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "in_one_line")]
    pub namespaces: Vec<String>,
    /// Names of objects; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "in_one_line")]
    pub resource_names: Vec<String>,
    /// Paths that are no resources, such as `/version`; `*` at the end covers all that begins so.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "in_one_line", rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<String>,
}

/// YAML in the form that people write rules in: `verbs: [get, list]`.
pub(super) fn in_one_line<S: Serializer>(words: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    FlowSeq(words).serialize(serializer)
}

/// Whether this resource, subresource and verb hand out power beyond themselves: other identities, their secrets, code in
/// other containers, or a way round the API server.
pub(super) fn is_power(resource: &str, subresource: Option<&str>, verb: &str) -> bool {
    matches!(verb, "impersonate" | "bind" | "escalate" | "proxy")
        || resource == "secrets"
        || matches!(subresource, Some("exec" | "attach" | "portforward" | "proxy"))
        || (resource == "serviceaccounts" && subresource == Some("token"))
}

impl Rule {
    /// Whether this rule allows the request as far as it takes this verb; an apply takes two.
    pub(super) fn covers(&self, request: &ApiRequest, verb: &str) -> bool {
        match request.resource() {
            Some(path) => self.covers_resource(verb, path),
            None => self.covers_path(request.path(), verb),
        }
    }

    /// Whether this rule allows a verb on a resource; without a name, on every object of it.
    pub(super) fn covers_resource(&self, verb: &str, path: &ResourcePath) -> bool {
        self.names_group(&path.group)
            && self.names_resource(&path.resource, path.subresource.as_deref())
            && self.names_verb(verb)
            && self.names_namespace(path.namespace.as_deref())
            && self.names_object(path.name.as_deref())
    }

    fn covers_path(&self, path: &str, verb: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix(ALL) {
            Some(start) => path.starts_with(start),
            None => path == pattern,
        };
        self.names_verb(verb) && self.non_resource_urls.iter().any(fits)
    }

    /// Whether the rule holds in this API group.
    pub(super) fn names_group(&self, group: &str) -> bool {
        self.api_groups.iter().any(|named| named == ALL || named == group)
    }

    fn names_verb(&self, verb: &str) -> bool {
        let ordinary = !is_power("", None, verb);
        self.verbs.iter().any(|named| named == verb || (named == ALL && ordinary))
    }

    fn names_resource(&self, resource: &str, subresource: Option<&str>) -> bool {
        let ordinary = !is_power(resource, subresource, "");
        self.resources.iter().any(|named| match named.split_once('/') {
            _ if named == ALL => ordinary,
            Some((ALL, sub)) => ordinary && subresource == Some(sub),
            Some((plural, sub)) => plural == resource && subresource == Some(sub),
            None => named == resource && subresource.is_none(),
        })
    }

    /// Whether the rule holds in this namespace; `None` is the whole cluster.
    pub(super) fn names_namespace(&self, namespace: Option<&str>) -> bool {
        self.namespaces.iter().any(|named| named == ALL || Some(named.as_str()) == namespace)
    }

    fn names_object(&self, name: Option<&str>) -> bool {
        self.resource_names.is_empty() || name.is_some_and(|name| self.resource_names.iter().any(|named| named == name))
    }

    /// Whether any verb is open on a resource or on a subresource of it.
    pub(super) fn opens(&self, group: &str, resource: &str) -> bool {
        let plural_of = |named: &String| match named.split_once('/') {
            _ if named == ALL => !is_power(resource, None, ""),
            Some((ALL, _)) => true,
            Some((plural, _)) => plural == resource,
            None => named == resource,
        };
        self.names_group(group) && !self.verbs.is_empty() && self.resources.iter().any(plural_of)
    }
}
