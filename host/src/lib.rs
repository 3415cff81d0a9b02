//! Runs untrusted WebAssembly extensions inside Kubernetes pods.
//!
//! A host mounts its pod's Downward API files and, where granted, service-account credentials into a WASI sandbox, and
//! offers guests the WIT package `attache:pod`: what the pod knows of itself, and the Kubernetes API. What one guest
//! may see and do is written in its [`Grant`](policy::Grant), and everything else is denied.
//!
//! # Running extensions
//!
//! [`extension`] is the whole mechanism: a [`Runtime`](extension::Runtime) that extensions share, an
//! [`Extension`](extension::Extension) for each component with its grant, and calls with limits that hold.
//!
//! ```no_run
//! use attache::extension::{Invocation, Runtime};
//! use attache::podinfo::PodInfo;
//! use attache::policy::Grant;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let pod = PodInfo::builder().volume("/etc/podinfo").variables(std::env::vars()).build()?;
//! let runtime = Runtime::builder().pod_info(pod).build()?;
//! let grant = Grant::parse(&std::fs::read_to_string("grant.yaml")?)?;
//! let extension = runtime.load_command_file("extension.wasm".as_ref(), grant).await?;
//! let outcome = extension.run(Invocation::new().args(["--once"]).inherit_output()).await?;
//! println!("exit code {}, {:?} of CPU time", outcome.code, outcome.cpu);
//! # Ok(())
//! # }
//! ```
//!
//! # In a service of your own
//!
//! An embedder with a WIT world of its own offers its interfaces by name and calls the exports of the extension, in a
//! fresh instance ([`Extension::call`](extension::Extension::call)) or in a
//! [session](extension::Extension::session). `host/examples/embed.rs` is the whole program.
//!
//! ```
//! mod bindings {
//!     attache::wasmtime::component::bindgen!({
//!         inline: "
//!             package example:greeter;
//!             interface guests { visits: func(who: string) -> u32; }
//!             world extension { import guests; export greet: func(who: string) -> string; }
//!         ",
//!         exports: { default: async },
//!         require_store_data_send: true,
//!         wasmtime_crate: attache::wasmtime,
//!     });
//! }
//! attache::world!(bindings::Extension, bindings::ExtensionPre);
//!
//! use attache::extension::{RuntimeBuilder, State};
//! use attache::policy::Grant;
//! use attache::wasmtime::component::HasSelf;
//! use bindings::example::greeter::guests;
//!
//! struct Visits(u32);
//!
//! impl guests::Host for Visits {
//!     fn visits(&mut self, _who: String) -> u32 {
//!         self.0
//!     }
//! }
//!
//! # async fn greet() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = RuntimeBuilder::<Visits>::new()
//!     .offer("example:greeter/guests", |linker| guests::add_to_linker::<_, HasSelf<Visits>>(linker, State::data_mut))
//!     .build()?;
//! let grant = Grant::nothing("greeter");
//! let greeter = runtime.load_file::<bindings::ExtensionPre<_>>("greeter.wasm".as_ref(), grant).await?;
//! let done = greeter.call(Visits(3), async |guest, store| guest.call_greet(store, "Ada").await).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # With a linker that exists
//!
//! Limits are then the embedder's to enforce: a deadline, [`CpuMeter`](engine::CpuMeter), and all that the store below
//! bounds. [`Extension::call`](extension::Extension::call) forgets none of them.
//!
//! A service that has a `Linker` and a WIT world already adds the interfaces to it, as it adds wasmtime-wasi. Its store
//! holds one [`PodCtx`](capability::PodCtx), and shows where by implementing [`PodView`](capability::PodView):
//!
//! ```
//! use attache::capability::{PodCtx, PodCtxView, PodView};
//! use attache::engine::{Engine, EngineSettings, Limiter};
//! use attache::gate::Gate;
//! use attache::podinfo::PodInfo;
//! use attache::policy::Grant;
//! use attache::telemetry::ToTracing;
//! use std::sync::Arc;
//! use wasmtime::component::{Linker, ResourceTable};
//! use wasmtime::Store;
//! use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
//!
//! struct State {
//!     table: ResourceTable,
//!     wasi: WasiCtx,
//!     pod: PodCtx,
//!     limiter: Limiter,
//!     // …and what the service itself keeps for an instance.
//! }
//!
//! impl WasiView for State {
//!     fn ctx(&mut self) -> WasiCtxView<'_> {
//!         WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
//!     }
//! }
//!
//! impl PodView for State {
//!     fn pod(&mut self) -> PodCtxView<'_> {
//!         PodCtxView { ctx: &mut self.pod, table: &mut self.table }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Once for the process. The engine is configured for pooled instances, epochs and asynchronous host calls.
//! let engine = Engine::new(&EngineSettings::default())?;
//! let mut linker = Linker::<State>::new(engine.wasmtime());
//! wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
//! attache::capability::add_to_linker(&mut linker)?;
//!
//! // Once for each extension: what its grant opens of the pod, and the gate of its requests.
//! let grant = Arc::new(Grant::parse("
//! apiVersion: attache.dev/v1alpha1
//! kind: Grant
//! metadata: {name: greeter}
//! spec: {env: [POD_NAME]}
//! ")?);
//! let pod = PodInfo::builder().variables(std::env::vars()).build()?;
//! let pod = PodCtx::new(&pod, Gate::new("greeter", Arc::clone(&grant), Arc::new(ToTracing)));
//!
//! // Once for each instance.
//! let limits = &grant.limits;
//! let limiter = Limiter::new(usize::try_from(limits.memory)?, usize::try_from(limits.table_elements)?);
//! let mut table = ResourceTable::new();
//! table.set_max_capacity(usize::try_from(limits.handles)?);
//! let mut store = Store::new(engine.wasmtime(), State { table, wasi: WasiCtx::default(), pod, limiter });
//! store.limiter(|state| &mut state.limiter);
//! store.set_hostcall_fuel(usize::try_from(limits.hostcall_bytes)?);
//! store.set_max_component_handles(usize::try_from(limits.handles)?);
//! let turn = engine.schedule(&mut store, "greeter");
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a request
//!
//! A guest's request is parsed once ([`policy::ApiRequest`]), judged, metered and recorded once ([`gate::Gate`]), and
//! becomes a [`gate::Permit`] that nothing else can make. [`cluster::ApiClient`] sends nothing without one. TLS, token
//! and certificates ([`credentials`]) stay on this side.
//!
//! # The floors
//!
//! The modules stand on floors, and each may use what stands beside it here. `tests/suites/layers.rs` reads this table
//! and fails where the code differs from it.
//!
//! | floor | may use | has |
//! | --- | --- | --- |
//! | `service` | `extension`, `serving`, `cluster`, `gate`, `telemetry`, `podinfo`, `capability` | extensions that a host keeps: triggers, restarts, reloads |
//! | [`extension`] | `capability`, `ambassador`, `cluster`, `gate`, `engine`, `telemetry`, `podinfo`, `credentials` | components with their grants, and calls with all limits |
//! | [`capability`] | `ambassador`, `podinfo`, `cluster`, `gate`, `telemetry` | what a guest imports: `attache:pod`, `wasi:http`, `wasi:filesystem` |
//! | [`ambassador`] | `cluster`, `gate`, `serving`, `telemetry` | plain HTTP on behalf of the API server, for guests and sibling containers |
//! | [`cluster`] | `gate`, `credentials`, `telemetry` | the API client, discovery, watches |
//! | [`serving`] | `telemetry` | HTTP servers on local sockets: listeners, bounds on clients, TLS, a graceful stop |
//! | [`gate`] | `telemetry` | the one judgement of a request, its meters and its record |
//! | [`telemetry`] | | audit records, metrics, throttled logs |
//! | [`podinfo`] | | the pod's Downward API volumes and variables |
//! | [`credentials`] | | tokens, certificates and namespaces of service accounts |
//! | [`engine`] | | wasmtime with limits: CPU turns, compiled artefacts, the compiler process |
//!
//! Below all floors are two crates: [`policy`] (`attache-policy`: grants, API requests, judgement, without I/O) and
//! `attache-base` ([`quantity`], [`volume`], and the text of strangers).
//!
//! # Features
//!
//! - `serve`: [extensions that a host keeps](https://docs.rs/attache/latest/attache/service).
//! - `metrics`: decisions and limits counted for a scraper such as Prometheus
//!   ([`telemetry::Metrics`](https://docs.rs/attache/latest/attache/telemetry/struct.Metrics.html)).
//!
//! The binary `attache` is the crate `attache-cli`; the API server for laptops and tests is `attache-devcluster`.

pub mod ambassador;
pub mod capability;
pub mod cluster;
pub mod credentials;
pub mod engine;
pub mod extension;
pub mod gate;
pub mod podinfo;
#[cfg(feature = "serve")]
pub mod service;
pub mod serving;
pub mod telemetry;

pub use attache_base::{quantity, volume};
pub use attache_policy as policy;
pub use wasmtime;
pub use wasmtime_wasi;
