//! Where the API server is, who asks it, and whether it is there.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use attache::cluster::{
    ApiClient, ApiClientSettings, ClusterError, Endpoint, KUBECONFIG_VARIABLE, Kubeconfig, KubeconfigChoice,
    KubeconfigContext, Unavailable,
};
use attache::credentials::ServiceAccount;
use attache::gate::HostRate;
use attache::policy::ResolveError;
use attache::telemetry::{Audit, chain};
use tokio::time::{Instant, sleep, timeout};

use crate::options;
use crate::settings::{OUTSIDE, POD_NAMESPACE, Variables};

/// The wait for the API server's first answer after which its silence is logged, and a proxy serves all the same.
const WAITED_FOR: Duration = Duration::from_secs(5);

/// The pause after the first time that a server was away, and the longest one: a connection that is refused costs
/// nobody anything.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The namespace of a kubeconfig's context that names none.
const DEFAULT_NAMESPACE: &str = "default";

/// Who asks the API server.
pub(crate) enum Asker {
    /// The pod's service account, or one whose volume was named.
    Account(ServiceAccount),
    /// A user of a kubeconfig, at a server of it.
    Kubeconfig(Box<KubeconfigContext>),
}

impl options::FromKubeconfig {
    /// Returns whether a flag names a kubeconfig or something in one.
    pub(crate) fn is_chosen(&self) -> bool {
        self.kubeconfig.is_some() || self.context.is_some() || self.cluster.is_some() || self.user.is_some()
    }

    /// The server and the user that the flags name. `None` without a flag: a kubeconfig is never used unasked.
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
    /// Who the arguments name, else the service account of the pod that this is.
    pub(crate) fn of(server: &options::Server, variables: &Variables) -> anyhow::Result<Self> {
        Ok(match server.from.chosen(variables)? {
            Some(context) => Self::Kubeconfig(Box::new(context)),
            None => Self::Account(ServiceAccount::at(&server.service_account)),
        })
    }

    /// The namespace of those who name none: of the variables, else as the kubeconfig or the account's volume say.
    pub(crate) fn namespace(&self, variables: &Variables) -> Option<String> {
        let own = || match self {
            Self::Account(account) => account.namespace().ok().map(|namespace| namespace.to_string()),
            Self::Kubeconfig(context) => {
                Some(context.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()))
            }
        };
        variables.get(POD_NAMESPACE).cloned().or_else(own)
    }

    /// What a client of the API server is made of.
    pub(crate) fn settings(
        &self,
        server: &options::Server,
        variables: &Variables,
        audit: &Arc<dyn Audit>,
        rate: Option<HostRate>,
    ) -> anyhow::Result<ApiClientSettings> {
        let settings = match (self, &server.url) {
            (Self::Kubeconfig(context), _) => context.settings(Arc::clone(audit)),
            (Self::Account(account), Some(url)) => {
                ApiClientSettings::new(Endpoint::given(url)?, Arc::clone(audit)).service_account(account.clone())
            }
            (Self::Account(account), None) => {
                let variable = |name: &str| variables.get(name).cloned();
                let found = ApiClientSettings::in_cluster(variable, account.clone(), Arc::clone(audit));
                found.map_err(|error| {
                    anyhow!("{error} (--api-server URL, --service-account DIR, or --kubeconfig FILE). {OUTSIDE}")
                })?
            }
        };
        Ok(settings.rate(rate))
    }
}

/// As [`reach`], for whoever serves for as long as the pod lives: a server that is away just now may come back, and is
/// only told of.
pub(crate) async fn reach_in_time(settings: ApiClientSettings) -> anyhow::Result<ApiClient> {
    let cluster = ApiClient::connect(settings)?;
    match timeout(WAITED_FOR, ask(&cluster)).await {
        Ok(Err(error)) if !may_pass(&error) => return Err(unusable(&cluster, error)),
        Ok(Err(error)) => tracing::warn!("{:#}; it is asked again with the first request", unusable(&cluster, error)),
        Err(_) => tracing::warn!("the API server at {} is silent so far", cluster.endpoint()),
        Ok(Ok(())) => {}
    }
    Ok(cluster)
}

/// Connects, and asks the API server for what every client asks first: a wrong address, CA or token shows here, and not
/// at the guest's first call. A server that is away is asked again for as long as `wait` says.
pub(crate) async fn reach(settings: ApiClientSettings, wait: Duration) -> anyhow::Result<ApiClient> {
    let cluster = ApiClient::connect(settings)?;
    let began = Instant::now();
    let mut pause = PAUSE;
    loop {
        let left = wait.saturating_sub(began.elapsed());
        let error = match aloud(&cluster, ask_within(&cluster, left, wait)).await {
            Ok(()) => return Ok(cluster),
            Err(error) => error,
        };
        if !may_pass(&error) || left.is_zero() {
            return Err(unusable(&cluster, error));
        }
        if pause == PAUSE {
            tracing::warn!(error = %chain(&error), "the API server at {} is waited for", cluster.endpoint());
        }
        // The last try is at the end of the wait.
        sleep(pause.min(wait.saturating_sub(began.elapsed()))).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
}

/// Waits for an answer, and says so where it is long in coming: a person is not left before a silent terminal.
async fn aloud<T>(cluster: &ApiClient, answer: impl Future<Output = T>) -> T {
    let mut answer = std::pin::pin!(answer);
    if let Ok(answer) = timeout(WAITED_FOR, answer.as_mut()).await {
        return answer;
    }
    tracing::warn!("the API server at {} is silent so far", cluster.endpoint());
    answer.await
}

/// The time that the last try has, at the end of a wait.
const LAST_TRY: Duration = Duration::from_millis(500);

/// Asks once; for no longer than what is `left` of a wait, if there is one.
async fn ask_within(cluster: &ApiClient, left: Duration, wait: Duration) -> Result<(), ClusterError> {
    if wait.is_zero() {
        return ask(cluster).await;
    }
    let late = |_| Unavailable::Deadline { address: cluster.endpoint().address(), step: "answer", after: wait };
    timeout(left.max(LAST_TRY), ask(cluster)).await.map_err(late)?
}

/// Asks for discovery. An account without the right to ask for it may have others.
async fn ask(cluster: &ApiClient) -> Result<(), ClusterError> {
    match cluster.discovery().await {
        Err(ClusterError::Refused(status)) if status.code != 401 => Ok(()),
        asked => asked.map(drop),
    }
}

fn unusable(cluster: &ApiClient, error: ClusterError) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot use the API server at {}", cluster.endpoint()))
}

/// Returns whether it is the network's or the server's state that stands in the way, and not what is said of them here.
pub(crate) fn may_pass(error: &ClusterError) -> bool {
    match error {
        ClusterError::Unavailable(why) => !matches!(
            why,
            Unavailable::Certificate { .. }
                | Unavailable::Unshown { .. }
                | Unavailable::Credentials(_)
                | Unavailable::Tls { .. }
        ),
        other => matches!(other, ClusterError::Discovery { .. }),
    }
}

/// The grant with its `$(…)` resolved as a container's env would be: from the variables, the namespace from who asks if
/// no variable has it.
pub(crate) fn resolved(
    grant: attache::policy::Grant,
    variables: &Variables,
    asker: &Asker,
) -> anyhow::Result<attache::policy::Grant> {
    let resolved = grant.resolve(|name| match name {
        POD_NAMESPACE => asker.namespace(variables),
        name => variables.get(name).cloned(),
    });
    resolved.map_err(|error| {
        let looked = match (&error, asker) {
            (ResolveError::Unknown { variable, .. }, Asker::Account(account)) if variable == POD_NAMESPACE => {
                let why = account
                    .namespace()
                    .err()
                    .map(|why| format!(", then in the service account's volume: {}", chain(&why)));
                format!(" (looked in the environment{})", why.unwrap_or_default())
            }
            (ResolveError::Unknown { .. }, _) => " (looked in the environment)".to_owned(),
            _ => String::new(),
        };
        anyhow!("the grant's `$(…)` cannot be resolved: {error}{looked}")
    })
}
