//! The state that all extensions of a process share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::component::Linker;

use super::scoped::TokenRotation;
use super::state::State;
use crate::ambassador::egress::EgressClient;
use crate::capability;
use crate::cluster::ApiClient;
use crate::engine::{Artefacts, CompilerProcess, Engine, EngineError, EngineSettings};
use crate::gate::HostRate;
use crate::podinfo::{ItemError, PodInfo};
use crate::policy::{Grant, Limits};
use crate::telemetry::{Audit, ToTracing};

/// The reason for which a runtime could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The variables do not hold what a pod's variables hold.
    #[error(transparent)]
    Variables(#[from] ItemError),
    /// The host's own interfaces could not be linked.
    #[error("cannot link the host's interfaces")]
    Link(#[source] wasmtime::Error),
    /// The embedder offered an interface of a package that belongs to the host.
    #[error("cannot offer {name}: interfaces of {own} are the host's own, and grants open them")]
    Offered {
        /// The interface.
        name: String,
        /// The package or namespace of the interface.
        own: &'static str,
    },
}

/// A host for extensions in one pod. Cheap to clone.
///
/// `D` is the embedder's data for each instance; the embedder's own interfaces work on it.
///
/// ```
/// use attache::extension::{Runtime, RuntimeBuilder};
///
/// # fn main() -> Result<(), attache::extension::RuntimeError> {
/// let for_commands: Runtime = Runtime::builder().build()?;
///
/// struct Visits(u32);
/// let for_an_own_world: Runtime<Visits> = RuntimeBuilder::new().engine(for_commands.engine().clone()).build()?;
/// # Ok(())
/// # }
/// ```
pub struct Runtime<D: 'static = ()> {
    pub(super) shared: Arc<Shared>,
    pub(super) linker: Arc<Linker<State<D>>>,
}

impl<D> Clone for Runtime<D> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), linker: Arc::clone(&self.linker) }
    }
}

/// The state that all extensions share, whatever their worlds.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) artefacts: Option<Artefacts>,
    pub(super) compiler: Option<CompilerProcess>,
    pub(super) pod: PodInfo,
    pub(super) service_account: Option<PathBuf>,
    pub(super) rotation: TokenRotation,
    pub(super) variables: BTreeMap<String, String>,
    pub(super) cluster: Option<ApiClient>,
    pub(super) egress: EgressClient,
    pub(super) audit: Arc<dyn Audit>,
    pub(super) rate: Option<HostRate>,
    pub(super) ceiling: Limits,
    /// The names of the embedder's own interfaces, each with or without its version.
    pub(super) offered: BTreeSet<String>,
}

impl Shared {
    /// Returns the grant's limits within the host's ceiling, and logs the limits that are lowered.
    pub(super) fn capped(&self, grant: &Grant) -> Limits {
        let (room, count) = (self.engine.room(), |count: u64| u32::try_from(count).unwrap_or(u32::MAX));
        let engine = self.ceiling.clone().memory(room.largest_memory).instances(self.engine.instances());
        // The limit is for all tables together; the engine bounds each of them.
        let engine = engine.table_elements(count(room.largest_table.saturating_mul(room.tables)));
        let engine = engine.memories(count(room.memories)).core_instances(count(room.core_instances));
        let capped = grant.limits.capped_by(&self.ceiling).capped_by(&engine);
        // A lowered default is not logged, because the grant did not ask for it.
        let (default, mut asked) = (Limits::default(), grant.limits.clone());
        asked.instances = capped.instances;
        if asked.memories == default.memories {
            asked.memories = capped.memories;
        }
        if asked.core_instances == default.core_instances {
            asked.core_instances = capped.core_instances;
        }
        for reached in capped.lower_than(&asked) {
            let (limit, allowed) = (reached.limit.name(), reached.allowed);
            tracing::warn!(extension = grant.name, limit, %allowed, "the grant asks for more than this host allows");
        }
        capped
    }
}

impl<D> std::fmt::Debug for Runtime<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime").field("engine", &self.shared.engine).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Returns a builder of a runtime for commands. By default it has no pod, no API server and no artefacts on disk.
    ///
    /// A runtime with data of the embedder's own begins with [`RuntimeBuilder::new`].
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::new()
    }
}

impl<D> Runtime<D> {
    /// Returns the engine.
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }
}

/// A function that adds an embedder's interface to the linker.
type Offer<D> = Box<dyn FnOnce(&mut Linker<State<D>>) -> wasmtime::Result<()> + Send>;

/// A builder of a [`Runtime`].
///
/// ```
/// use attache::extension::Runtime;
/// use attache::podinfo::PodInfo;
/// use attache::policy::Limits;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pod = PodInfo::builder().variables([("POD_NAME".to_owned(), "web-0".to_owned())]).build()?;
/// let runtime = Runtime::builder().pod_info(pod).ceiling(Limits::ceiling()).build()?;
/// # Ok(())
/// # }
/// ```
pub struct RuntimeBuilder<D: 'static = ()> {
    engine: Option<Engine>,
    artefacts: Option<Artefacts>,
    compiler: Option<CompilerProcess>,
    pod: Option<PodInfo>,
    service_account: Option<PathBuf>,
    rotation: TokenRotation,
    variables: BTreeMap<String, String>,
    cluster: Option<ApiClient>,
    egress: EgressClient,
    audit: Option<Arc<dyn Audit>>,
    rate: Option<HostRate>,
    ceiling: Option<Limits>,
    offers: Vec<(String, Offer<D>)>,
}

impl<D: Send> Default for RuntimeBuilder<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Send> RuntimeBuilder<D> {
    /// Returns a builder with the defaults.
    pub fn new() -> Self {
        Self {
            engine: None,
            artefacts: None,
            compiler: None,
            pod: None,
            service_account: None,
            rotation: TokenRotation::default(),
            variables: BTreeMap::new(),
            cluster: None,
            egress: EgressClient::default(),
            audit: None,
            rate: None,
            ceiling: None,
            offers: Vec::new(),
        }
    }

    /// Offers guests an interface of the embedder's own. `name` is as a component imports it, such as
    /// `example:greeter/guests`, with its version or for every version. `add` adds the interface to the linker.
    ///
    /// Any component may import the interface, whatever its grant says: the embedder judges the calls of guests.
    ///
    /// ```
    /// mod bindings {
    ///     attache::wasmtime::component::bindgen!({
    ///         inline: "
    ///             package example:greeter;
    ///             interface guests { visits: func(who: string) -> u32; }
    ///             world extension { import guests; }
    ///         ",
    ///         require_store_data_send: true,
    ///         wasmtime_crate: attache::wasmtime,
    ///     });
    /// }
    /// use attache::extension::{Runtime, RuntimeBuilder, RuntimeError, State};
    /// use attache::wasmtime::component::HasSelf;
    /// use bindings::example::greeter::guests;
    ///
    /// struct Visits(u32);
    ///
    /// impl guests::Host for Visits {
    ///     fn visits(&mut self, _who: String) -> u32 {
    ///         self.0
    ///     }
    /// }
    ///
    /// fn runtime() -> Result<Runtime<Visits>, RuntimeError> {
    ///     RuntimeBuilder::<Visits>::new()
    ///         .offer("example:greeter/guests", |linker| {
    ///             guests::add_to_linker::<_, HasSelf<Visits>>(linker, State::data_mut)
    ///         })
    ///         .build()
    /// }
    /// # runtime().unwrap();
    /// ```
    #[must_use]
    pub fn offer(
        mut self,
        name: impl Into<String>,
        add: impl FnOnce(&mut Linker<State<D>>) -> wasmtime::Result<()> + Send + 'static,
    ) -> Self {
        self.offers.push((name.into(), Box::new(add)));
        self
    }

    /// Sets the engine; by default the runtime starts one with [`EngineSettings::default`].
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Sets the folder of compiled components; without it each load compiles.
    #[must_use]
    pub fn artefacts(mut self, artefacts: Artefacts) -> Self {
        self.artefacts = Some(artefacts);
        self
    }

    /// Compiles components in a process of its own, which an untrusted component may exhaust or crash. By default they
    /// are compiled in this process.
    #[must_use]
    pub fn compiler(mut self, process: CompilerProcess) -> Self {
        self.compiler = Some(process);
        self
    }

    /// Sets the pod that `metadata` describes, and whose Downward API volumes are mounted for guests with such a grant.
    #[must_use]
    pub fn pod_info(mut self, pod: PodInfo) -> Self {
        self.pod = Some(pod);
        self
    }

    /// Sets the host's directory of the service-account volume, for guests with `credentials: scoped` or `real`.
    #[must_use]
    pub fn service_account(mut self, directory: impl Into<PathBuf>) -> Self {
        self.service_account = Some(directory.into());
        self
    }

    /// Sets the rotation of the tokens of `credentials: scoped`; the default is [`TokenRotation::default`].
    #[must_use]
    pub fn token_rotation(mut self, rotation: TokenRotation) -> Self {
        self.rotation = rotation;
        self
    }

    /// Adds the variables that a grant's `env` picks from, by name.
    #[must_use]
    pub fn variables(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.variables.extend(variables);
        self
    }

    /// Sets the API server for `api`, and for plain HTTP to the API server's names.
    #[must_use]
    pub fn cluster(mut self, cluster: ApiClient) -> Self {
        self.cluster = Some(cluster);
        self
    }

    /// Sets the client for requests that grants allow under `egress`. The default trusts the system's root certificates
    /// and uses its resolver.
    #[must_use]
    pub fn egress(mut self, client: EgressClient) -> Self {
        self.egress = client;
        self
    }

    /// Sets the audit that records every decision; the default is `tracing`, target `attache::audit`.
    #[must_use]
    pub fn audit(mut self, audit: Arc<dyn Audit>) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Sets the maximum rate of requests of all extensions together. By default only the rate of each grant holds. With
    /// the same rate in [`ApiClientSettings::rate`](crate::cluster::ApiClientSettings), the host's own requests count
    /// too.
    #[must_use]
    pub fn rate(mut self, rate: HostRate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Sets the limits that no grant exceeds. The default is [`Limits::ceiling`].
    #[must_use]
    pub fn ceiling(mut self, limits: Limits) -> Self {
        self.ceiling = Some(limits);
        self
    }

    /// Builds the runtime.
    ///
    /// # Errors
    /// Fails if an engine is needed and cannot be started, if the pod's variables are invalid, or if an offered
    /// interface belongs to the host.
    pub fn build(self) -> Result<Runtime<D>, RuntimeError> {
        let engine = match self.engine {
            Some(engine) => engine,
            None => Engine::new(&EngineSettings::default())?,
        };
        let mut linker = linker(&engine).map_err(RuntimeError::Link)?;
        let mut offered = BTreeSet::new();
        for (name, add) in self.offers {
            if let Some(own) = OWN.iter().find(|own| name.starts_with(*own)) {
                return Err(RuntimeError::Offered { name, own });
            }
            add(&mut linker).map_err(RuntimeError::Link)?;
            offered.insert(name);
        }
        let pod = match self.pod {
            Some(pod) => pod,
            None => PodInfo::builder().variables(self.variables.clone()).build()?,
        };
        Ok(Runtime {
            linker: Arc::new(linker),
            shared: Arc::new(Shared {
                engine,
                pod,
                offered,
                artefacts: self.artefacts,
                compiler: self.compiler,
                service_account: self.service_account,
                rotation: self.rotation,
                variables: self.variables,
                cluster: self.cluster,
                egress: self.egress,
                audit: self.audit.unwrap_or_else(|| Arc::new(ToTracing)),
                rate: self.rate,
                ceiling: self.ceiling.unwrap_or_else(Limits::ceiling),
            }),
        })
    }
}

/// The packages that only this host offers.
const OWN: [&str; 2] = ["attache:", "wasi:"];

fn linker<D: Send>(engine: &Engine) -> wasmtime::Result<Linker<State<D>>> {
    let mut linker = Linker::new(engine.wasmtime());
    capability::wasi::add_to_linker(&mut linker)?;
    capability::filesystem::add_to_linker(&mut linker)?;
    capability::add_to_linker(&mut linker)?;
    capability::http::add_to_linker(&mut linker)?;
    Ok(linker)
}
