//! `attache serve` and `attache check`: extensions that keep running, defined by manifests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use attache::extension::{BufferedOutput, Invocation, LoadError, RuntimeBuilder};
use attache::policy::{CredentialsMode, Grant};
use attache::service::{Admin, Decisions, Definition, ServiceError, Sources, Supervisor};
use attache::serving::{Listener, Server};
use attache::telemetry::{Audit, Metrics, chain};
use prometheus_client::registry::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;
use crate::signals::Signals;
use crate::stderr::say;
use crate::surroundings::{self, Surroundings, Variables};
use crate::{args, audit, engine, guest_stderr};

/// The mode of the admin's Unix socket: for its owner alone.
const ADMIN_MODE: u32 = 0o600;

/// The name of the grant that stands for all grants together.
const TOGETHER: &str = "together";

pub(crate) async fn serve(arguments: args::Serve) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    let mut hangups = signal(SignalKind::hangup())?;
    let admin = match &arguments.admin {
        Some(place) => Some(admin_listener(place).await.with_context(|| format!("cannot listen on --admin {place}"))?),
        None => None,
    };
    let surroundings = arguments.pod.surroundings()?;
    let mut sources = Sources::new(arguments.paths.clone());
    let mut registry = Registry::default();
    let metrics = Metrics::new(audit::open(&arguments.audit)?, &mut registry);
    let decisions = Arc::new(Decisions::new(Arc::new(metrics)));
    let audit: Arc<dyn Audit> = decisions.clone();
    let surroundings = surroundings.audit(audit.clone());
    let runtime = engine::runtime(&arguments.artefacts)?.audit(audit);
    let runtime = furnish(runtime, &surroundings, &sources).await?;
    let supervisor = supervisor(runtime, surroundings.variables().clone(), arguments.stop_grace.0)?;
    let stopped = CancellationToken::new();
    if let Some(listener) = admin {
        say!("Admin at {listener}");
        let handler = Admin::new(supervisor.clone(), decisions, registry).handler();
        let server = Server::new().serve(listener, handler);
        tokio::spawn(server.run(stopped.clone().cancelled_owned(), Duration::from_secs(1)));
    }
    for (path, error) in sources.sync(&supervisor).await {
        let error = attache::telemetry::legible(&chain(&error));
        tracing::error!(path = %path.display(), error, "an extension is not loaded");
    }
    let (wake, waking) = mpsc::channel(1);
    let exit = tokio::select! {
        () = sources.follow(&supervisor, waking) => Exit::Done,
        () = async {
            while hangups.recv().await.is_some() {
                // A waiting reload stands for this one, too.
                let _ = wake.try_send(());
            }
        } => Exit::Done,
        exit = signals.arrive() => exit,
    };
    let drained = supervisor.drain(arguments.grace.0).await;
    stopped.cancel();
    if !drained {
        tracing::warn!("calls were still in progress after the grace, and are ended");
    }
    // A host that has drained as requested was not ended by a signal.
    Ok(if drained { Exit::Done } else { exit })
}

/// Reports everything that `serve` would refuse.
pub(crate) async fn check(arguments: args::Check) -> anyhow::Result<Exit> {
    let read = Sources::new(arguments.paths.clone()).read();
    if read.is_empty() {
        bail!("there is no manifest in {}", listed(&arguments.paths));
    }
    let runtime = engine::runtime(&arguments.artefacts)?.variables(surroundings::variables()).build()?;
    // The values of `$(…)` come from the pod, which is elsewhere.
    let supervisor = Supervisor::builder(runtime).variables(|_| Some("checked".to_owned())).build();
    let (mut failed, mut grants) = (false, Vec::<Grant>::new());
    let mut names = Vec::<(String, PathBuf)>::new();
    for (path, definition) in read {
        let name = definition.as_ref().map(|found| found.manifest.name.clone()).unwrap_or_default();
        let twice = names.iter().find(|(other, _)| *other == name && !name.is_empty()).map(|(_, path)| path.clone());
        grants.extend(definition.as_ref().ok().map(|found| found.grant.clone()));
        let checked = match (definition, twice) {
            (Err(error), _) => Err(anyhow::Error::from(error)),
            (Ok(_), Some(other)) => {
                Err(anyhow!("{}: {} has an extension {name} already", path.display(), other.display()))
            }
            (Ok(definition), None) => check_one(&supervisor, definition).await,
        };
        match checked {
            Ok(()) => say!("{}: {name} is right", path.display()),
            Err(error) => {
                failed = true;
                crate::exit::report(&error);
            }
        }
        names.push((name, path));
    }
    if let Some(account) = &arguments.rbac {
        let mut together = Grant::nothing(TOGETHER);
        together.api = grants.into_iter().flat_map(|grant| grant.api).collect();
        print!("{}", together.to_rbac(account)?.to_yaml());
    }
    Ok(if failed { Exit::Refused } else { Exit::Done })
}

/// Checks one extension. Its mounts need the pod, which is elsewhere.
async fn check_one(supervisor: &Supervisor, definition: Definition) -> anyhow::Result<()> {
    match supervisor.check(definition).await {
        Ok(()) | Err(ServiceError::Load { source: LoadError::Mount(_), .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

async fn admin_listener(place: &str) -> anyhow::Result<Listener> {
    if let Some(path) = place.strip_prefix("unix:") {
        return Ok(Listener::unix(Path::new(path), ADMIN_MODE)?);
    }
    let at: crate::metrics::At = place.parse().map_err(anyhow::Error::msg)?;
    Ok(at.listen().await?)
}

/// Gives the runtime the parts of this pod that any of the grants opens.
async fn furnish(
    runtime: RuntimeBuilder,
    surroundings: &Surroundings<'_>,
    sources: &Sources,
) -> anyhow::Result<RuntimeBuilder> {
    let definitions = sources.read().into_iter().filter_map(|(_, definition)| definition.ok());
    let mut together = Grant::nothing(TOGETHER);
    for Definition { grant, .. } in definitions {
        let new = |mount: &&_| !together.podinfo.contains(mount);
        let mounts: Vec<_> = grant.podinfo.iter().filter(new).cloned().collect();
        together.podinfo.extend(mounts);
        together.env.extend(grant.env);
        together.api.extend(grant.api);
        if grant.credentials.mode != CredentialsMode::None {
            together.credentials = grant.credentials;
        }
    }
    let runtime = surroundings.furnish(runtime, &together)?;
    Ok(surroundings.cluster_in_time(&together).await?.into_iter().fold(runtime, RuntimeBuilder::cluster))
}

fn supervisor(runtime: RuntimeBuilder, variables: Variables, stop_grace: Duration) -> anyhow::Result<Supervisor> {
    let streams = guest_stderr::shared();
    let prepare = move |invocation: Invocation, _: &str| {
        let stream: BufferedOutput = streams.clone();
        invocation.named_stdout(stream.clone()).named_stderr(stream)
    };
    let namespace = variables.clone();
    Ok(Supervisor::builder(runtime.build()?)
        .variables(move |name| namespace.get(name).cloned())
        .prepare(prepare)
        .stop_grace(stop_grace)
        .build())
}
