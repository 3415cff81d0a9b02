//! The flags of `kubectl proxy`, and ours.

use crate::args::{Audit, Rate, Server};
use attache::ambassador::local::{ACCEPT_HOSTS, ACCEPT_PATHS, REJECT_METHODS, REJECT_PATHS};
use attache::policy::GoDuration;
use clap::Args;
use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

/// Answers plain HTTP for the API server, as kubectl proxy does, under grants
///
/// Each request is judged by a grant, metered and recorded; token and TLS stay with the proxy. Without --grant and without
/// --read-only it does not start. Discovery (what types there are) is open under every grant.
///
///   attache proxy --read-only
///   attache proxy --grant deploy.yaml
///   attache proxy --grant /ui=ui.yaml --grant /jobs=jobs.yaml
///   attache proxy --grant unix:/run/a/api.sock=a.yaml --grant unix:/run/b/api.sock=b.yaml
///
/// SIGTERM ends it: no more connections are taken, watches end, requests under way get --grace.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Proxy {
    /// What callers may do; everything else is denied. May be repeated: `PREFIX=FILE` for those that come by this path
    /// prefix, `unix:SOCKET=FILE` for those that come by a socket of its own. A prefix tells callers apart, only a socket
    /// keeps them apart
    #[arg(long = "grant", value_name = "[PLACE=]FILE")]
    pub(crate) grants: Vec<PlacedGrant>,
    /// Lets nothing but reading through, whatever the grants say; without a grant, reading of all but secrets
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false)]
    pub(crate) read_only: bool,
    /// The port to listen on; 0 picks a free one
    #[arg(long, short, default_value_t = 8001, help_heading = "As kubectl proxy")]
    pub(crate) port: u16,
    /// The address or host name to listen on
    #[arg(long, default_value = "127.0.0.1", help_heading = "As kubectl proxy")]
    pub(crate) address: String,
    /// The Unix socket to listen on, in place of a port
    #[arg(long, short, value_name = "FILE", conflicts_with = "port", help_heading = "As kubectl proxy")]
    pub(crate) unix_socket: Option<PathBuf>,
    /// The path prefix to serve the API under
    #[arg(long, value_name = "PREFIX", default_value = "/", help_heading = "As kubectl proxy")]
    pub(crate) api_prefix: String,
    /// Also serves the files of this folder
    #[arg(long, short, value_name = "DIR", help_heading = "As kubectl proxy")]
    pub(crate) www: Option<PathBuf>,
    /// The path prefix to serve them under
    #[arg(long, short = 'P', value_name = "PREFIX", default_value = "/static/", help_heading = "As kubectl proxy")]
    pub(crate) www_prefix: String,
    /// Hosts to accept: regular expressions, separated by commas, as in all lists below
    #[arg(long, value_name = "LIST", default_value = ACCEPT_HOSTS, help_heading = "As kubectl proxy")]
    pub(crate) accept_hosts: String,
    /// Paths to accept
    #[arg(long, value_name = "LIST", default_value = ACCEPT_PATHS, help_heading = "As kubectl proxy")]
    pub(crate) accept_paths: String,
    /// Paths to reject, even those that are accepted
    #[arg(long, value_name = "LIST", default_value = REJECT_PATHS, help_heading = "As kubectl proxy")]
    pub(crate) reject_paths: String,
    /// Methods to reject
    #[arg(long, value_name = "LIST", default_value = REJECT_METHODS, help_heading = "As kubectl proxy")]
    pub(crate) reject_methods: String,
    /// Rejects nothing by host, path and method. Dangerous on a port: pages in a browser can then ask in your name
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false,
        help_heading = "As kubectl proxy")]
    pub(crate) disable_filter: bool,
    /// Probes connections that are silent for this long; 0s does not
    #[arg(long, value_name = "DURATION", default_value = "0s", help_heading = "As kubectl proxy")]
    pub(crate) keepalive: GoDuration,
    /// Puts the path of the API server's URL in front of each request's own
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false,
        help_heading = "As kubectl proxy")]
    pub(crate) append_server_path: bool,
    /// The permission bits of Unix sockets
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = octal)]
    pub(crate) socket_mode: u32,
    /// How long requests under way get to finish after SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) grace: GoDuration,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) rate: Rate,
    #[command(flatten)]
    pub(crate) audit: Audit,
}

/// Where a grant holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// Under `--api-prefix`.
    Main,
    /// Under this path prefix.
    Prefix(String),
    /// On this socket.
    Socket(PathBuf),
}

/// One `--grant`.
#[derive(Clone, Debug)]
pub(crate) struct PlacedGrant {
    pub(crate) place: Place,
    pub(crate) file: PathBuf,
}

impl FromStr for PlacedGrant {
    type Err = Infallible;

    /// What has no place before a `=` is the name of a file.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('=') {
            Some((place, file)) if place.starts_with("unix:") => {
                let socket = place.strip_prefix("unix:").unwrap_or_default();
                Self { place: Place::Socket(socket.into()), file: file.into() }
            }
            Some((place, file)) if place.starts_with('/') => {
                Self { place: Place::Prefix(place.into()), file: file.into() }
            }
            _ => Self { place: Place::Main, file: text.into() },
        })
    }
}

fn octal(text: &str) -> Result<u32, String> {
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o777);
    bits.ok_or_else(|| "permission bits are written as 0600 or 0660".to_owned())
}
