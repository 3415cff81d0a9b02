//! What the host's own service account may do, as the API server tells it.

use http::{HeaderValue, Method};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::client::Payload;
use super::connect::ApiClient;
use super::error::ClusterError;
use crate::policy::{AccountRules, ApiRequest, Rule};

/// A namespace that nobody has: what an account may do in it, it may do in all.
const NO_NAMESPACE: &str = "attache-no-such-namespace";

/// What we read of a `SelfSubjectRulesReview`.
#[derive(Deserialize)]
struct Review {
    status: ReviewStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ReviewStatus {
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

/// A list that Go may have written as `null`.
fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

impl From<ReviewedRule> for Rule {
    fn from(rule: ReviewedRule) -> Self {
        let ReviewedRule { verbs, api_groups, resources, resource_names, non_resource_urls } = rule;
        Self { api_groups, resources, verbs, namespaces: Vec::new(), resource_names, non_resource_urls }
    }
}

impl ApiClient {
    /// What the service account may do in a namespace; with `None`, in the whole cluster.
    ///
    /// The review knows namespaces only, so for the whole cluster it is asked about one that does not exist: there the
    /// bindings of the cluster hold and no others.
    ///
    /// # Errors
    /// When the server does not answer the question.
    pub async fn account_rules(&self, namespace: Option<&str>) -> Result<AccountRules, ClusterError> {
        let path = ApiRequest::builder().resource("authorization.k8s.io", "v1", "selfsubjectrulesreviews");
        let request = path.build(&Method::POST).map_err(ClusterError::Request)?;
        let permit = self.admitted(self.reviews(), request).await?;
        let question = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": { "namespace": namespace.unwrap_or(NO_NAMESPACE) },
        });
        let payload = Payload::of(HeaderValue::from_static("application/json"), question.to_string().into_bytes());
        let answer = self.fetch(permit, payload).await?;
        let Review { status } = serde_json::from_slice(&answer.bytes).map_err(ClusterError::Review)?;
        let rules = status.resource_rules.into_iter().chain(status.non_resource_rules).map(Rule::from).collect();
        Ok(AccountRules { rules, incomplete: status.incomplete })
    }
}
