//! Reviews: the host asks the API server for the rights of its own service account.

use http::{HeaderValue, Method};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::client::Payload;
use super::connect::ApiClient;
use super::error::ClusterError;
use crate::policy::{AccountRules, ApiRequest, ResourcePath, Rule};

/// The API group of all reviews, and its version.
const GROUP: &str = "authorization.k8s.io";
const VERSION: &str = "v1";

/// A namespace that does not exist: rights in it are rights in every namespace.
const NO_NAMESPACE: &str = "attache-no-such-namespace";

/// A review that the server has answered, with the fields that we read of its status.
#[derive(Deserialize)]
struct Review<S> {
    status: S,
}

/// The answer of a `SelfSubjectAccessReview`.
#[derive(Deserialize)]
struct AccessStatus {
    #[serde(default)]
    allowed: bool,
}

/// The answer of a `SelfSubjectRulesReview`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RulesStatus {
    #[serde(deserialize_with = "nullable")]
    resource_rules: Vec<ReviewedRule>,
    #[serde(deserialize_with = "nullable")]
    non_resource_rules: Vec<ReviewedRule>,
    incomplete: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReviewedRule {
    #[serde(deserialize_with = "nullable")]
    verbs: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    api_groups: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    resources: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", deserialize_with = "nullable")]
    non_resource_urls: Vec<String>,
}

/// Reads a list that Go may have written as `null`.
fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

impl From<ReviewedRule> for Rule {
    fn from(rule: ReviewedRule) -> Self {
        let ReviewedRule { verbs, api_groups, resources, resource_names, non_resource_urls } = rule;
        Self::default()
            .api_groups(api_groups)
            .resources(resources)
            .verbs(verbs)
            .resource_names(resource_names)
            .non_resource_urls(non_resource_urls)
    }
}

impl ApiClient {
    /// Returns whether the API server would let this host do `verb` on a resource. A `what` without a name stands for
    /// every object.
    ///
    /// # Errors
    /// When the server does not answer the review.
    pub async fn may(&self, verb: &str, what: &ResourcePath) -> Result<bool, ClusterError> {
        let spec = json!({ "resourceAttributes": attributes(verb, what) });
        let status: AccessStatus = self.review("selfsubjectaccessreviews", "SelfSubjectAccessReview", spec).await?;
        Ok(status.allowed)
    }

    /// Returns the rights of the service account in a namespace; with `None`, in the whole cluster.
    ///
    /// A rules review is always about one namespace. For the whole cluster the host asks about a namespace that does
    /// not exist, where only the bindings of the cluster apply.
    ///
    /// # Errors
    /// When the server does not answer the review.
    pub async fn account_rules(&self, namespace: Option<&str>) -> Result<AccountRules, ClusterError> {
        let spec = json!({ "namespace": namespace.unwrap_or(NO_NAMESPACE) });
        let status: RulesStatus = self.review("selfsubjectrulesreviews", "SelfSubjectRulesReview", spec).await?;
        let rules = status.resource_rules.into_iter().chain(status.non_resource_rules).map(Rule::from).collect();
        Ok(AccountRules { rules, incomplete: status.incomplete })
    }

    /// Sends a review and returns its status.
    async fn review<S: DeserializeOwned>(&self, resource: &str, kind: &str, spec: Value) -> Result<S, ClusterError> {
        let path = ApiRequest::builder().resource(GROUP, VERSION, resource);
        let request = path.build(&Method::POST).map_err(ClusterError::Request)?;
        let permit = self.admitted(self.reviews(), request).await?;
        let review = json!({ "apiVersion": format!("{GROUP}/{VERSION}"), "kind": kind, "spec": spec });
        let payload = Payload::of(HeaderValue::from_static("application/json"), review.to_string());
        let answer = self.fetch(permit, payload).await?;
        let Review { status } = serde_json::from_slice(&answer.bytes).map_err(ClusterError::Review)?;
        Ok(status)
    }
}

/// Returns the attributes of an access review. Those left empty mean all.
fn attributes(verb: &str, what: &ResourcePath) -> Value {
    json!({
        "verb": verb,
        "group": what.group,
        "version": what.version,
        "resource": what.resource,
        "subresource": what.subresource.as_deref().unwrap_or_default(),
        "namespace": what.namespace.as_deref().unwrap_or_default(),
        "name": what.name.as_deref().unwrap_or_default(),
    })
}
