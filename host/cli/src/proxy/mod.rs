//! `attache proxy`: the ambassador for sibling containers.

pub(crate) mod args;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use attache::ambassador::Ambassador;
use attache::ambassador::local::{Filter, FilterSettings, SESSIONS, Site, SiteBuilder, SiteError};
use attache::cluster::Endpoint;
use attache::gate::{Channel, Gate};
use attache::policy::Grant;
use attache::serving::{Listener, Server};

use crate::api_server;
use crate::audit;
use crate::exit::{Exit, WrongCommandLine};
use crate::grants;
use crate::metrics::Scraped;
use crate::pod_volumes::PodVolumes;
use crate::signals::Signals;
use crate::stderr::say;
use crate::surroundings::Surroundings;
use args::{Place, PlacedGrant, Proxy};

/// The name in records of the grant of `--read-only` alone.
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
    let filter = filter(&arguments)?;
    let rate = arguments.rate.of_host();
    let surroundings = Surroundings::of_this_pod(&arguments.server, PodVolumes::default())?.rate(rate.clone());
    let grants = placed_grants(&arguments, &surroundings)?;
    let mut scraped = Scraped::listen(arguments.audit.metrics.as_ref()).await?;
    let audit = scraped.over(audit::open(&arguments.audit.location)?);
    let settings = surroundings.audit(Arc::clone(&audit)).client_settings()?;
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
    // A signal is the normal end of a proxy.
    Ok(if stopped.cut > 0 { exit } else { Exit::Done })
}

/// Prints a listener, as `kubectl proxy` does. A closed stdout is ignored.
fn greet(listener: &Listener) {
    let _ = writeln!(io::stdout(), "Starting to serve on {listener}");
}

/// Reads and narrows the grants, each with its place.
fn placed_grants(arguments: &Proxy, surroundings: &Surroundings<'_>) -> anyhow::Result<BTreeMap<Place, Grant>> {
    check_places(arguments)?;
    let mut grants = BTreeMap::new();
    if arguments.grants.is_empty() {
        grants.insert(Place::Main, Grant::reading(READ_ONLY).with_discovery());
    }
    let mut names = BTreeSet::new();
    for PlacedGrant { place, file } in &arguments.grants {
        let grant = surroundings.resolve(grants::read(Some(file), file)?)?;
        if !names.insert(grant.name.clone()) {
            bail!("two grants are called {:?}: records would not tell their callers apart", grant.name);
        }
        let grant = if arguments.read_only { grant.reading_only() } else { grant };
        grants.insert(place.clone(), grant.with_discovery());
    }
    Ok(grants)
}

/// Fails without a grant, and if two grants have the same place.
fn check_places(arguments: &Proxy) -> Result<(), WrongCommandLine> {
    if arguments.grants.is_empty() && !arguments.read_only {
        return Err(WrongCommandLine::new(NO_GRANT));
    }
    let mut places = BTreeSet::new();
    match arguments.grants.iter().find(|grant| !places.insert(&grant.place)) {
        Some(PlacedGrant { file, .. }) => Err(WrongCommandLine::new(format!(
            "{}: another grant has this place already; say PREFIX=FILE or unix:SOCKET=FILE",
            file.display()
        ))),
        None => Ok(()),
    }
}

fn filter(arguments: &Proxy) -> anyhow::Result<Option<Filter>> {
    let is_port = arguments.unix_socket()?.is_none();
    if arguments.disable_filter {
        if is_port {
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
    Ok(Some(Filter::new(&settings).map_err(|error| WrongCommandLine::of(&error))?))
}

/// Returns the API server, without its URL's path unless that path goes in front of each request's own.
fn server(server: Endpoint, append_path: bool) -> Endpoint {
    if append_path || server.path().is_empty() {
        return server;
    }
    let path = server.path();
    tracing::warn!("the API server's URL has the path {path}: --append-server-path puts it in front of each request");
    server.without_path()
}

/// Opens the sockets: one for all prefixes, and the sockets with a grant of their own.
async fn listen(
    arguments: &Proxy,
    grants: BTreeMap<Place, Grant>,
    filter: Option<&Filter>,
    ambassador: impl Fn(Grant) -> Ambassador,
) -> anyhow::Result<Server> {
    let begin = || filter.into_iter().cloned().fold(Site::builder(), SiteBuilder::filter);
    let twice = |error: SiteError| WrongCommandLine::of(&error);
    let (mut main, mut sockets) = (None, Vec::new());
    for (place, grant) in grants {
        let ambassador = ambassador(grant);
        match place {
            Place::Main => {
                main = Some(main.unwrap_or_else(begin).api(&arguments.api_prefix, ambassador).map_err(twice)?);
            }
            Place::Prefix(prefix) => main = Some(main.unwrap_or_else(begin).api(&prefix, ambassador).map_err(twice)?),
            Place::Socket(path) => sockets.push((path, begin().api(&arguments.api_prefix, ambassador).map_err(twice)?)),
        }
    }
    let mut server = Server::new();
    // Each socket gets an equal share of the sessions.
    let sites = sockets.len().saturating_add(usize::from(main.is_some()));
    let sessions = SESSIONS.checked_div(sites).unwrap_or_default().max(1);
    if let Some(site) = main {
        let site = match arguments.www() {
            Some(folder) => site.files(&arguments.www_prefix, checked(folder)?).map_err(twice)?,
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
