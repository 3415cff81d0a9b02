//! A service that lets its customers bring extensions: its own WIT world, its own `Linker`, and Attaché added to it as
//! wasmtime-wasi is.
//!
//! ```text
//! cargo build --profile guest --target wasm32-wasip2 -p attache-guest --example greeter
//! cargo run -p attache --example embed -- target/wasm32-wasip2/guest/examples/greeter.wasm
//! ```

use anyhow::Context;
// By another name: the generated bindings have a module `attache` of their own, after the package `attache:pod`.
pub use attache::capability::bindings as pod_interfaces;
use attache::capability::{PodCtx, PodCtxView, PodView};
use attache::engine::{CpuMeter, Engine, EngineSettings, Limiter, screen};
use attache::gate::Gate;
use attache::podinfo::PodInfo;
use attache::policy::{Grant, Limits};
use attache::telemetry::ToTracing;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package example:greeter;

            /// What this service offers its extensions.
            interface guests {
                /// Returns how often somebody has come before.
                visits: func(who: string) -> u32;
            }

            world extension {
                import guests;
                import attache:pod/metadata@0.1.0;
                export greet: func(who: string) -> string;
            }
        ",
        path: "../wit",
        world: "example:greeter/extension",
        exports: { default: async },
        require_store_data_send: true,
        with: {
            "attache:pod": super::pod_interfaces,
            "wasi": wasmtime_wasi::p2::bindings,
        },
    });
}

/// What the service keeps for each instance: its own things, and one field each for WASI and Attaché.
struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    pod: PodCtx,
    limiter: Limiter,
    visits: u32,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl PodView for State {
    fn pod(&mut self) -> PodCtxView<'_> {
        PodCtxView { ctx: &mut self.pod, table: &mut self.table }
    }
}

impl bindings::example::greeter::guests::Host for State {
    fn visits(&mut self, _who: String) -> u32 {
        self.visits
    }
}

/// What this extension may see of the pod: two variables, and nothing of the Kubernetes API.
const GRANT: &str = "
apiVersion: attache.dev/v1alpha1
kind: Grant
metadata: {name: greeter}
spec:
  env: [POD_NAME, POD_NAMESPACE]
";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("say which component to run")?;
    let engine = Engine::new(&EngineSettings::default())?;
    let mut linker = Linker::<State>::new(engine.wasmtime());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    attache::capability::add_to_linker(&mut linker)?;
    bindings::example::greeter::guests::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;

    let component = std::fs::read(&path).with_context(|| format!("cannot read {path}"))?;
    // Before it is compiled in this process.
    screen(&component)?;
    let component = Component::new(engine.wasmtime(), component)?;
    let extension = bindings::ExtensionPre::new(linker.instantiate_pre(&component)?)?;

    // One of each for the process: what the pod knows of itself, and the gate of this extension.
    let grant = Arc::new(Grant::parse(GRANT)?);
    let pod = PodInfo::builder().variables(std::env::vars()).build()?;
    let gate = Gate::new("greeter", Arc::clone(&grant), Arc::new(ToTracing));
    let pod = PodCtx::new(&pod, gate);

    // One of each for every call.
    for visits in 0..3 {
        println!("{}", greet(&engine, &extension, &grant.limits, pod.clone(), visits).await?);
    }
    Ok(())
}

/// Calls the extension once, in an instance of its own, within the limits of its grant.
async fn greet(
    engine: &Engine,
    extension: &bindings::ExtensionPre<State>,
    limits: &Limits,
    pod: PodCtx,
    visits: u32,
) -> anyhow::Result<String> {
    let mut table = ResourceTable::new();
    table.set_max_capacity(usize::try_from(limits.handles)?);
    let limiter = Limiter::new(usize::try_from(limits.memory)?, usize::try_from(limits.table_elements)?);
    let mut store = Store::new(engine.wasmtime(), State { table, wasi: WasiCtx::default(), pod, limiter, visits });
    store.limiter(|state| &mut state.limiter);
    // A guest that spins lets its neighbours run at every tick, and is stopped when its CPU time is spent.
    let turn = engine.take_turns(&mut store, "greeter");
    store.set_hostcall_fuel(usize::try_from(limits.hostcall_bytes)?);
    store.set_max_component_handles(usize::try_from(limits.handles)?);
    let call = Box::pin(async {
        let instance = extension.instantiate_async(&mut store).await?;
        instance.call_greet(&mut store, "Ada").await
    });
    // The deadline covers host calls too.
    let greeting = tokio::time::timeout(limits.deadline, CpuMeter::new(call, limits.cpu, turn)).await???;
    Ok(greeting)
}
