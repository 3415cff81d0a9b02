//! The options that several commands share.

use std::num::NonZeroU32;
use std::path::PathBuf;

use attache::cluster::Endpoint;
use attache::gate::HostRate;
use attache::policy::GoDuration;
use attache::quantity::Quantity;
use clap::Args;

use crate::audit;
use crate::metrics;
use crate::pod_volumes::{NamedVolume, PodVolumes};
use crate::surroundings::Surroundings;

/// Where the pod's own things are, if not where a pod has them.
#[derive(Debug, Args)]
#[command(next_help_heading = "The pod")]
pub(crate) struct Pod {
    /// A Downward API volume, as in /etc/podinfo=DIR where the grant mounts several [default: the mountPath of the
    /// grant]
    #[arg(long, value_name = "[MOUNTPATH=]DIR")]
    pub(crate) podinfo: Vec<NamedVolume>,
    /// What files of the volumes mean: a `downwardAPI.items` list of a pod spec [default: by file name]
    #[arg(long, value_name = "FILE")]
    pub(crate) podinfo_items: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: Server,
    /// How long to wait for an API server that is away at the start [default: not at all]
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    pub(crate) wait: GoDuration,
    #[command(flatten)]
    pub(crate) rate: Rate,
}

impl Pod {
    /// Returns the surroundings of the pod that this process is in, with what the flags name in place of a pod's.
    pub(crate) fn surroundings(&self) -> anyhow::Result<Surroundings<'static>> {
        let volumes = PodVolumes::of(&self.podinfo, self.podinfo_items.as_deref())?;
        let surroundings = Surroundings::of_this_pod(&self.server, volumes)?;
        Ok(surroundings.rate(self.rate.of_host()).wait(self.wait.0))
    }
}

/// Where the API server and the credentials for it are, if not where a pod has them.
#[derive(Debug, Args)]
#[command(next_help_heading = "The pod")]
pub(crate) struct Server {
    /// The service-account volume
    #[arg(long, value_name = "DIR", default_value = attache::credentials::DEFAULT_DIR, conflicts_with_all = OF_KUBECONFIG)]
    pub(crate) service_account: PathBuf,
    /// The API server [default: by `KUBERNETES_SERVICE_HOST` and `_PORT`, else <https://kubernetes.default.svc>]
    #[arg(long = "api-server", value_name = "URL", conflicts_with_all = OF_KUBECONFIG, value_parser = Endpoint::given)]
    pub(crate) url: Option<Endpoint>,
    #[command(flatten)]
    pub(crate) from: FromKubeconfig,
}

/// The API server and the credentials of a kubeconfig, in place of a pod's. Nothing is taken of one unless a flag says
/// so.
#[derive(Debug, Args)]
#[command(next_help_heading = "From a kubeconfig, in place of a pod")]
pub(crate) struct FromKubeconfig {
    /// The kubeconfig [default, with one of the flags below: the files of `KUBECONFIG`, else ~/.kube/config]
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context [default: the current one]
    #[arg(long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// The cluster, in place of the context's
    #[arg(long, value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// The user, in place of the context's
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
}

/// The arguments that replace those of a pod.
const OF_KUBECONFIG: [&str; 4] = ["kubeconfig", "context", "cluster", "user"];

/// How much the API server is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "The pod")]
pub(crate) struct Rate {
    /// The most requests a second that go to the API server from here, whoever asks [default: what the grants allow]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) requests_per_second: Option<NonZeroU32>,
    /// How many of them may come at once after a pause [default: twice as many]
    #[arg(long, value_name = "NUMBER", requires = "requests_per_second")]
    pub(crate) burst: Option<NonZeroU32>,
}

impl Rate {
    pub(crate) fn of_host(&self) -> Option<HostRate> {
        let steady = self.requests_per_second?.get();
        Some(HostRate::new(steady, self.burst.map_or(steady.saturating_mul(2), NonZeroU32::get)))
    }
}

/// Where compiled components are kept.
#[derive(Debug, Args)]
#[command(next_help_heading = "Compiled components")]
pub(crate) struct Artefacts {
    /// Keeps them in this folder [default: that of the variable `ATTACHE_CACHE`, else attache in the user's cache
    /// folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Compiles each time and keeps nothing, whatever `ATTACHE_CACHE` says
    #[arg(long, conflicts_with = "cache")]
    pub(crate) no_cache: bool,
    /// The most memory that compiling may take, as in 512Mi [default: 2Gi, and never more than the container has left]
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    pub(crate) compiler_memory: Option<u64>,
}

fn bytes(text: &str) -> Result<u64, String> {
    let size: Quantity = text.parse().map_err(|error| format!("{error}"))?;
    size.to_u64_bytes().ok_or_else(|| "it is beyond all memory".to_owned())
}

/// Where decisions are recorded and counted.
#[derive(Debug, Args)]
#[command(next_help_heading = "Audit and metrics")]
pub(crate) struct Audit {
    /// Appends one JSON line for each decision to a file, `stderr` or `none`
    #[arg(long = "audit", value_name = "WHERE", default_value = "stderr", value_parser = audit::location)]
    pub(crate) location: String,
    /// Counts decisions and limits for a scraper, at /metrics of this address (as in 127.0.0.1:9464) [default: does
    /// not]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<metrics::At>,
}
