//! From arguments to what the library is made with.
//!
//! Everything is resolved here, before any work starts: a wrong value is told before a guest is compiled.

use crate::metrics::Scraped;
use crate::options;
use crate::stderr;
use anyhow::{Context, anyhow, bail};
use attache::cluster::{Cluster, ClusterError, ClusterSettings, Endpoint, Unavailable};
use attache::credentials::ServiceAccount;
use attache::engine::{Artefacts, CompilerProcess, DEFAULT_CAPACITY, Engine, EngineSettings};
use attache::extension::{Runtime, RuntimeBuilder};
use attache::gate::HostRate;
use attache::podinfo::{Item, PodInfo, PodVolume};
use attache::policy::{CredentialsMode, Grant, Limits, MountPath};
use attache::telemetry::{Audit, JsonLines, NoAudit, legible_name};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;

/// The process's environment, or what a kubelet gave a container.
pub(crate) type Variables = BTreeMap<String, String>;

/// The variable that names the pod's namespace, by the convention of the Kubernetes documentation.
pub(crate) const POD_NAMESPACE: &str = "POD_NAMESPACE";

/// The largest grant or list of items that is read, in bytes: a thousand rules fit many times over.
const MAX_TEXT: u64 = 1 << 20;

/// How long who serves for long waits for the API server's first answer before it serves all the same.
const WAITED_FOR: Duration = Duration::from_secs(5);

/// One process runs one extension: a few instances at once suffice, with room for as much in each as any grant can ask for.
const INSTANCES: u32 = 8;

/// Raises the number of files that this process may have open to what the system allows, as Go programs do at their start.
/// Many systems begin with 1024, which one guest's handles would use up for all.
pub(crate) fn open_as_many_files_as_allowed() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::info!(%error, "the number of open files stays as it is");
    }
}

/// The process's environment. A variable that is not UTF-8 cannot reach a guest, so it is left out.
pub(crate) fn variables() -> Variables {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Reads the grant in a file, or gives the one that opens nothing, named after the component.
pub(crate) fn grant(file: Option<&Path>, component: &Path) -> anyhow::Result<Grant> {
    let Some(file) = file else {
        let name = component.file_stem().map_or("guest".into(), |stem| legible_name(&stem.to_string_lossy()));
        return Ok(Grant::nothing(name));
    };
    let text = read(file).with_context(|| format!("cannot read the grant {}", file.display()))?;
    Grant::parse(&text).with_context(|| format!("the grant {} is not valid", file.display()))
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    File::open(file)?.take(MAX_TEXT + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_TEXT {
        bail!("it is larger than {MAX_TEXT} bytes");
    }
    Ok(text)
}

/// The argument with which this program is started to compile for another of it. It is no command: nobody types it.
pub(crate) const COMPILER: &str = "compile-for-host";

/// The variable that names the folder of compiled components. The command line does not read it: to it `--no-cache` and a
/// variable that is set for all runs would contradict each other.
const CACHE: &str = "ATTACHE_CACHE";

/// Begins a runtime: the engine, its compiler and the folder of compiled components.
pub(crate) fn runtime(arguments: &options::Artefacts) -> anyhow::Result<RuntimeBuilder> {
    let runtime = runtime_that_keeps_nothing(arguments)?;
    if arguments.no_cache {
        return Ok(runtime);
    }
    let from_variable = || std::env::var_os(CACHE).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    match arguments.cache.clone().or_else(from_variable) {
        Some(folder) => Ok(runtime.artefacts(Artefacts::open(&folder, DEFAULT_CAPACITY)?)),
        None => Ok(in_user_cache(runtime)),
    }
}

/// Begins a runtime: the engine and its compiler.
pub(crate) fn runtime_that_keeps_nothing(arguments: &options::Artefacts) -> anyhow::Result<RuntimeBuilder> {
    let ceiling = Limits::ceiling();
    let elements = usize::try_from(ceiling.table_elements).unwrap_or(usize::MAX);
    let settings = EngineSettings::default().instances(INSTANCES).table_elements(elements);
    let settings = settings.memories(ceiling.memories).core_instances(ceiling.core_instances);
    let engine = Engine::new(&settings)?;
    let compiler = CompilerProcess::this_program([COMPILER]).context("cannot find this program's own file")?;
    let compiler = arguments.compiler_memory.into_iter().fold(compiler, CompilerProcess::memory);
    Ok(Runtime::builder().engine(engine).compiler(compiler))
}

/// Nobody has asked for a folder, so that there is none is no failure: a sidecar's file system is often read-only.
fn in_user_cache(runtime: RuntimeBuilder) -> RuntimeBuilder {
    let Some(folder) = user_cache() else { return runtime };
    match Artefacts::open(&folder, DEFAULT_CAPACITY) {
        Ok(artefacts) => runtime.artefacts(artefacts),
        Err(error) => {
            tracing::info!(error = %attache::telemetry::chain(&error), "compiled components will not be kept");
            runtime
        }
    }
}

/// The user's cache folder, by the XDG base directory specification.
fn user_cache() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join("attache"))
}

/// The place of an audit that goes to stderr.
pub(crate) const ON_STDERR: &str = "stderr";

/// Where decisions are recorded: a file, `stderr` or `none`.
pub(crate) fn audit(place: &str) -> anyhow::Result<Arc<dyn Audit>> {
    let out: Box<dyn Write + Send> = match place {
        "none" => return Ok(Arc::new(NoAudit)),
        ON_STDERR => Box::new(stderr::Records),
        file => {
            let mut options = OpenOptions::new();
            let opened = options.append(true).create(true).mode(0o600).open(file);
            Box::new(opened.with_context(|| format!("cannot append to the audit file {file}"))?)
        }
    };
    let lines = Arc::new(JsonLines::new(out).context("cannot start the thread that writes the audit")?);
    let _ = LINES.set(Arc::clone(&lines));
    Ok(lines)
}

/// The audit of this process, for its end.
static LINES: OnceLock<Arc<JsonLines>> = OnceLock::new();

/// Waits for the audit's last lines, or their number, to be written.
pub(crate) fn end_audit() {
    if let Some(lines) = LINES.get() {
        lines.finish();
    }
}

/// Gives the runtime as much of this pod as the grant asks for, and resolves the grant's `$(…)`.
pub(crate) async fn in_pod(
    runtime: RuntimeBuilder,
    pod: &options::Pod,
    grant: Grant,
    variables: &Variables,
    audit: &Arc<dyn Audit>,
    scraped: &mut Scraped,
) -> anyhow::Result<(RuntimeBuilder, Grant)> {
    let account = ServiceAccount::at(&pod.server.service_account);
    let grant = resolved(grant, variables, &account).with_context(|| {
        format!(
            "looked in the environment, and for POD_NAMESPACE in {} too. {OUTSIDE}",
            pod.server.service_account.display()
        )
    })?;
    let mut runtime = runtime.pod_info(podinfo(pod, &grant, variables)?);
    if grant.credentials.mode != CredentialsMode::None {
        runtime = runtime.service_account(&pod.server.service_account);
    }
    if !grant.api.is_empty() {
        let rate = pod.rate.of_host();
        let cluster = reach(cluster(&pod.server, account, variables, audit, rate.clone())?).await?;
        scraped.watches(&cluster);
        runtime = rate.into_iter().fold(runtime.cluster(cluster), RuntimeBuilder::rate);
    }
    Ok((runtime, grant))
}

/// The grant with its `$(…)` resolved as a container's env would be: from the variables, the pod's namespace from its
/// service account if no variable has it.
pub(crate) fn resolved(grant: Grant, variables: &Variables, account: &ServiceAccount) -> anyhow::Result<Grant> {
    let resolved = grant.resolve(|name| match name {
        POD_NAMESPACE => namespace(variables, account),
        name => variables.get(name).cloned(),
    });
    resolved.context("the grant's `$(…)` cannot be resolved")
}

/// The pod's namespace, if the variables or the service account's volume have it.
pub(crate) fn namespace(variables: &Variables, account: &ServiceAccount) -> Option<String> {
    let of_account = || account.namespace().ok().map(|namespace| namespace.to_string());
    variables.get(POD_NAMESPACE).cloned().or_else(of_account)
}

const OUTSIDE: &str = "Outside a pod, `attache dev --pod POD.yaml EXT.wasm` plays one";

fn podinfo(pod: &options::Pod, grant: &Grant, variables: &Variables) -> anyhow::Result<PodInfo> {
    let mut builder = PodInfo::builder().variables(variables.clone());
    for (mount, host_path) in grant.podinfo.iter().zip(podinfo_paths(pod, grant)?) {
        let volume = PodVolume::new(mount.mount_path.clone(), host_path);
        builder = builder.mount(mount.sub_path.iter().fold(volume, PodVolume::sub_path));
    }
    if let Some(file) = &pod.podinfo_items {
        let text = read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let items: Vec<Item> = serde_saphyr::from_str(&text)
            .with_context(|| format!("{} is not a list of `downwardAPI.items`", file.display()))?;
        builder = builder.items(items);
    }
    builder.build().context("the Downward API items are not valid")
}

/// The place on the host of each Downward API volume that the grant mounts.
fn podinfo_paths(pod: &options::Pod, grant: &Grant) -> anyhow::Result<Vec<PathBuf>> {
    let (mut only, mut named) = (None, BTreeMap::new());
    for said in &pod.podinfo {
        match said.split_once('=').and_then(|(path, directory)| Some((path.parse::<MountPath>().ok()?, directory))) {
            Some((path, directory)) => drop(named.insert(path.canonical().to_owned(), PathBuf::from(directory))),
            None if only.replace(PathBuf::from(said)).is_some() => {
                bail!("--podinfo {said}: say MOUNTPATH=DIR where there are several")
            }
            None => {}
        }
    }
    if only.is_some() && grant.podinfo.len() > 1 {
        bail!("--podinfo: the grant mounts {} volumes, so say MOUNTPATH=DIR for each", grant.podinfo.len());
    }
    let paths = grant.podinfo.iter().map(|mount| {
        let path = named.remove(mount.mount_path.canonical()).or_else(|| only.clone());
        let path = path.unwrap_or_else(|| PathBuf::from(mount.mount_path.as_str()));
        let there = if mount.sub_path.is_some() { path.exists() } else { path.is_dir() };
        if !there {
            bail!(
                "the grant mounts the pod's Downward API volume, and there is none at {}: mount it there in the pod spec, \
                 or say --podinfo DIR. {OUTSIDE}",
                path.display()
            );
        }
        Ok(path)
    });
    let paths = paths.collect::<anyhow::Result<_>>()?;
    match named.keys().next() {
        Some(path) => bail!("--podinfo {path}=…: the grant mounts nothing there"),
        None => Ok(paths),
    }
}

/// The API server that the arguments name, else that of the pod that this is.
pub(crate) fn cluster(
    server: &options::Server,
    account: ServiceAccount,
    variables: &Variables,
    audit: &Arc<dyn Audit>,
    rate: Option<HostRate>,
) -> anyhow::Result<ClusterSettings> {
    let settings = match &server.api_server {
        Some(url) => ClusterSettings {
            service_account: Some(account),
            ..ClusterSettings::new(Endpoint::given(url)?, Arc::clone(audit))
        },
        None => ClusterSettings::in_cluster(|name| variables.get(name).cloned(), account, Arc::clone(audit))
            .map_err(|error| anyhow!("{error} (--api-server URL, --service-account DIR). {OUTSIDE}"))?,
    };
    Ok(ClusterSettings { rate, ..settings })
}

/// As [`reach`], for whoever serves for as long as the pod lives: a server that is away just now may come back, and is only
/// told of.
pub(crate) async fn reach_in_time(settings: ClusterSettings) -> anyhow::Result<Cluster> {
    let cluster = Cluster::connect(settings)?;
    match timeout(WAITED_FOR, ask(&cluster)).await {
        Ok(Err(error)) if !may_pass(&error) => return Err(unusable(&cluster, error)),
        Ok(Err(error)) => tracing::warn!("{:#}; it is asked again with the first request", unusable(&cluster, error)),
        Err(_) => tracing::warn!("the API server at {} is silent so far", cluster.endpoint()),
        Ok(Ok(())) => {}
    }
    Ok(cluster)
}

/// Connects, and asks the API server for what every client asks first: a wrong address, CA or token shows here, and not
/// at the guest's first call.
pub(crate) async fn reach(settings: ClusterSettings) -> anyhow::Result<Cluster> {
    let cluster = Cluster::connect(settings)?;
    match ask(&cluster).await {
        Ok(()) => Ok(cluster),
        Err(error) => Err(unusable(&cluster, error)),
    }
}

/// Asks for discovery. An account without the right to ask for it may have others.
async fn ask(cluster: &Cluster) -> Result<(), ClusterError> {
    match cluster.discovery().await {
        Err(ClusterError::Refused(status)) if status.code != 401 => Ok(()),
        asked => asked.map(drop),
    }
}

fn unusable(cluster: &Cluster, error: ClusterError) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot use the API server at {}", cluster.endpoint()))
}

/// Whether it is the network's or the server's state that stands in the way, and not what is said of them here.
fn may_pass(error: &ClusterError) -> bool {
    match error {
        ClusterError::Unavailable(why) => {
            !matches!(why, Unavailable::Certificate { .. } | Unavailable::Credentials(_) | Unavailable::Tls { .. })
        }
        other => matches!(other, ClusterError::Discovery { .. }),
    }
}
