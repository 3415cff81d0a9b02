//! A service that keeps one instance of an extension and serves calls to it over a channel: from many tasks, one call
//! after another, with a new instance after a failure.
//!
//! ```text
//! cargo build --profile guest --target wasm32-wasip2 -p attache-guest --example greeter
//! cargo run -p attache --example session -- target/wasm32-wasip2/guest/examples/greeter.wasm
//! ```

use attache::extension::{CallError, Extension, RuntimeBuilder, Session, State};
use attache::policy::Grant;
use attache::wasmtime::component::HasSelf;
use bindings::example::greeter::guests;
use tokio::sync::{mpsc, oneshot};

mod bindings {
    attache::wasmtime::component::bindgen!({
        inline: "
            package example:greeter;
            interface guests { visits: func(who: string) -> u32; }
            world extension { import guests; export greet: func(who: string) -> string; }
        ",
        exports: { default: async },
        require_store_data_send: true,
        wasmtime_crate: attache::wasmtime,
    });
}

attache::world!(bindings::Extension, bindings::ExtensionPre);

/// The data of the service for the lifetime of an instance.
#[derive(Default)]
struct Visits(u32);

impl guests::Host for Visits {
    fn visits(&mut self, _who: String) -> u32 {
        self.0 += 1;
        self.0
    }
}

type Greeter = Extension<bindings::ExtensionPre<State<Visits>>, Visits>;
type Calls = mpsc::Receiver<(String, oneshot::Sender<Result<String, CallError>>)>;

/// Serves calls until no sender is left.
async fn serve(greeter: Greeter, mut calls: Calls) -> Result<(), CallError> {
    let mut session: Session<_, _> = greeter.session(Visits::default()).await?;
    while let Some((name, answer)) = calls.recv().await {
        if session.end().is_some() {
            drop(session);
            session = greeter.session(Visits::default()).await?;
        }
        let done = session.call(async |guest, store| guest.call_greet(store, &name).await).await;
        // The caller may be gone.
        let _ = answer.send(done.map(|done| done.value));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("say which component to run"))?;
    let runtime = RuntimeBuilder::<Visits>::new()
        .offer("example:greeter/guests", |linker| guests::add_to_linker::<_, HasSelf<Visits>>(linker, State::data_mut))
        .build()?;
    let grant = Grant::parse(include_str!("greeter.yaml"))?;
    let greeter = runtime.load_file(path.as_ref(), grant).await?;
    let (sender, calls) = mpsc::channel(16);
    let serving = tokio::spawn(serve(greeter, calls));
    let mut callers = tokio::task::JoinSet::new();
    for name in ["Ada", "Grace", "Edsger"] {
        let sender = sender.clone();
        callers.spawn(async move {
            let (answer, answered) = oneshot::channel();
            sender.send((name.to_owned(), answer)).await?;
            anyhow::Ok(answered.await??)
        });
    }
    drop(sender);
    while let Some(greeting) = callers.join_next().await {
        println!("{}", greeting??);
    }
    serving.await??;
    Ok(())
}
