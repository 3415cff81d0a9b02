//! The identity of a request: bearer tokens, client certificates, impersonation.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap};
use jiff::Timestamp;

use crate::access::rbac::Act;
use crate::access::token::{AUDIENCE, Bound, Claims, Reference, Signer};
use crate::model::identity::Identity;
use crate::model::object::{self, Object};
use crate::model::status::ApiError;
use crate::server::api::Api;
use crate::wire::request::ResourcePath;

/// The authenticator of all requests.
pub(crate) struct Authentication {
    signer: RwLock<Arc<Signer>>,
    /// Tokens that are not those of service accounts.
    fixed: HashMap<String, Arc<Identity>>,
}

/// The properties of a new token.
pub(crate) struct Order {
    pub(crate) audiences: Vec<String>,
    pub(crate) lifetime: Duration,
    /// The pod, node or secret whose deletion revokes the token.
    pub(crate) bound: Option<(String, Reference)>,
    /// The node of the pod, for the claims.
    pub(crate) node: Option<Reference>,
}

impl Authentication {
    /// Makes an authenticator for the `fixed` tokens and for the tokens that it will issue.
    pub(crate) fn new(fixed: HashMap<String, Arc<Identity>>) -> Result<Self, rcgen::Error> {
        Ok(Self { signer: RwLock::new(Arc::new(Signer::new()?)), fixed })
    }

    /// Returns the signer of tokens.
    pub(crate) fn signer(&self) -> Arc<Signer> {
        Arc::clone(&self.signer.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes a new key, which revokes all issued tokens.
    pub(crate) fn rotate(&self) -> Result<(), rcgen::Error> {
        let fresh = Arc::new(Signer::new()?);
        *self.signer.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Issues a token for a service account.
    pub(crate) fn issue(&self, account: &Object, order: Order) -> Result<(String, Timestamp), ApiError> {
        let now = Timestamp::now();
        let exp = now.as_second().saturating_add(i64::try_from(order.lifetime.as_secs()).unwrap_or(i64::MAX / 2));
        let (namespace, name) = (account.namespace.to_string(), account.name.to_string());
        let of_kind = |kind: &str| order.bound.iter().find(|(found, _)| found == kind).map(|(_, to)| to.clone());
        let claims = Claims {
            aud: if order.audiences.is_empty() { vec![AUDIENCE.to_owned()] } else { order.audiences },
            exp,
            iat: now.as_second(),
            iss: AUDIENCE.to_owned(),
            jti: crate::model::fresh::new_uid(),
            nbf: now.as_second(),
            sub: format!("system:serviceaccount:{namespace}:{name}"),
            bound: Bound {
                namespace,
                node: order.node.or_else(|| of_kind("Node")),
                pod: of_kind("Pod"),
                secret: of_kind("Secret"),
                serviceaccount: Reference { name, uid: account.uid.to_string() },
            },
        };
        let token = self.signer().sign(&claims).map_err(|error| ApiError::internal(error.to_string()))?;
        Ok((token, Timestamp::from_second(exp).unwrap_or(now)))
    }
}

impl Api {
    /// Returns the identity of a request by its headers and the connection's `certificate`.
    pub(crate) fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: Option<Arc<Identity>>,
    ) -> Result<Arc<Identity>, ApiError> {
        let client = if let Some(identity) = certificate {
            identity
        } else if let Some(value) = headers.get(AUTHORIZATION) {
            let text = value.to_str().map_err(|_| ApiError::unauthorized())?;
            let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err(ApiError::unauthorized());
            }
            self.bearer(token.trim(), AUDIENCE).ok_or_else(ApiError::unauthorized)?
        } else {
            Arc::new(Identity::anonymous())
        };
        self.impersonate(headers, client)
    }

    /// Returns the identity of a valid token for `audience`.
    pub(crate) fn bearer(&self, token: &str, audience: &str) -> Option<Arc<Identity>> {
        if let Some(identity) = self.authentication.fixed.get(token) {
            return Some(Arc::clone(identity));
        }
        let claims = self.authentication.signer().verify(token)?;
        let alive = claims.exp > Timestamp::now().as_second();
        let meant = claims.aud.iter().any(|one| one == audience);
        if alive && meant && self.still_bound(&claims.bound) { Some(Arc::new(identity(&claims))) } else { None }
    }

    /// Returns whether all objects that a token is bound to still exist.
    fn still_bound(&self, bound: &Bound) -> bool {
        let there = |plural: &str, namespace: &str, to: &Reference| {
            let Some(of) = self.catalogue.find("", "v1", plural) else { return false };
            let found = self.store.collection(&of).get(&object::key(namespace, &to.name));
            found.is_some_and(|object| *object.uid == *to.uid)
        };
        let namespace = &bound.namespace;
        there("serviceaccounts", namespace, &bound.serviceaccount)
            && bound.pod.as_ref().is_none_or(|pod| there("pods", namespace, pod))
            && bound.secret.as_ref().is_none_or(|secret| there("secrets", namespace, secret))
    }

    /// Returns the identity that a request asks to impersonate, or `client`.
    fn impersonate(&self, headers: &HeaderMap, client: Arc<Identity>) -> Result<Arc<Identity>, ApiError> {
        let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(user) = value("impersonate-user") else {
            return if headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
                Err(ApiError::internal("requested impersonation without impersonating a user"))
            } else {
                Ok(client)
            };
        };
        let groups: Vec<&str> =
            headers.get_all("impersonate-group").iter().filter_map(|value| value.to_str().ok()).collect();
        self.may_impersonate(&client, "users", user)?;
        for group in &groups {
            self.may_impersonate(&client, "groups", group)?;
        }
        let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        let mut identity = match account {
            Some((namespace, name)) if groups.is_empty() => Identity::service_account(namespace, name, ""),
            _ => Identity::user(user, groups),
        };
        if !identity.groups.iter().any(|group| group == "system:authenticated") {
            identity.groups.push("system:authenticated".to_owned());
        }
        Ok(Arc::new(identity))
    }

    fn may_impersonate(&self, client: &Identity, plural: &str, name: &str) -> Result<(), ApiError> {
        let (plural, namespace, name) =
            match name.strip_prefix("system:serviceaccount:").and_then(|s| s.split_once(':')) {
                Some((namespace, account)) if plural == "users" => ("serviceaccounts", namespace, account),
                _ => (plural, "", name),
            };
        let at = ResourcePath {
            plural: plural.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..ResourcePath::default()
        };
        let act = Act::Resource { verb: "impersonate", at: &at };
        self.allows(client, &act).map(|_| ()).ok_or_else(|| act.forbidden(client))
    }
}

fn identity(claims: &Claims) -> Identity {
    let bound = &claims.bound;
    let mut identity =
        Identity::service_account(&bound.namespace, &bound.serviceaccount.name, &bound.serviceaccount.uid);
    let mut tell = |name: &str, value: &str| {
        identity.extra.insert(format!("authentication.kubernetes.io/{name}"), vec![value.to_owned()]);
    };
    tell("credential-id", &format!("JTI={}", claims.jti));
    for (kind, to) in [("pod", &bound.pod), ("node", &bound.node)] {
        if let Some(to) = to {
            tell(&format!("{kind}-name"), &to.name);
            tell(&format!("{kind}-uid"), &to.uid);
        }
    }
    identity
}
