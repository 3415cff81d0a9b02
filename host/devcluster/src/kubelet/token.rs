//! Projected tokens: requested from the API for the pod's service account, bound to the pod, and renewed in time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::client::{Call, Client, ClientError};
use super::pod::{ContentError, Pod, text};

/// The life of a token when the source sets none, in seconds; the API server's default.
const DEFAULT_SECONDS: u64 = 3600;

/// The age at which a token is renewed regardless of its life [`pkg/kubelet/token/token_manager.go`, `maxTTL`].
const OLDEST: SignedDuration = SignedDuration::from_hours(24);

/// The divisor for the last part of a token's life, in which it is renewed [`token_manager.go`, `requiresRefresh`].
const LAST_PART: i32 = 5;

/// The request of a projected volume's source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ask {
    /// Empty for the API server itself.
    pub(super) audience: String,
    pub(super) seconds: u64,
}

impl Ask {
    pub(super) fn from_source(source: &Value) -> Self {
        let seconds = source.get("expirationSeconds").and_then(Value::as_u64).unwrap_or(DEFAULT_SECONDS);
        Self { audience: text(source, "audience").into(), seconds }
    }
}

/// Returns the requests of all of a pod's volumes.
fn asks(pod: &Pod<'_>) -> Vec<Ask> {
    let sources =
        pod.list("/spec/volumes").iter().filter_map(|volume| volume.pointer("/projected/sources")?.as_array());
    let tokens = sources.flatten().filter_map(|source| source.get("serviceAccountToken").filter(|ask| !ask.is_null()));
    tokens.map(Ask::from_source).collect()
}

struct Held {
    token: String,
    replace_at: Timestamp,
}

/// The tokens held for a pod. Their values are never printed.
#[derive(Default)]
pub(super) struct Tokens(BTreeMap<Ask, Held>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.0.keys()).finish()
    }
}

impl Tokens {
    pub(super) fn get(&self, ask: &Ask) -> Result<&str, ContentError> {
        let held = self.0.get(ask).map(|held| held.token.as_str());
        held.ok_or_else(|| ContentError::NoToken(ask.audience.clone()))
    }

    #[cfg(test)]
    pub(super) fn put(&mut self, ask: Ask, token: &str) {
        self.0.insert(ask, Held { token: token.into(), replace_at: Timestamp::MAX });
    }

    /// Returns whether every token that the pod needs is held, however old.
    pub(super) fn cover(&self, pod: &Pod<'_>) -> bool {
        asks(pod).iter().all(|ask| self.0.contains_key(ask))
    }

    /// Returns the time until the first renewal; nothing if there are no tokens.
    pub(super) fn due_in(&self, now: Timestamp) -> Option<Duration> {
        let first = self.0.values().map(|held| held.replace_at).min()?;
        Some(Duration::try_from(first.duration_since(now)).unwrap_or(Duration::ZERO))
    }

    /// Requests the tokens that are missing or due. A token stays when the server refuses its renewal, since it may
    /// still be valid.
    pub(super) async fn renew(
        &mut self,
        client: &Client,
        pod: &Pod<'_>,
        period: Option<Duration>,
    ) -> Result<(), ClientError> {
        for ask in asks(pod) {
            let now = Timestamp::now();
            if self.0.get(&ask).is_some_and(|held| held.replace_at > now) {
                continue;
            }
            let answer = client.object(&path(pod), Call::Post(&request(&ask, pod))).await?;
            let token = answer.pointer("/status/token").and_then(Value::as_str).unwrap_or_default().to_owned();
            let replace_at = replace_at(now, &answer, &ask, period);
            self.0.insert(ask, Held { token, replace_at });
        }
        Ok(())
    }
}

fn path(pod: &Pod<'_>) -> String {
    let account = Some(pod.text("/spec/serviceAccountName")).filter(|name| !name.is_empty()).unwrap_or("default");
    format!("/api/v1/namespaces/{}/serviceaccounts/{account}/token", pod.text("/metadata/namespace"))
}

/// Returns a `TokenRequest`, bound to the pod, so that the pod's deletion revokes the token.
fn request(ask: &Ask, pod: &Pod<'_>) -> Value {
    let audiences: Vec<_> = Some(&ask.audience).filter(|audience| !audience.is_empty()).into_iter().collect();
    let (name, uid) = (pod.text("/metadata/name"), pod.text("/metadata/uid"));
    json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {
            "audiences": audiences,
            "expirationSeconds": ask.seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid},
        },
    })
}

/// Returns the time of renewal: after the period, if one is set, else in the last fifth of the life but within a day.
fn replace_at(now: Timestamp, answer: &Value, ask: &Ask, period: Option<Duration>) -> Timestamp {
    let after = |wait: SignedDuration| now.checked_add(wait).unwrap_or(Timestamp::MAX);
    if let Some(period) = period {
        return after(SignedDuration::try_from(period).unwrap_or(OLDEST));
    }
    let expires = answer.pointer("/status/expirationTimestamp").and_then(Value::as_str);
    let asked = SignedDuration::from_secs(i64::try_from(ask.seconds).unwrap_or(i64::MAX));
    let life = expires.and_then(|time| time.parse::<Timestamp>().ok()).map_or(asked, |time| time.duration_since(now));
    let wait = life.saturating_sub(life.checked_div(LAST_PART).unwrap_or_default());
    after(wait.min(OLDEST).max(SignedDuration::ZERO))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use jiff::{SignedDuration, Timestamp};
    use serde_json::{Value, json};

    use super::{Ask, Tokens, asks, path, replace_at, request};
    use crate::kubelet::pod::{Allocatable, Pod};

    fn object() -> Value {
        json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {"serviceAccountName": "sa", "volumes": [
            {"name": "v", "emptyDir": {}},
            {"name": "w", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3607}}, {"configMap": {}}]}},
            {"name": "x", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "vault"}}]}},
        ]}})
    }

    #[test]
    fn a_token_is_asked_for_the_pods_account_and_bound_to_the_pod() {
        let (object, node) = (object(), Allocatable::default());
        let pod = Pod { object: &object, node: &node };
        let asks = asks(&pod);
        assert_eq!(
            asks,
            [Ask { audience: String::new(), seconds: 3607 }, Ask { audience: "vault".into(), seconds: 3600 }]
        );
        assert_eq!(path(&pod), "/api/v1/namespaces/n/serviceaccounts/sa/token");
        let spec = request(&asks[1], &pod)["spec"].clone();
        assert_eq!(
            spec,
            json!({"audiences": ["vault"], "expirationSeconds": 3600,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}})
        );
        assert_eq!(request(&asks[0], &pod)["spec"]["audiences"], json!([]));
    }

    #[test]
    fn a_token_is_replaced_in_the_last_fifth_of_its_life_or_after_a_day() {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let ask = Ask { audience: String::new(), seconds: 1000 };
        let wait = |answer: Value, period| replace_at(now, &answer, &ask, period).duration_since(now);
        let until = |time: &str| json!({"status": {"expirationTimestamp": time}});
        assert_eq!(wait(json!({}), None), SignedDuration::from_secs(800));
        assert_eq!(wait(until("2026-03-01T13:00:00Z"), None), SignedDuration::from_secs(2880));
        assert_eq!(wait(until("2026-04-01T12:00:00Z"), None), SignedDuration::from_hours(24));
        assert_eq!(wait(until("2026-02-01T12:00:00Z"), None), SignedDuration::ZERO);
        assert_eq!(wait(json!({}), Some(Duration::from_secs(2))), SignedDuration::from_secs(2));
    }

    #[test]
    fn the_first_to_fall_due_sets_the_time() {
        assert_eq!(Tokens::default().due_in(Timestamp::now()), None);
        let mut tokens = Tokens::default();
        tokens.put(Ask { audience: "a".into(), seconds: 600 }, "secret-token");
        assert!(tokens.due_in(Timestamp::now()).unwrap() > Duration::from_secs(3600));
        assert!(!format!("{tokens:?}").contains("secret-token"));
        assert_eq!(tokens.get(&Ask { audience: "a".into(), seconds: 600 }), Ok("secret-token"));
        assert!(tokens.get(&Ask { audience: "b".into(), seconds: 600 }).is_err());
    }
}
