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

/// The locations of the pod's own volumes and server, if they are not the usual ones.
#[derive(Debug, Args)]
#[command(next_help_heading = "The pod")]
pub(crate) struct Pod {
    /// A Downward API volume, as in /etc/podinfo=DIR where the grant mounts several [default: the mountPath of the
    /// grant]
    #[arg(long, value_name = "[MOUNTPATH=]DIR")]
    pub(crate) podinfo: Vec<NamedVolume>,
    /// Meanings of the files of the volumes: a `downwardAPI.items` list of a pod spec [default: by file name]
    #[arg(long, value_name = "FILE")]
    pub(crate) podinfo_items: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) server: Server,
    /// Time to wait for an API server that is away at the start [default: not at all]
    #[arg(long, value_name = "DURATION", default_value = "0s", hide_default_value = true)]
    pub(crate) wait: GoDuration,
    #[command(flatten)]
    pub(crate) rate: Rate,
}

impl Pod {
    /// Returns the surroundings of this process's pod. The flags replace parts of it.
    pub(crate) fn surroundings(&self) -> anyhow::Result<Surroundings<'static>> {
        let volumes = PodVolumes::of(&self.podinfo, self.podinfo_items.as_deref())?;
        let surroundings = Surroundings::of_this_pod(&self.server, volumes)?;
        Ok(surroundings.rate(self.rate.of_host()).wait(self.wait.0))
    }
}

/// The API server and its credentials, if they are not the usual ones.
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

/// The API server and the credentials of a kubeconfig, instead of a pod's. Nothing of a kubeconfig is used without a
/// flag.
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

/// The rate of requests to the API server.
#[derive(Debug, Args)]
#[command(next_help_heading = "The pod")]
pub(crate) struct Rate {
    /// The most requests a second from here to the API server, by all extensions and callers [default: the limits of
    /// the grants]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) requests_per_second: Option<NonZeroU32>,
    /// Burst of requests after a pause [default: twice as many]
    #[arg(long, value_name = "NUMBER", requires = "requests_per_second")]
    pub(crate) burst: Option<NonZeroU32>,
}

impl Rate {
    pub(crate) fn of_host(&self) -> Option<HostRate> {
        let steady = self.requests_per_second?.get();
        Some(HostRate::new(steady, self.burst.map_or(steady.saturating_mul(2), NonZeroU32::get)))
    }
}

/// The folder of compiled components.
#[derive(Debug, Args)]
#[command(next_help_heading = "Compiled components")]
pub(crate) struct Artefacts {
    /// Keeps compiled components in this folder [default: that of the variable `ATTACHE_CACHE`, else attache in the
    /// user's cache folder]
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

/// The outputs for decisions and their counters.
#[derive(Debug, Args)]
#[command(next_help_heading = "Audit and metrics")]
pub(crate) struct Audit {
    /// Appends one JSON line for each decision to a file, `stderr` or `none`
    #[arg(long = "audit", value_name = "WHERE", default_value = "stderr", value_parser = audit::location)]
    pub(crate) location: String,
    /// Counts decisions and limits for a scraper, at /metrics of this address (as in 127.0.0.1:9464) [default: no
    /// counters]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) metrics: Option<metrics::At>,
}
