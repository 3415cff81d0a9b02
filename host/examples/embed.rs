//! A service with extensions from its customers, which it calls through a WIT world of its own.
//!
//! ```text
//! cargo build --profile guest --target wasm32-wasip2 -p attache-guest --example greeter
//! cargo run -p attache --example embed -- target/wasm32-wasip2/guest/examples/greeter.wasm
//! ```

use attache::extension::{RuntimeBuilder, State};
use attache::podinfo::PodInfo;
use attache::policy::Grant;
use attache::wasmtime::component::HasSelf;
use bindings::example::greeter::guests;

mod bindings {
    attache::wasmtime::component::bindgen!({
        inline: "
            package example:greeter;

            /// The functions that this service offers its extensions.
            interface guests {
                /// Returns the number of earlier visits.
                visits: func(who: string) -> u32;
            }

            world extension {
                import guests;
                export greet: func(who: string) -> string;
            }
        ",
        exports: { default: async },
        require_store_data_send: true,
        wasmtime_crate: attache::wasmtime,
    });
}

attache::world!(bindings::Extension, bindings::ExtensionPre);

/// The data of the service for each call.
struct Visits(u32);

impl guests::Host for Visits {
    fn visits(&mut self, _who: String) -> u32 {
        self.0
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("say which component to run"))?;
    let pod = PodInfo::builder().variables(std::env::vars()).build()?;
    let runtime = RuntimeBuilder::<Visits>::new()
        .offer("example:greeter/guests", |linker| guests::add_to_linker::<_, HasSelf<Visits>>(linker, State::data_mut))
        .pod_info(pod)
        .build()?;
    let grant = Grant::parse(include_str!("greeter.yaml"))?;
    let greeter = runtime.load_file::<bindings::ExtensionPre<_>>(path.as_ref(), grant).await?;
    for visits in 0..3 {
        let done = greeter.call(Visits(visits), async |guest, store| guest.call_greet(store, "Ada").await).await?;
        println!("{}", done.value);
    }
    Ok(())
}
