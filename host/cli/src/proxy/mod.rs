//! `attache proxy`: the ambassador for sibling containers.

pub(crate) mod args;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use attache::ambassador::Ambassador;
use attache::ambassador::local::{Filter, FilterSettings, SESSIONS, Site, SiteBuilder};
use attache::cluster::Endpoint;
use attache::gate::{Channel, Gate};
use attache::policy::Grant;
use attache::serving::{Listener, Server};

use crate::api_server::{self, Asker};
use crate::exit::Exit;
use crate::metrics::Scraped;
use crate::settings::{self, Variables};
use crate::signals::Signals;
use crate::stderr::say;
use args::{Place, PlacedGrant, Proxy};

/// What the grant of `--read-only` alone is called in records.
const READ_ONLY: &str = "read-only";

const NO_GRANT: &str = "\
no grant, so nobody may do anything: say --grant FILE, or --read-only to let all but secrets be read. A small grant:

  apiVersion: attache.dev/v1alpha1
  kind: Grant
  metadata: {name: callers}
  spec:
    api:
    - {apiGroups: [\"\"], resources: [pods, pods/log], verbs: [get, list, watch], namespaces: [default]}
";

pub(crate) async fn proxy(arguments: Proxy) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let variables = settings::variables();
    let asker = Asker::of(&arguments.server, &variables)?;
    let grants = grants(&arguments, &variables, &asker)?;
    let filter = filter(&arguments)?;
    let mut scraped = Scraped::listen(arguments.audit.metrics.as_ref()).await?;
    let audit = scraped.over(settings::audit(&arguments.audit.place)?);
    let rate = arguments.rate.of_host();
    let settings = asker.settings(&arguments.server, &variables, &audit, rate.clone())?;
    let server = server(settings.server.clone(), arguments.append_server_path);
    let cluster = api_server::reach_in_time(settings.server(server)).await?;
    let ambassador = |grant: Grant| {
        let gate = Gate::within(rate.clone(), grant.name.clone(), Arc::new(grant), Arc::clone(&audit));
        Ambassador::new(Channel::Proxy, gate, Some(cluster.clone()))
    };
    let server = listen(&arguments, grants, filter.as_ref(), ambassador).await?;
    scraped.serve()?;
    for listener in server.listeners() {
        greet(listener);
    }
    let mut exit = Exit::Done;
    let stopped = server.run(async { exit = signals.arrive().await }, arguments.grace.0).await;
    if stopped.cut > 0 {
        say!("{} connections were cut after --grace", stopped.cut);
    }
    // A proxy ends by a signal, so that is how it ends well.
    Ok(if stopped.cut > 0 { exit } else { Exit::Done })
}

/// Says where it listens, as `kubectl proxy` does. Where nobody reads stdout it serves all the same.
fn greet(listener: &Listener) {
    let _ = writeln!(io::stdout(), "Starting to serve on {listener}");
}

/// The grants, read and narrowed, each with its place.
fn grants(arguments: &Proxy, variables: &Variables, asker: &Asker) -> anyhow::Result<BTreeMap<Place, Grant>> {
    let mut grants = BTreeMap::new();
    if arguments.grants.is_empty() && arguments.read_only {
        grants.insert(Place::Main, Grant::reading(READ_ONLY).with_discovery());
    }
    let mut names = BTreeSet::new();
    for PlacedGrant { place, file } in &arguments.grants {
        let grant = api_server::resolved(settings::grant(Some(file), file)?, variables, asker)?;
        if !names.insert(grant.name.clone()) {
            bail!("two grants are called {:?}: records would not tell their callers apart", grant.name);
        }
        let grant = if arguments.read_only { grant.reading_only() } else { grant };
        if grants.insert(place.clone(), grant.with_discovery()).is_some() {
            bail!("{}: another grant has this place already; say PREFIX=FILE or unix:SOCKET=FILE", file.display());
        }
    }
    if grants.is_empty() {
        bail!(NO_GRANT);
    }
    Ok(grants)
}

fn filter(arguments: &Proxy) -> anyhow::Result<Option<Filter>> {
    if arguments.disable_filter {
        if arguments.unix_socket()?.is_none() {
            tracing::warn!("Request filter disabled, your proxy is vulnerable to XSRF attacks, please be cautious");
        }
        return Ok(None);
    }
    let settings = FilterSettings {
        accept_hosts: arguments.accept_hosts.clone(),
        accept_paths: arguments.accept_paths.clone(),
        reject_paths: arguments.reject_paths.clone(),
        reject_methods: arguments.reject_methods.clone(),
    };
    Ok(Some(Filter::new(&settings)?))
}

/// The API server, without its URL's path unless that is to go in front of each request's own.
fn server(server: Endpoint, append_path: bool) -> Endpoint {
    if append_path || server.path().is_empty() {
        return server;
    }
    let path = server.path();
    tracing::warn!("the API server's URL has the path {path}: --append-server-path puts it in front of each request");
    server.without_path()
}

/// Opens the sockets: one for all prefixes, and those that have a grant of their own.
async fn listen(
    arguments: &Proxy,
    grants: BTreeMap<Place, Grant>,
    filter: Option<&Filter>,
    ambassador: impl Fn(Grant) -> Ambassador,
) -> anyhow::Result<Server> {
    let begin = || filter.into_iter().cloned().fold(Site::builder(), SiteBuilder::filter);
    let (mut main, mut sockets) = (None, Vec::new());
    for (place, grant) in grants {
        let ambassador = ambassador(grant);
        match place {
            Place::Main => main = Some(main.unwrap_or_else(begin).api(&arguments.api_prefix, ambassador)?),
            Place::Prefix(prefix) => main = Some(main.unwrap_or_else(begin).api(&prefix, ambassador)?),
            Place::Socket(path) => sockets.push((path, begin().api(&arguments.api_prefix, ambassador)?)),
        }
    }
    let mut server = Server::new();
    // An equal share of the sessions for each socket.
    let sites = sockets.len().saturating_add(usize::from(main.is_some()));
    let sessions = SESSIONS.checked_div(sites).unwrap_or_default().max(1);
    if let Some(site) = main {
        let site = match arguments.www() {
            Some(folder) => site.files(&arguments.www_prefix, checked(folder)?)?,
            None => site,
        };
        server = server.serve(main_listener(arguments).await?, site.sessions(sessions).build());
    }
    for (path, site) in sockets {
        server = server.serve(unix(&path, arguments.socket_mode)?, site.sessions(sessions).build());
    }
    Ok(server)
}

fn checked(folder: &Path) -> anyhow::Result<PathBuf> {
    if !folder.is_dir() {
        bail!("--www {}: there is no such folder", folder.display());
    }
    Ok(folder.to_owned())
}

async fn main_listener(arguments: &Proxy) -> anyhow::Result<Listener> {
    if let Some(path) = arguments.unix_socket()? {
        return unix(path, arguments.socket_mode);
    }
    let (host, port) = (&arguments.address, arguments.port);
    let listening = Listener::tcp(host, port, arguments.keepalive.0).await;
    listening.with_context(|| format!("cannot listen on {host}, port {port}"))
}

fn unix(path: &Path, mode: u32) -> anyhow::Result<Listener> {
    Listener::unix(path, mode).with_context(|| format!("cannot listen on the socket {}", path.display()))
}
