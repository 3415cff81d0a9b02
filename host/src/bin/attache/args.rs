//! The command line, as clap reads it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Runs untrusted WebAssembly extensions inside Kubernetes pods.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What is logged to stderr, as in `info` or `attache=debug,warn`
    #[arg(long, global = true, env = "ATTACHE_LOG", default_value = "warn", value_name = "FILTER")]
    pub(crate) log: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Run),
    Inspect(Inspect),
}

/// Runs a command component once, in the pod that this is
///
/// Without a grant the guest has its arguments, stdout and stderr, and nothing else.
///
/// Exit code: the guest's own; 124 at a deadline, 125 when the host refuses, 126 when the guest traps.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The component
    pub(crate) component: PathBuf,
    /// What the component may do; everything else is denied
    #[arg(long, value_name = "FILE")]
    pub(crate) grant: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) pod: Pod,
    #[command(flatten)]
    pub(crate) artefacts: Artefacts,
    #[command(flatten)]
    pub(crate) audit: Audit,
    /// Lets the guest read this process's stdin
    #[arg(long)]
    pub(crate) stdin: bool,
    /// Arguments for the guest
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) arguments: Vec<String>,
}

/// Where the pod's own things are, if not where a pod has them.
#[derive(Debug, Args)]
#[command(next_help_heading = "The pod")]
pub(crate) struct Pod {
    /// The Downward API volume [default: the mountPath of the grant]
    #[arg(long, value_name = "DIR")]
    pub(crate) podinfo: Option<PathBuf>,
    /// What the volume's files mean: a `downwardAPI.items` list of a pod spec [default: by file name]
    #[arg(long, value_name = "FILE")]
    pub(crate) podinfo_items: Option<PathBuf>,
    /// The service-account volume
    #[arg(long, value_name = "DIR", default_value = attache::credentials::DEFAULT_DIR)]
    pub(crate) service_account: PathBuf,
    /// The API server [default: by `KUBERNETES_SERVICE_HOST` and `_PORT`, else <https://kubernetes.default.svc>]
    #[arg(long, value_name = "URL")]
    pub(crate) api_server: Option<String>,
}

/// Where compiled components are kept.
#[derive(Debug, Args)]
#[command(next_help_heading = "Compiled components")]
pub(crate) struct Artefacts {
    /// Keeps them in this folder [default: attache in the user's cache folder]
    #[arg(long, env = "ATTACHE_CACHE", value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Compiles each time and keeps nothing
    #[arg(long, conflicts_with = "cache")]
    pub(crate) no_cache: bool,
}

/// Where decisions are recorded.
#[derive(Debug, Args)]
#[command(next_help_heading = "Audit")]
pub(crate) struct Audit {
    /// Appends one JSON line for each decision to a file, `stderr` or `none`
    #[arg(long = "audit", value_name = "WHERE", default_value = "stderr")]
    pub(crate) place: String,
}

/// Says what a component imports and exports, and what its grant lacks
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The component
    pub(crate) component: PathBuf,
    /// The grant to hold it against [default: one that opens nothing]
    #[arg(long, value_name = "FILE")]
    pub(crate) grant: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) artefacts: Artefacts,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// How a table is printed.
#[derive(Debug, Args)]
pub(crate) struct Output {
    /// How to print
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}
