//! The command line, as clap reads it.

use std::path::PathBuf;

use attache::policy::{Account, GoDuration};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::audit;
use crate::log;
#[cfg(feature = "dev")]
use crate::options::FromKubeconfig;
use crate::options::{Artefacts, Audit, Pod, Server};
use crate::proxy::args::Proxy;

/// Runs untrusted WebAssembly extensions inside Kubernetes pods.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Filter of the log on stderr, as in `info` or `attache=debug,warn`
    ///
    /// If the log or the audit is on stderr, each line of the guest's begins with its name. With `off`, and the audit
    /// elsewhere, the guest's output is passed on unchanged.
    #[arg(long, global = true, env = "ATTACHE_LOG", default_value = "warn", value_name = "FILTER", value_parser = log::filter)]
    pub(crate) log: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    #[cfg(feature = "dev")]
    Dev(Dev),
    Inspect(Inspect),
    Compile(Compile),
    Serve(Serve),
    Check(Check),
    Proxy(Proxy),
}

/// Keeps extensions: runs, calls and replaces them as their manifests say
///
/// A PATH is a manifest (`kind: Extension`), or a folder of manifests such as the volume of a ConfigMap. A change of a
/// manifest, its grant or its component takes effect at once. After a wrong change the earlier version stays. SIGHUP
/// tries again to load everything that failed.
///
/// Exit code: 0 after SIGTERM or SIGINT if all calls have ended within --grace, else 128 and the signal's number.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Manifests, and folders of manifests
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Answers /livez, /readyz, /metrics, /extensions and a page for people here, as in 127.0.0.1:9465 or
    /// unix:/run/attache.sock [default: nowhere]
    #[arg(long, value_name = "ADDRESS:PORT|unix:PATH")]
    pub(crate) admin: Option<String>,
    /// Time for calls in progress to end once the host is to stop
    #[arg(long, value_name = "DURATION", default_value = "25s")]
    pub(crate) grace: GoDuration,
    /// Time for a command to end after a request to stop
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) stop_grace: GoDuration,
    #[command(flatten)]
    pub(crate) pod: Pod,
    #[command(flatten)]
    pub(crate) artefacts: Artefacts,
    /// Appends one JSON line for each decision to a file, `stderr` or `none`
    #[arg(long, value_name = "WHERE", default_value = "stderr", help_heading = "Audit", value_parser = audit::location)]
    pub(crate) audit: String,
}

/// Reports everything that `serve` would refuse, without running anything
///
/// Exit code: 125 when something would be refused.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Manifests, and folders of manifests
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Prints the RBAC objects that all extensions together need, for this service account
    #[arg(long, value_name = "NAMESPACE:NAME")]
    pub(crate) rbac: Option<Account>,
    #[command(flatten)]
    pub(crate) artefacts: Artefacts,
}

/// Runs a command component once, in the pod that this is
///
/// Without a grant the guest has its arguments, stdout and stderr, and nothing else.
///
/// Exit code: the guest's own; 124 at a deadline, 125 when the host refuses, 126 when the guest traps; 75 when the API
/// server is away at the start, which is worth a restart.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The component
    pub(crate) component: PathBuf,
    /// Rights of the component; everything else is denied
    #[arg(long, value_name = "FILE")]
    pub(crate) grant: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) pod: Pod,
    #[command(flatten)]
    pub(crate) artefacts: Artefacts,
    #[command(flatten)]
    pub(crate) audit: Audit,
    /// Writes the grant that this run needed: its rules are those that the run used, its comments those that were
    /// denied. Opens nothing
    #[arg(long, value_name = "FILE", requires = "grant")]
    pub(crate) record: Option<PathBuf>,
    /// Lets the guest read this process's stdin
    #[arg(long)]
    pub(crate) stdin: bool,
    /// Arguments for the guest
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<String>,
}

/// Starts an API server, plays the kubelet for a pod, and runs the extension as one of its containers
///
/// The extension takes the place of a container of the pod: that container's env and volumeMounts become the sandbox's,
/// its image and command are ignored. Without an extension the API server and the volumes stay up until Ctrl-C.
///
/// With --kubeconfig or --context the pod is played in the cluster of a kubeconfig. If the pod does not exist there, it
/// is created for the run and deleted at the end, and no node runs its containers.
///
/// Exit codes are those of `attache run`; a manifest that the API server refuses is 125.
#[cfg(feature = "dev")]
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The component
    #[arg(requires = "pod")]
    pub(crate) component: Option<PathBuf>,
    /// The manifest of the pod to play; other objects in it are loaded before it
    #[arg(long, value_name = "FILE")]
    pub(crate) pod: Option<PathBuf>,
    /// More manifests to load first: service accounts, roles, config maps, custom resource definitions; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) manifests: Vec<PathBuf>,
    /// The container to replace [default: the first]
    #[arg(long, value_name = "NAME", requires = "pod")]
    pub(crate) container: Option<String>,
    /// Rights of the component [default: a development grant, which is printed]
    #[arg(long, value_name = "FILE", requires = "component")]
    pub(crate) grant: Option<PathBuf>,
    /// Writes the grant that this run needed: its rules are those that the run used, its comments those that were
    /// denied. Opens nothing
    #[arg(long, value_name = "FILE", requires = "component")]
    pub(crate) record: Option<PathBuf>,
    /// Writes a kubeconfig for the API server's administrator here, for this user alone [default: in a folder of this
    /// run]
    #[arg(long, value_name = "FILE")]
    pub(crate) write_kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) from: FromKubeconfig,
    #[command(flatten)]
    pub(crate) artefacts: Artefacts,
    /// Appends one JSON line for each decision to a file, `stderr` or `none`
    #[arg(long, value_name = "WHERE", default_value = "none", help_heading = "Audit", value_parser = audit::location)]
    pub(crate) audit: String,
    /// Arguments for the guest
    #[arg(last = true, value_name = "ARGS", requires = "component")]
    pub(crate) arguments: Vec<String>,
}

/// Shows imports and exports of a component, the rights that its grant lacks, and the rights that the grant needs
///
/// Exit code: 125 when the grant does not open everything that the component imports, or goes beyond its service
/// account.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The component
    #[arg(required_unless_present_any = ["rbac", "access"])]
    pub(crate) component: Option<PathBuf>,
    /// The grant to compare it with [default: a grant that opens nothing]
    #[arg(long, value_name = "FILE")]
    pub(crate) grant: Option<PathBuf>,
    /// Prints instead the smallest grant that follows from the imports; comments in it name the rights that imports do
    /// not show
    #[arg(long, requires = "component", conflicts_with_all = ["grant", "rbac", "access"])]
    pub(crate) draft: bool,
    /// Prints instead a manifest of the roles and bindings by which this service account gets the rights of the grant
    #[arg(long, value_name = "NAMESPACE:NAME", requires = "grant", conflicts_with_all = ["component", "access"])]
    pub(crate) rbac: Option<Account>,
    /// Asks the API server for the rights of the pod's service account, and shows where the grant exceeds them
    #[arg(long, requires = "grant")]
    pub(crate) access: bool,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) artefacts: Artefacts,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Compiles a component ahead of time, for machines with less memory or time
///
/// An artefact (`-o`) is machine code, and is loaded only under a grant that pins it: the line for the grant is
/// printed. An artefact fits this version of attache, and processors with the features of this one. Without `-o` the
/// component is compiled into the folder of compiled components: a folder in an image that root owns serves other
/// users.
#[derive(Debug, Args)]
pub(crate) struct Compile {
    /// The component
    pub(crate) component: PathBuf,
    /// Writes the artefact here
    #[arg(long, short = 'o', value_name = "FILE", conflicts_with = "no_cache")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) artefacts: Artefacts,
}

/// The format of a table.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Output format
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}
