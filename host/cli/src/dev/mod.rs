//! `attache dev`: an API server, a kubelet's part for one pod, and the extension as one of its containers.

mod elsewhere;
mod grant;
mod manifests;
mod sandbox;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use attache::cluster::KubeconfigContext;
use attache::extension::{Invocation, RuntimeBuilder};
use attache::policy::Grant;
use attache_devcluster::kubelet::{Container, Kubelet, RunningPod, Termination};
use attache_devcluster::{DevCluster, DevClusterSettings};
use tempfile::TempDir;

use crate::args;
use crate::audit;
use crate::engine;
use crate::exit::{self, Exit, WrongCommandLine};
use crate::grants;
use crate::guest_stderr;
use crate::private_file;
use crate::record::Record;
use crate::signals::Signals;
use crate::stderr::say;
use crate::surroundings::{self, Surroundings};
use manifests::{Manifests, PodName};
pub(crate) use sandbox::ContainerVolumes;

/// The exit of a process that SIGTERM ended. A kubelet sends SIGTERM to the containers of a deleted pod.
const TERMINATED: Exit = Exit::Signal(15);

pub(crate) async fn dev(arguments: args::Dev) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen()?;
    check(&arguments)?;
    // All files are read before anything starts, so a mistake in the last one is an error at once.
    let elsewhere = arguments.from.chosen(&surroundings::variables())?;
    let manifests = Manifests::read(&arguments.manifests, arguments.pod.as_deref())?;
    let grant = match (&arguments.grant, &arguments.component) {
        (Some(file), Some(component)) => Some(grants::read(Some(file), component)?),
        _ => None,
    };
    if let Some(component) = &arguments.component
        && !component.is_file()
    {
        bail!("there is no component {}", component.display());
    }
    let record = Record::begin(arguments.record.as_deref())?;
    let folder = tempfile::Builder::new().prefix("attache-dev-").tempdir().context("cannot make a folder")?;
    if let Some(context) = elsewhere {
        let played = elsewhere::dev(&arguments, grant, record.as_ref(), context, folder.path(), &mut signals).await;
        record.map_or(Ok(()), Record::end)?;
        return played;
    }
    let cluster = DevCluster::start(DevClusterSettings::default())?;
    let name = manifests.load(&cluster)?;
    let kubeconfig = write_kubeconfig(&cluster, arguments.write_kubeconfig.as_deref(), &folder)?;
    say!("The API server listens at {}; for kubectl: export KUBECONFIG={}", cluster.url(), kubeconfig.display());
    let pod = match &name {
        Some(name) => Some(play(&cluster, name, &folder).await?),
        None => None,
    };
    let play = name.as_ref().zip(pod.as_ref()).map(|(name, pod)| Played { name, pod, elsewhere: None });
    let played = tokio::select! {
        played = stay(&arguments, grant, record.as_ref(), play) => played,
        exit = signals.arrive() => Ok(exit),
    };
    if let Some(pod) = pod {
        let end = pod.stop(&outcome(played.as_ref())).await;
        end.unwrap_or_else(|error| tracing::warn!(error = %attache::telemetry::chain(&error), "the pod's end"));
    }
    // A client that requested the pod's deletion sees the deletion before the server stops.
    tokio::task::spawn_blocking(move || cluster.shutdown()).await.context("the API server's end")?;
    record.map_or(Ok(()), Record::end)?;
    played
}

/// Fails if flags for an existing cluster are mixed with flags for a cluster of `dev`'s own.
fn check(arguments: &args::Dev) -> Result<(), WrongCommandLine> {
    if !arguments.from.is_chosen() {
        return Ok(());
    }
    if arguments.pod.is_none() {
        return Err(WrongCommandLine::new(
            "--kubeconfig and --context play a pod in a cluster that is there: say --pod FILE",
        ));
    }
    if !arguments.manifests.is_empty() || arguments.write_kubeconfig.is_some() {
        return Err(WrongCommandLine::new(
            "--manifests and --write-kubeconfig are for a cluster of `dev`'s own: use kubectl with the one of the kubeconfig",
        ));
    }
    Ok(())
}

/// Plays the kubelet's part for the pod.
async fn play(cluster: &DevCluster, name: &PodName, folder: &TempDir) -> anyhow::Result<RunningPod> {
    let kubelet = Kubelet::builder(cluster.url(), cluster.admin_token()).authority(cluster.ca_pem());
    let started = kubelet.root(folder.path()).start(&name.namespace, &name.name).await;
    started.with_context(|| format!("cannot set up pod {}/{}", name.namespace, name.name))
}

/// The pod in which the extension is a container.
struct Played<'a> {
    name: &'a PodName,
    pod: &'a RunningPod,
    /// The cluster of the pod, if it is not a cluster of `dev`'s own.
    elsewhere: Option<&'a KubeconfigContext>,
}

/// Runs the extension to its end, or waits until the pod is deleted. Without a pod, waits for ever.
async fn stay(
    arguments: &args::Dev,
    grant: Option<Grant>,
    record: Option<&Record>,
    played: Option<Played<'_>>,
) -> anyhow::Result<Exit> {
    let Some(played) = played else {
        return std::future::pending().await;
    };
    let Played { name, pod, .. } = played;
    tokio::select! {
        ended = run(arguments, grant, record, &played) => ended,
        () = pod.deleted() => {
            say!("Pod {}/{} is deleted.", name.namespace, name.name);
            Ok(TERMINATED)
        }
    }
}

async fn run(
    arguments: &args::Dev,
    grant: Option<Grant>,
    record: Option<&Record>,
    Played { name, pod, elsewhere }: &Played<'_>,
) -> anyhow::Result<Exit> {
    let (container_name, container) = choose(pod, name, arguments.container.as_deref())?;
    let Some(component) = &arguments.component else {
        sandbox::print(&container_name, container);
        return std::future::pending().await;
    };
    let grant = match grant {
        Some(grant) => grant,
        None => grant::development(component, &name.namespace, container)?,
    };
    let given = grant.clone();
    let audit = Record::over(record, audit::open(&arguments.audit)?);
    let runtime = engine::runtime(&arguments.artefacts)?.audit(audit.clone());
    let volumes = ContainerVolumes { name: &container_name, container };
    let surroundings = Surroundings::of_container(volumes, *elsewhere).audit(audit);
    let grant = surroundings.resolve(grant)?;
    let runtime = surroundings.furnish(runtime, &grant)?;
    let runtime = surroundings.cluster(&grant).await?.into_iter().fold(runtime, RuntimeBuilder::cluster);
    sandbox::warn_of_the_rest(&grant, container);
    let extension = runtime.build()?.load_command_file(component, grant).await?;
    if let Some(record) = record {
        record.begins(&given, Some(&name.namespace), &container.env);
    }
    let call = Invocation::new().args(&arguments.arguments).inherit_stdout();
    let (call, passing) = guest_stderr::give(call, arguments.audit == audit::ON_STDERR);
    let called = extension.run(call).await;
    // The guest's last output comes before the host's report of its end.
    passing.end().await;
    Ok(Exit::of(called))
}

/// Returns the named container, or the first of the pod's spec.
fn choose<'a>(pod: &'a RunningPod, name: &PodName, asked: Option<&str>) -> anyhow::Result<(String, &'a Container)> {
    let chosen = asked.unwrap_or(&name.first_container);
    let names = || pod.containers().keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let found = pod.container(chosen);
    let container =
        found.with_context(|| format!("pod {} has no container {chosen:?}; it has: {}", name.name, names()))?;
    Ok((chosen.to_owned(), container))
}

/// Writes the kubeconfig for the user alone: it holds the administrator's token.
fn write_kubeconfig(cluster: &DevCluster, asked: Option<&Path>, folder: &TempDir) -> anyhow::Result<PathBuf> {
    let file = asked.map_or_else(|| folder.path().join("kubeconfig"), Path::to_owned);
    private_file::write(&file, cluster.kubeconfig().as_bytes()).context("no kubeconfig for kubectl")?;
    Ok(file)
}

/// Returns the pod's status after the end.
fn outcome(played: Result<&Exit, &anyhow::Error>) -> Termination {
    match played {
        Ok(exit) => Termination::exit(i32::from(exit.code())),
        Err(error) => {
            let code = i32::from(exit::Exit::Refused.code());
            Termination { message: Some(format!("{error:#}")), ..Termination::exit(code) }
        }
    }
}
