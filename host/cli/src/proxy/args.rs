//! The flags of `kubectl proxy`, and ours.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use attache::ambassador::local::{ACCEPT_HOSTS, ACCEPT_PATHS, REJECT_METHODS, REJECT_PATHS};
use attache::policy::{GoDuration, PathPrefix};
use clap::{ArgAction, Args};

use crate::exit::WrongCommandLine;
use crate::options::{Audit, Rate, Server};

/// The port on which `kubectl proxy` listens.
const PORT: u16 = 8001;

/// Answers plain HTTP for the API server, as kubectl proxy does, under grants
///
/// Each request is judged by a grant, metered and recorded; token and TLS stay with the proxy. Without --grant and
/// --read-only it does not start. Discovery (the list of types) is open under every grant.
///
///   attache proxy --read-only
///   attache proxy --grant deploy.yaml
///   attache proxy --grant /ui=ui.yaml --grant /jobs=jobs.yaml
///   attache proxy --grant unix:/run/a/api.sock=a.yaml --grant unix:/run/b/api.sock=b.yaml
///
/// SIGTERM ends it: no more connections are accepted, watches and sessions end, requests in progress get --grace.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Proxy {
    /// Rights of callers; everything else is denied. May be repeated: `PREFIX=FILE` for callers that use this path
    /// prefix, `unix:SOCKET=FILE` for callers on a socket of their own. A prefix distinguishes callers, only a socket
    /// separates them
    #[arg(long = "grant", value_name = "FILE|/PREFIX=FILE|unix:SOCKET=FILE")]
    pub(crate) grants: Vec<PlacedGrant>,
    /// Allows only reading, whatever the grants allow; without a grant, reading of all but secrets
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
        value_parser = boolean, action = ArgAction::Set)]
    pub(crate) read_only: bool,
    /// The port to listen on; 0 picks a free one
    #[arg(long, short, overrides_with = "port", default_value_t = PORT, help_heading = "As kubectl proxy")]
    pub(crate) port: u16,
    /// The address or host name to listen on
    #[arg(long, overrides_with = "address", default_value = "127.0.0.1", help_heading = "As kubectl proxy")]
    pub(crate) address: String,
    /// The Unix socket to listen on, in place of a port
    #[arg(long, short, overrides_with = "unix_socket", value_name = "FILE", default_value = "", hide_default_value = true,
        value_parser = named, help_heading = "As kubectl proxy")]
    unix_socket: Named,
    /// The path prefix to serve the API under
    #[arg(
        long,
        overrides_with = "api_prefix",
        value_name = "PREFIX",
        default_value = "/",
        value_parser = prefix,
        help_heading = "As kubectl proxy"
    )]
    pub(crate) api_prefix: String,
    /// Also serves the files of this folder
    #[arg(long, short, overrides_with = "www", value_name = "DIR", default_value = "", hide_default_value = true, value_parser = named,
        help_heading = "As kubectl proxy")]
    www: Named,
    /// The path prefix to serve these files under
    #[arg(
        long,
        short = 'P',
        overrides_with = "www_prefix",
        value_name = "PREFIX",
        default_value = "/static/",
        value_parser = prefix,
        help_heading = "As kubectl proxy"
    )]
    pub(crate) www_prefix: String,
    /// Hosts to accept: regular expressions, separated by commas, as in all lists below. An empty list accepts nothing
    #[arg(long, overrides_with = "accept_hosts", value_name = "LIST", default_value = ACCEPT_HOSTS, help_heading = "As kubectl proxy")]
    pub(crate) accept_hosts: String,
    /// Paths to accept
    #[arg(long, overrides_with = "accept_paths", value_name = "LIST", default_value = ACCEPT_PATHS, help_heading = "As kubectl proxy")]
    pub(crate) accept_paths: String,
    /// Paths to reject, even those that are accepted. An empty list rejects nothing; exec, attach and port-forward then
    /// work under a grant that names them
    #[arg(long, overrides_with = "reject_paths", value_name = "LIST", default_value = REJECT_PATHS, help_heading = "As kubectl proxy")]
    pub(crate) reject_paths: String,
    /// Methods to reject
    #[arg(long, overrides_with = "reject_methods", value_name = "LIST", default_value = REJECT_METHODS, help_heading = "As kubectl proxy")]
    pub(crate) reject_methods: String,
    /// Rejects nothing by host, path and method. Dangerous on a port: pages in a browser can then ask in your name
    #[arg(long, overrides_with = "disable_filter", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
        value_parser = boolean, action = ArgAction::Set,
        help_heading = "As kubectl proxy")]
    pub(crate) disable_filter: bool,
    /// Probes connections that are silent for this long; 0s does not
    #[arg(
        long,
        overrides_with = "keepalive",
        value_name = "DURATION",
        default_value = "0s",
        help_heading = "As kubectl proxy"
    )]
    pub(crate) keepalive: GoDuration,
    /// Puts the path of the API server's URL in front of each request's own
    #[arg(long, overrides_with = "append_server_path", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false",
        value_parser = boolean, action = ArgAction::Set,
        help_heading = "As kubectl proxy")]
    pub(crate) append_server_path: bool,
    /// The permission bits of Unix sockets
    #[arg(long, value_name = "OCTAL", default_value = "0600", value_parser = octal)]
    pub(crate) socket_mode: u32,
    /// Time for requests in progress to finish after SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) grace: GoDuration,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) rate: Rate,
    #[command(flatten)]
    pub(crate) audit: Audit,
}

impl Proxy {
    /// Returns the socket to listen on in place of a port.
    ///
    /// # Errors
    /// When a port is named too. The default port does not count, as with `kubectl proxy`.
    pub(crate) fn unix_socket(&self) -> Result<Option<&Path>, WrongCommandLine> {
        if self.unix_socket.0.is_some() && self.port != PORT {
            return Err(WrongCommandLine::new(format!(
                "--unix-socket and --port {}: say where to listen once",
                self.port
            )));
        }
        Ok(self.unix_socket.0.as_deref())
    }

    /// Returns the folder whose files are served.
    pub(crate) fn www(&self) -> Option<&Path> {
        self.www.0.as_deref()
    }
}

/// A file or folder. The empty text, the default in `kubectl proxy`, stands for none.
#[derive(Clone, Debug)]
struct Named(Option<PathBuf>);

/// The place in which a grant applies.
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
    type Err = String;

    /// Reads a location and a file. A text without a location before a `=` is the name of a file.
    fn from_str(text: &str) -> Result<Self, String> {
        const FORMS: &str = "it is FILE, /PREFIX=FILE or unix:SOCKET=FILE";
        Ok(match text.split_once('=') {
            Some(("unix:", _) | (_, "")) => return Err(FORMS.to_owned()),
            None if text.is_empty() || text.starts_with("unix:") => return Err(FORMS.to_owned()),
            // A file's name may have a `=` in it.
            Some((place, _))
                if !place.starts_with(['/', '.']) && !place.starts_with("unix:") && !Path::new(text).exists() =>
            {
                return Err(format!("{FORMS}, and there is no file {text}"));
            }
            Some((place, file)) if place.starts_with("unix:") => {
                let socket = place.strip_prefix("unix:").unwrap_or_default();
                Self { place: Place::Socket(socket.into()), file: file.into() }
            }
            Some((place, file)) if place.starts_with('/') => {
                Self { place: Place::Prefix(prefix(place)?), file: file.into() }
            }
            _ => Self { place: Place::Main, file: text.into() },
        })
    }
}

/// Reads a path prefix that distinguishes requests.
fn prefix(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err("a prefix begins with a slash".to_owned());
    }
    PathPrefix::parse(text).map_err(|why| format!("it tells no requests apart: {why}"))?;
    Ok(text.to_owned())
}

fn named(text: &str) -> Result<Named, Infallible> {
    Ok(Named((!text.is_empty()).then(|| text.into())))
}

/// Reads a Boolean as Go does (`strconv.ParseBool`).
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
}

fn octal(text: &str) -> Result<u32, String> {
    let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o777);
    bits.ok_or_else(|| "permission bits are written as 0600 or 0660".to_owned())
}
