//! The surroundings of an extension, of which a grant opens a part: variables, volumes, the API server.
//!
//! The surroundings come from this process's own pod, or from a container that `attache dev` plays. Both are complete
//! before any work starts, so a wrong value is an error before a guest is compiled.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use attache::cluster::{ApiClient, ApiClientSettings, Endpoint};
use attache::extension::RuntimeBuilder;
use attache::gate::HostRate;
use attache::podinfo::PodInfo;
use attache::policy::{CredentialsMode, Grant};
use attache::telemetry::{Audit, NoAudit};

use crate::api_server::{reach, reach_in_time};
use crate::asker::Asker;
use crate::grants::{warn_of_unused_proxy, warn_of_vain_names};
use crate::options;
use crate::pod_volumes::PodVolumes;

/// The process's environment, or the variables that a kubelet gave a container.
pub(crate) type Variables = BTreeMap<String, String>;

/// The variable that names the pod's namespace, by the convention of the Kubernetes documentation.
pub(crate) const POD_NAMESPACE: &str = "POD_NAMESPACE";

/// The advice for a user without a pod.
pub(crate) const OUTSIDE: &str = "Outside a pod, `attache dev --pod POD.yaml EXT.wasm` plays one";

const NO_VOLUME: &str = "the grant opens the service-account volume (`credentials`), and a kubeconfig has none: \
                         `attache dev --kubeconfig FILE --pod POD.yaml EXT.wasm` plays a pod that has one";

/// Returns the process's environment. A variable that is not UTF-8 cannot reach a guest, so it is left out.
pub(crate) fn variables() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The surroundings of an extension.
pub(crate) struct Surroundings<'a> {
    variables: Variables,
    asker: Asker,
    /// The API server that a flag names, instead of the API server that the variables name.
    endpoint: Option<Endpoint>,
    /// The service account's volume, if there is one.
    account: Option<PathBuf>,
    volumes: Box<dyn Volumes + 'a>,
    /// Set for a container that `attache dev` plays. Such a container has no flags for a pod.
    is_played: bool,
    audit: Arc<dyn Audit>,
    rate: Option<HostRate>,
    wait: Duration,
}

/// Downward API volumes, of which a grant mounts some.
pub(crate) trait Volumes {
    /// Returns the pod's metadata as far as a resolved grant opens it.
    fn pod_info(&self, grant: &Grant, variables: &Variables) -> anyhow::Result<PodInfo>;
}

impl Surroundings<'static> {
    /// Returns the surroundings of this process's pod. The flags replace parts of it.
    pub(crate) fn of_this_pod(server: &options::Server, volumes: PodVolumes) -> anyhow::Result<Self> {
        let variables = variables();
        let asker = Asker::of(server, &variables)?;
        let account = matches!(asker, Asker::Account(_)).then(|| server.service_account.clone());
        Ok(Self {
            variables,
            asker,
            endpoint: server.url.clone(),
            account,
            volumes: Box::new(volumes),
            is_played: false,
            audit: Arc::new(NoAudit),
            rate: None,
            wait: Duration::ZERO,
        })
    }
}

#[cfg(feature = "dev")]
impl<'a> Surroundings<'a> {
    /// Returns the surroundings of a container that `attache dev` plays, in a cluster of its own or `elsewhere`.
    pub(crate) fn of_container(
        volumes: crate::dev::ContainerVolumes<'a>,
        elsewhere: Option<&attache::cluster::KubeconfigContext>,
    ) -> Self {
        let account = volumes.service_account();
        let directory = account.clone().unwrap_or_else(|| attache::credentials::DEFAULT_DIR.into());
        let asker = attache::credentials::ServiceAccount::at(directory);
        let asker = match elsewhere {
            None => Asker::Account(asker),
            Some(context) => Asker::AccountElsewhere(asker, Box::new(context.clone())),
        };
        Self {
            variables: volumes.variables().clone(),
            asker,
            endpoint: None,
            account,
            volumes: Box::new(volumes),
            is_played: true,
            audit: Arc::new(NoAudit),
            rate: None,
            wait: Duration::ZERO,
        }
    }
}

impl Surroundings<'_> {
    /// Sets the audit of the host's own requests.
    pub(crate) fn audit(self, audit: Arc<dyn Audit>) -> Self {
        Self { audit, ..self }
    }

    /// Sets the rate of all requests together.
    pub(crate) fn rate(self, rate: Option<HostRate>) -> Self {
        Self { rate, ..self }
    }

    /// Sets the wait for an API server that is away at the start.
    pub(crate) fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Returns the variables.
    pub(crate) fn variables(&self) -> &Variables {
        &self.variables
    }

    /// Returns the default namespace: that of the variables, else that of the kubeconfig or account.
    pub(crate) fn namespace(&self) -> Option<String> {
        self.variables.get(POD_NAMESPACE).cloned().or_else(|| self.asker.namespace())
    }

    /// Resolves the `$(…)` of a grant, as a kubelet does in a container's env.
    pub(crate) fn resolve(&self, grant: Grant) -> anyhow::Result<Grant> {
        let resolved = grant.resolve(|name| match name {
            POD_NAMESPACE => self.namespace(),
            name => self.variables.get(name).cloned(),
        });
        resolved
            .map_err(|error| anyhow!("the grant's `$(…)` cannot be resolved: {error}{}", self.asker.places_of(&error)))
    }

    /// Returns the settings of a client for the API server.
    pub(crate) fn client_settings(&self) -> anyhow::Result<ApiClientSettings> {
        let audit = Arc::clone(&self.audit);
        let settings = match (&self.asker, &self.endpoint) {
            (Asker::Kubeconfig(context), _) => context.settings(audit),
            // The kubeconfig names the server and its CA; the token is the account's.
            #[cfg(feature = "dev")]
            (Asker::AccountElsewhere(account, context), _) => {
                context.settings(audit).credentials(context.credentials.clone().as_account(account))
            }
            (Asker::Account(account), Some(endpoint)) => {
                ApiClientSettings::new(endpoint.clone(), audit).service_account(account.clone())
            }
            (Asker::Account(account), None) => {
                let variable = |name: &str| self.variables.get(name).cloned();
                let found = ApiClientSettings::in_cluster(variable, account.clone(), audit);
                found.map_err(|error| {
                    if self.is_played {
                        return error.into();
                    }
                    anyhow!("{error} (--api-server URL, --service-account DIR, or --kubeconfig FILE). {OUTSIDE}")
                })?
            }
        };
        Ok(settings.rate(self.rate.clone()))
    }

    /// Connects to the API server. Waits for an absent server for the configured time.
    pub(crate) async fn connect(&self) -> anyhow::Result<ApiClient> {
        reach(self.client_settings()?, self.wait).await
    }

    /// Connects to the API server, if the grant opens anything there.
    pub(crate) async fn cluster(&self, grant: &Grant) -> anyhow::Result<Option<ApiClient>> {
        if grant.api.is_empty() { Ok(None) } else { self.connect().await.map(Some) }
    }

    /// Connects as [`Surroundings::cluster`] does, for a process that serves as long as its pod lives.
    pub(crate) async fn cluster_in_time(&self, grant: &Grant) -> anyhow::Result<Option<ApiClient>> {
        if grant.api.is_empty() { Ok(None) } else { reach_in_time(self.client_settings()?).await.map(Some) }
    }

    /// Gives the runtime everything that a resolved grant opens, except the API client of [`Surroundings::cluster`].
    pub(crate) fn furnish(&self, runtime: RuntimeBuilder, grant: &Grant) -> anyhow::Result<RuntimeBuilder> {
        warn_of_vain_names(grant, &self.variables);
        let mut runtime =
            runtime.variables(self.variables.clone()).pod_info(self.volumes.pod_info(grant, &self.variables)?);
        if grant.credentials.mode != CredentialsMode::None {
            if let Asker::Kubeconfig(_) = self.asker {
                bail!("{NO_VOLUME}");
            }
            runtime = self.account.iter().fold(runtime, RuntimeBuilder::service_account);
        }
        // A container's variables are for the guest: the host's own connections use this process's variables.
        if !self.is_played {
            warn_of_unused_proxy(grant, &self.variables);
        }
        let rate = self.rate.clone().filter(|_| !grant.api.is_empty());
        Ok(rate.into_iter().fold(runtime, RuntimeBuilder::rate))
    }
}
