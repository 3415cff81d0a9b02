//! The identities of clients: users, groups and service accounts.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The identity of a request's client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// Returns the identity with all rights.
    pub(crate) fn admin() -> Self {
        Self::user("kubernetes-admin", ["system:masters", "system:authenticated"])
    }

    /// Returns the identity of a client without credentials.
    pub(crate) fn anonymous() -> Self {
        Self::user("system:anonymous", ["system:unauthenticated"])
    }

    /// Returns the identity of a user in groups.
    pub(crate) fn user<'a>(name: &str, groups: impl IntoIterator<Item = &'a str>) -> Self {
        let groups = groups.into_iter().map(str::to_owned).collect();
        Self { user: name.to_owned(), groups, ..Self::default() }
    }

    /// Returns the identity of a service account in its groups.
    pub(crate) fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let own = format!("system:serviceaccounts:{namespace}");
        let mut identity = Self::user(
            &format!("system:serviceaccount:{namespace}:{name}"),
            ["system:serviceaccounts", &own, "system:authenticated"],
        );
        uid.clone_into(&mut identity.uid);
        identity
    }

    /// Returns whether the identity is in the group that RBAC never judges.
    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == "system:masters")
    }

    /// Returns the namespace and name if the identity is a service account.
    pub(crate) fn as_service_account(&self) -> Option<(&str, &str)> {
        self.user.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    /// Returns `userInfo`, as in reviews.
    pub(crate) fn info(&self) -> Value {
        let mut info = Map::new();
        info.insert("username".into(), self.user.as_str().into());
        if !self.uid.is_empty() {
            info.insert("uid".into(), self.uid.as_str().into());
        }
        info.insert("groups".into(), self.groups.clone().into());
        if !self.extra.is_empty() {
            info.insert("extra".into(), json!(self.extra));
        }
        Value::Object(info)
    }
}
