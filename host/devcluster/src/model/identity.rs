//! Who asks: users, groups and service accounts.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Who a request is from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: String,
    pub(crate) uid: String,
    pub(crate) groups: Vec<String>,
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// Whoever may do everything.
    pub(crate) fn admin() -> Self {
        Self::user("kubernetes-admin", ["system:masters", "system:authenticated"])
    }

    /// Whoever shows no credentials.
    pub(crate) fn anonymous() -> Self {
        Self::user("system:anonymous", ["system:unauthenticated"])
    }

    /// A user in groups.
    pub(crate) fn user<'a>(name: &str, groups: impl IntoIterator<Item = &'a str>) -> Self {
        let groups = groups.into_iter().map(str::to_owned).collect();
        Self { user: name.to_owned(), groups, ..Self::default() }
    }

    /// A service account in its groups.
    pub(crate) fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let own = format!("system:serviceaccounts:{namespace}");
        let mut identity = Self::user(
            &format!("system:serviceaccount:{namespace}:{name}"),
            ["system:serviceaccounts", &own, "system:authenticated"],
        );
        uid.clone_into(&mut identity.uid);
        identity
    }

    /// Whoever is in this group is never judged.
    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == "system:masters")
    }

    /// The namespace and name of the service account that it is, if it is one.
    pub(crate) fn as_service_account(&self) -> Option<(&str, &str)> {
        self.user.strip_prefix("system:serviceaccount:")?.split_once(':')
    }

    /// `userInfo`, as reviews tell it.
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
