//! From arguments to what the library is made with.
//!
//! Everything is resolved here, before any work starts: a wrong value is told before a guest is compiled.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, anyhow, bail};
use attache::engine::{Artefacts, CompilerProcess, DEFAULT_CAPACITY, Engine, EngineSettings};
use attache::extension::{Runtime, RuntimeBuilder};
use attache::podinfo::{Item, PodInfo, PodVolume};
use attache::policy::{CredentialsMode, Grant, Limits, MountPath, PodInfoMount};
use attache::telemetry::{Audit, JsonLines, NoAudit, legible_name};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::api_server::{Asker, reach, reach_in_time, resolved};
use crate::metrics::Scraped;
use crate::options;
use crate::stderr;

/// The process's environment, or what a kubelet gave a container.
pub(crate) type Variables = BTreeMap<String, String>;

/// The variable that names the pod's namespace, by the convention of the Kubernetes documentation.
pub(crate) const POD_NAMESPACE: &str = "POD_NAMESPACE";

/// The largest grant or list of items that is read, in bytes: a thousand rules fit many times over.
const MAX_TEXT: u64 = 1 << 20;

/// One process runs one extension: a few instances at once suffice, with room for as much in each as any grant can ask
/// for.
const INSTANCES: u32 = 8;

/// Raises the number of files that this process may have open to what the system allows, as Go programs do at their
/// start. Many systems begin with 1024, which one guest's handles would use up for all.
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

/// The variable that names the folder of compiled components. The command line does not read it: to it `--no-cache` and
/// a variable that is set for all runs would contradict each other.
const CACHE: &str = "ATTACHE_CACHE";

/// Begins a runtime: the engine, its compiler and the folder of compiled components.
pub(crate) fn runtime(arguments: &options::Artefacts) -> anyhow::Result<RuntimeBuilder> {
    let runtime = runtime_that_keeps_nothing(arguments)?;
    if arguments.no_cache {
        return Ok(runtime);
    }
    Ok(match arguments.cache.clone().or_else(folder_of_variable) {
        Some(folder) => in_folder(runtime, &folder),
        None => in_user_cache(runtime),
    })
}

/// The folder that compiled components go to, for who wants nothing but that they are kept.
pub(crate) fn artefacts_to_fill(arguments: &options::Artefacts) -> anyhow::Result<Artefacts> {
    let folder = arguments.cache.clone().or_else(folder_of_variable).or_else(user_cache);
    let folder = folder.context("neither HOME nor XDG_CACHE_HOME is set: say --cache DIR, or -o FILE")?;
    let artefacts = Artefacts::open_own(&folder, DEFAULT_CAPACITY).context("nothing can be kept")?;
    tell_own(&artefacts, &folder);
    if artefacts.is_read_only() {
        bail!("nothing can be kept in {}, which is another user's: say --cache DIR, or -o FILE", folder.display());
    }
    Ok(artefacts)
}

/// The folder that [`CACHE`] names.
fn folder_of_variable() -> Option<PathBuf> {
    std::env::var_os(CACHE).filter(|folder| !folder.is_empty()).map(PathBuf::from)
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

/// What to do where compiled components cannot be kept.
const SAY_WHERE: &str = "compiled components are not kept, so each start compiles anew: say --cache DIR, a volume that can be \
                         written to and is not mounted noexec, or --no-cache";

/// The folder that was asked for, or one of this user's own below it. One that cannot be used keeps nobody from running:
/// a volume may be mounted in any way.
fn in_folder(runtime: RuntimeBuilder, folder: &Path) -> RuntimeBuilder {
    let artefacts = match Artefacts::open_own(folder, DEFAULT_CAPACITY) {
        Ok(artefacts) => artefacts,
        Err(error) => {
            tracing::warn!("{}: {SAY_WHERE}", attache::telemetry::chain(&error));
            return runtime;
        }
    };
    tell_own(&artefacts, folder);
    runtime.artefacts(artefacts)
}

/// Says which folder is used in place of one that others may write to.
fn tell_own(artefacts: &Artefacts, folder: &Path) {
    if artefacts.path() != folder {
        let (own, folder) = (artefacts.path().display(), folder.display());
        tracing::warn!(
            "others may write to {folder}: compiled components are kept in {own}, which is this user's alone"
        );
    }
}

/// Nobody has asked for a folder, so that there is none is no failure: a sidecar's file system is often read-only.
fn in_user_cache(runtime: RuntimeBuilder) -> RuntimeBuilder {
    let Some(folder) = user_cache() else {
        tracing::warn!("neither HOME nor XDG_CACHE_HOME is set: {SAY_WHERE}");
        return runtime;
    };
    match Artefacts::open(&folder, DEFAULT_CAPACITY) {
        Ok(artefacts) => runtime.artefacts(artefacts),
        Err(error) => {
            tracing::warn!("{}: {SAY_WHERE}", attache::telemetry::chain(&error));
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

/// As [`in_pod`], for a host that runs as long as its pod: an API server that is away may come back.
pub(crate) async fn in_pod_for_long(
    runtime: RuntimeBuilder,
    pod: &options::Pod,
    grant: Grant,
    variables: &Variables,
    audit: &Arc<dyn Audit>,
    scraped: &mut Scraped,
) -> anyhow::Result<(RuntimeBuilder, Grant)> {
    let mut asked = grant.clone();
    asked.api.clear();
    let (runtime, _) = in_pod(runtime, pod, asked, variables, audit, scraped).await?;
    if grant.api.is_empty() {
        return Ok((runtime, grant));
    }
    let rate = pod.rate.of_host();
    let settings = Asker::of(&pod.server, variables)?.settings(&pod.server, variables, audit, rate.clone())?;
    let cluster = reach_in_time(settings).await?;
    scraped.watches(&cluster);
    Ok((rate.into_iter().fold(runtime.cluster(cluster), RuntimeBuilder::rate), grant))
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
    let asker = Asker::of(&pod.server, variables)?;
    let grant = resolved(grant, variables, &asker).map_err(|error| anyhow!("{error}. {OUTSIDE}"))?;
    tell_empty_promises(&grant, variables);
    let mut runtime = runtime.pod_info(podinfo(pod, &grant, variables)?);
    if grant.credentials.mode != CredentialsMode::None {
        if let Asker::Kubeconfig(_) = asker {
            bail!("{NO_VOLUME}");
        }
        runtime = runtime.service_account(&pod.server.service_account);
    }
    tell_unused_proxy(&grant, variables);
    if !grant.api.is_empty() {
        let rate = pod.rate.of_host();
        let settings = asker.settings(&pod.server, variables, audit, rate.clone())?;
        let cluster = reach(settings, pod.wait.0).await?;
        scraped.watches(&cluster);
        runtime = rate.into_iter().fold(runtime.cluster(cluster), RuntimeBuilder::rate);
    }
    Ok((runtime, grant))
}

/// Says which words of a grant open nothing here, and would be missed by nobody but the guest.
pub(crate) fn tell_empty_promises(grant: &Grant, variables: &Variables) {
    for name in grant.env.iter().filter(|name| !variables.contains_key(*name)) {
        tracing::warn!("the grant's `env` names {name}, which this pod does not have");
    }
    for destination in grant.egress.destinations() {
        if let Some(why) = destination.never_opens() {
            tracing::warn!("the grant's `egress` names {destination}, which nothing reaches: {why}");
        }
    }
}

/// Says which files a mount of a grant names that its volume does not have.
pub(crate) fn tell_missing_items(mount: &PodInfoMount, volume: &Path) {
    let missing = |item: &&String| !volume.join(item.as_str()).exists();
    for item in mount.items.iter().flatten().filter(missing) {
        let path = mount.mount_path.as_str();
        tracing::warn!("the grant's `podinfo` names the file {item}, which the volume at {path} does not have");
    }
}

/// The variables by which most programs find a proxy, in either case.
const PROXIES: [&str; 3] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];

/// Says that egress goes directly where somebody may expect otherwise: behind a proxy, whose look-up is its own, nobody
/// could check where a granted name leads.
fn tell_unused_proxy(grant: &Grant, variables: &Variables) {
    let set = |name: &str| variables.get(name).is_some_and(|value| !value.is_empty());
    let found = PROXIES.into_iter().find(|name| set(name) || set(&name.to_ascii_lowercase()));
    if let Some(name) = found.filter(|_| !grant.egress.is_empty()) {
        tracing::warn!(
            "{name} is set, and not used: the requests of the grant's `egress` go directly, since it is checked where their names \
             lead. Let this pod reach them directly, or name a gateway of yours in `egress`"
        );
    }
}

const NO_VOLUME: &str = "the grant opens the service-account volume (`credentials`), and a kubeconfig has none: \
                         `attache dev --kubeconfig FILE --pod POD.yaml EXT.wasm` plays a pod that has one";

/// What a person does who has no pod.
pub(crate) const OUTSIDE: &str = "Outside a pod, `attache dev --pod POD.yaml EXT.wasm` plays one";

fn podinfo(pod: &options::Pod, grant: &Grant, variables: &Variables) -> anyhow::Result<PodInfo> {
    let mut builder = PodInfo::builder().variables(variables.clone());
    for (mount, host_path) in grant.podinfo.iter().zip(podinfo_paths(pod, grant)?) {
        tell_missing_items(mount, &host_path);
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
            Some((path, directory))
                if named.insert(path.canonical().to_owned(), PathBuf::from(directory)).is_some() =>
            {
                bail!("--podinfo {said}: {path} is given twice");
            }
            None if only.replace(PathBuf::from(said)).is_some() => {
                bail!("--podinfo {said}: say MOUNTPATH=DIR where there are several")
            }
            _ => {}
        }
    }
    if only.is_some() && grant.podinfo.len() > 1 {
        bail!("--podinfo: the grant mounts {} volumes, so say MOUNTPATH=DIR for each", grant.podinfo.len());
    }
    if only.is_some() && grant.podinfo.is_empty() {
        tracing::warn!(
            "--podinfo is not used: the grant mounts no Downward API volume (`podinfo: {{}}` in its spec does)"
        );
    }
    if let Some(path) =
        named.keys().find(|path| grant.podinfo.iter().all(|mount| mount.mount_path.canonical() != *path))
    {
        bail!("--podinfo {path}=…: the grant mounts nothing there");
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
    paths.collect()
}
