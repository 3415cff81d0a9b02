//! One rule of a grant, and the requests that it covers. [`super::powers`] defines the extent of `*`.

use serde::{Serialize, Serializer};
use serde_saphyr::FlowSeq;

use super::powers::{ORDINARY_VERBS, is_power};
use super::{ApiRequest, ResourcePath};

/// The word for everything ordinary in a rule's list.
pub(super) const ALL: &str = "*";

/// The methods of paths that are no resources, as verbs; `*` covers them all.
pub(super) const PATH_VERBS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// One rule of a grant: a rule of Kubernetes' RBAC, and the namespaces in which it holds.
///
/// A request without a namespace in its path is for a cluster-scoped object or a list over all namespaces. Only
/// `namespaces: ["*"]` covers it: the path does not distinguish the two, and neither lies in the pod's own namespace.
/// An object `namespaces/NAME` lies in the namespace NAME.
///
/// With `resourceNames`, a list, watch or deletecollection is covered if its field selector names one of them with
/// `metadata.name=`. A creation in a collection names nothing, so such a rule never covers it. A creation below a named
/// object (`pods/NAME/eviction`) is covered by that name, as in RBAC, and so is a server-side apply.
///
/// A request that may create an object needs `create` beside its own verb, in one rule or in two: a server-side apply,
/// and a PUT of a type that the API server creates by a PUT (`services`, `endpoints`, `events`, `limitranges`,
/// `leases`, `leasecandidates`, `runtimeclasses`, roles and their bindings) or may create so (all that are not built
/// in, custom resources included). The API server lets an account without `create` change an object that exists. It is
/// not known whether it exists when a request is judged. A `create` with `resourceNames` opens this and no more.
///
/// # Powers
/// `*` never covers these; a rule has to name them, in any API group:
///
/// | resource | by `*` never | because it gives |
/// | --- | --- | --- |
/// | `secrets` | all | credentials of others |
/// | `serviceaccounts/token`, `*/token` | all | another account's token |
/// | `tokenreviews`, `subjectaccessreviews`, `localsubjectaccessreviews` | all | identities and rights of others |
/// | `certificatesigningrequests/approval` and `/status`, `*/approval`, `signers` | all | certificates in any name |
/// | `podcertificaterequests` | all | certificates in a pod's name |
/// | `*/exec`, `*/attach`, `*/portforward`, `*/proxy`, `*/ephemeralcontainers` | all | code and ports of other containers |
/// | `clustertrustbundles` | changing | the certificates that others trust |
/// | webhook configurations, admission policies and their bindings, `flowschemas`, `prioritylevelconfigurations` | changing | others' requests |
/// | `customresourcedefinitions` | changing | others' objects, by conversion |
/// | `apiservices` | changing | answers in the API server's name |
///
/// As a verb `*` stands for `get`, `list`, `watch`, `create`, `update`, `patch`, `delete` and `deletecollection`, never
/// for `impersonate`, `bind`, `escalate`, `proxy` and verbs that no request has (`impersonate:user-info`, `sign`,
/// `use`).
///
/// `*` does cover other rights that an operator should know. All of them are within the rights of the pod's service
/// account:
/// - creating or changing `pods`, or objects that create pods, runs code under any service account of the namespace,
///   with its secrets;
/// - `create` on `pods/eviction` deletes pods, and on `pods/binding` places them;
/// - `roles`, `rolebindings` and their cluster-wide kin pass on the rights of the service account, beyond those of the
///   grant;
/// - `selfsubjectaccessreviews` and `selfsubjectrulesreviews` report the rights of the service account.
///
/// # Example
/// ```
/// use attache_policy::Rule;
///
/// let rule = Rule::default().api_groups(["apps"]).resources(["deployments/scale"]);
/// let rule = rule.verbs(["get"]).namespaces(["demo"]);
/// assert_eq!(
///     rule.to_string(),
///     "{apiGroups: [apps], resources: [deployments/scale], verbs: [get], namespaces: [demo]}"
/// );
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Rule {
    /// API groups; empty for the core group, `*` for all.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "in_one_line")]
    pub api_groups: Vec<String>,
    /// Lower-case plurals, with `/` and a subresource where that is meant; `*` for all that is ordinary.
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

/// Makes a setter for each list of a rule.
macro_rules! setters {
    ($($field:ident),*) => {
        impl Rule {
            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](field@Rule::", stringify!($field), ").")]
                #[must_use]
                pub fn $field(self, $field: impl IntoIterator<Item = impl Into<String>>) -> Self {
                    Self { $field: $field.into_iter().map(Into::into).collect(), ..self }
                }
            )*
        }
    };
}

setters!(api_groups, resources, verbs, namespaces, resource_names, non_resource_urls);

/// Writes YAML in the form that people write rules in: `verbs: [get, list]`.
pub(super) fn in_one_line<S: Serializer>(words: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    FlowSeq(words).serialize(serializer)
}

impl Rule {
    /// Returns whether this rule allows the request as far as it needs this verb; an apply needs two.
    pub(super) fn covers(&self, request: &ApiRequest, verb: &str) -> bool {
        match request.resource() {
            Some(path) => self.covers_resource(verb, path),
            None => self.covers_path(request.path(), verb),
        }
    }

    /// Returns whether this rule allows a verb on a resource; without a name, on every object of it.
    pub(super) fn covers_resource(&self, verb: &str, path: &ResourcePath) -> bool {
        self.names_group(&path.group)
            && self.names_resource(&path.resource, path.subresource.as_deref(), verb)
            && self.names_verb(verb, &ORDINARY_VERBS)
            && self.names_namespace(path.namespace.as_deref())
            && self.names_object(path.name.as_deref())
    }

    fn covers_path(&self, path: &str, verb: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix(ALL) {
            Some(start) => path.starts_with(start),
            None => path == pattern,
        };
        self.names_verb(verb, &PATH_VERBS) && self.non_resource_urls.iter().any(fits)
    }

    /// Returns whether the rule holds in this API group.
    pub(super) fn names_group(&self, group: &str) -> bool {
        self.api_groups.iter().any(|named| named == ALL || named == group)
    }

    fn names_verb(&self, verb: &str, ordinary: &[&str]) -> bool {
        self.verbs.iter().any(|named| named == verb || (named == ALL && ordinary.contains(&verb)))
    }

    fn names_resource(&self, resource: &str, subresource: Option<&str>, verb: &str) -> bool {
        // `names_verb` decides on verbs of power.
        let asked = if ORDINARY_VERBS.contains(&verb) { verb } else { "get" };
        let ordinary = !is_power(resource, subresource, asked);
        self.resources.iter().any(|named| match named.split_once('/') {
            _ if named == ALL => ordinary,
            Some((ALL, sub)) => ordinary && subresource == Some(sub),
            Some((plural, sub)) => plural == resource && subresource == Some(sub),
            None => named == resource && subresource.is_none(),
        })
    }

    /// Returns whether the rule holds in this namespace; `None` is the whole cluster.
    pub(super) fn names_namespace(&self, namespace: Option<&str>) -> bool {
        self.namespaces.iter().any(|named| named == ALL || Some(named.as_str()) == namespace)
    }

    fn names_object(&self, name: Option<&str>) -> bool {
        self.resource_names.is_empty() || name.is_some_and(|name| self.resource_names.iter().any(|named| named == name))
    }

    /// Returns whether any verb is open on a resource or on a subresource of it.
    pub(super) fn opens(&self, group: &str, resource: &str) -> bool {
        let plural_of = |named: &String| match named.split_once('/') {
            _ if named == ALL => !is_power(resource, None, "get"),
            Some((ALL, _)) => true,
            Some((plural, _)) => plural == resource,
            None => named == resource,
        };
        self.names_group(group) && !self.verbs.is_empty() && self.resources.iter().any(plural_of)
    }
}
