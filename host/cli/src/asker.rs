//! The identity of requests to the API server: a service account, or a user of a kubeconfig.

use std::ffi::OsStr;
use std::path::Path;

use attache::cluster::{KUBECONFIG_VARIABLE, Kubeconfig, KubeconfigChoice, KubeconfigContext};
use attache::credentials::ServiceAccount;
use attache::policy::ResolveError;
use attache::telemetry::chain;

use crate::options;
use crate::surroundings::{POD_NAMESPACE, Variables};

/// The namespace of a kubeconfig's context without a namespace.
const DEFAULT_NAMESPACE: &str = "default";

/// The identity of requests to the API server.
pub(crate) enum Asker {
    /// A service account, at the API server that the variables or a flag name.
    Account(ServiceAccount),
    /// A user of a kubeconfig, at its server.
    Kubeconfig(Box<KubeconfigContext>),
    /// A service account, at the server of a kubeconfig.
    #[cfg(feature = "dev")]
    AccountElsewhere(ServiceAccount, Box<KubeconfigContext>),
}

impl options::FromKubeconfig {
    /// Returns whether a flag names a kubeconfig or something in one.
    pub(crate) fn is_chosen(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some() || self.cluster.is_some() || self.user.is_some()
    }

    /// Reads the server and the user that the flags name. Without a flag, returns `None`: a kubeconfig is used only on
    /// request.
    pub(crate) fn chosen(&self, variables: &Variables) -> anyhow::Result<Option<KubeconfigContext>> {
        if !self.is_chosen() {
            return Ok(None);
        }
        let config = if let Some(file) = &self.kubeconfig {
            Kubeconfig::read(file)?
        } else {
            let list = variables.get(KUBECONFIG_VARIABLE).map(OsStr::new);
            Kubeconfig::merged(&Kubeconfig::default_files(list, variables.get("HOME").map(Path::new)))?
        };
        let choice = KubeconfigChoice::default();
        let choice = self.context.iter().fold(choice, KubeconfigChoice::context);
        let choice = self.cluster.iter().fold(choice, KubeconfigChoice::cluster);
        let choice = self.user.iter().fold(choice, KubeconfigChoice::user);
        Ok(Some(config.choose(&choice)?))
    }
}

impl Asker {
    /// Returns the identity that the flags name, else the service account of this process's pod.
    pub(crate) fn of(server: &options::Server, variables: &Variables) -> anyhow::Result<Self> {
        Ok(match server.from.chosen(variables)? {
            Some(context) => Self::Kubeconfig(Box::new(context)),
            None => Self::Account(ServiceAccount::at(&server.service_account)),
        })
    }

    /// Returns the default namespace of requests.
    pub(crate) fn namespace(&self) -> Option<String> {
        match self {
            Self::Kubeconfig(context) => {
                Some(context.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()))
            }
            _ => self.account()?.namespace().ok().map(|namespace| namespace.to_string()),
        }
    }

    /// Returns the places that were searched for the value of a grant's variable, for an error.
    pub(crate) fn places_of(&self, error: &ResolveError) -> String {
        let ResolveError::Unknown { variable, .. } = error else { return String::new() };
        let failed = self.account().filter(|_| variable == POD_NAMESPACE).and_then(|account| account.namespace().err());
        let then = failed.map(|why| format!(", then in the service account's volume: {}", chain(&why)));
        format!(" (looked in the environment{})", then.unwrap_or_default())
    }

    fn account(&self) -> Option<&ServiceAccount> {
        match self {
            Self::Account(account) => Some(account),
            Self::Kubeconfig(_) => None,
            #[cfg(feature = "dev")]
            Self::AccountElsewhere(account, _) => Some(account),
        }
    }
}
