//! The guest that attacks, called in one of two ways: as a command, or through an embedder's world and in a session.

use std::time::Duration;

use attache::extension::{
    CallError, Extension, Invocation, LoadError, Outcome, Runtime, SessionEnd, SessionSettings, State, Usage,
};
use attache::policy::{Grant, LimitHit};
use attache::wasmtime::{self, Store};
use wasmtime_wasi::I32Exit;

mod bindings {
    #![allow(unreachable_pub, missing_docs, clippy::all, clippy::pedantic, reason = "generated code")]

    attache::wasmtime::component::bindgen!({
        inline: "
            package example:hostile;

            world attacker {
                export wasi:cli/run@0.2.12;
            }

            package wasi:cli@0.2.12 {
                interface run {
                    run: func() -> result;
                }
            }
        ",
        world: "example:hostile/attacker",
        exports: { default: async },
        require_store_data_send: true,
        wasmtime_crate: attache::wasmtime,
    });
}

attache::world!(bindings::Attacker, bindings::AttackerPre);

/// The service's state of one instance: the number of calls that have returned.
#[derive(Default)]
pub(crate) struct Calls(u32);

type Embedded = Extension<bindings::AttackerPre<State<Calls>>, Calls>;

/// A guest that was loaded to attack.
#[derive(Clone, Debug)]
pub(crate) enum Attacker {
    Command(Extension),
    Embedded(Embedded),
}

/// The result of an attack that the guest itself ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) cpu: Duration,
    pub(crate) memory: usize,
    pub(crate) reached: Option<LimitHit>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self { code: outcome.code, cpu: outcome.cpu, memory: outcome.memory, reached: outcome.reached }
    }
}

impl Ended {
    fn new(code: i32, usage: &Usage) -> Self {
        Self { code, cpu: usage.cpu, memory: usage.memory, reached: usage.reached }
    }
}

/// An extension that an attack is called through.
pub(crate) trait Called {
    async fn called(&self, call: Invocation) -> Result<Ended, CallError>;
}

impl Called for Extension {
    async fn called(&self, call: Invocation) -> Result<Ended, CallError> {
        self.run(call).await.map(Ended::from)
    }
}

impl Called for Attacker {
    async fn called(&self, call: Invocation) -> Result<Ended, CallError> {
        match self {
            Self::Command(extension) => extension.called(call).await,
            Self::Embedded(extension) => in_session(extension, call).await,
        }
    }
}

impl Attacker {
    pub(crate) async fn load(runtime: &Runtime<Calls>, bytes: Vec<u8>, grant: Grant) -> Result<Self, LoadError> {
        runtime.load(bytes, grant).await.map(Self::Embedded)
    }

    pub(crate) async fn run(&self, call: Invocation) -> Result<Ended, CallError> {
        self.called(call).await
    }
}

/// Makes one call of a session. The session ends only if the call fails.
async fn in_session(extension: &Embedded, call: Invocation) -> Result<Ended, CallError> {
    let mut session = extension.session_with(SessionSettings::new(), call, Calls::default()).await?;
    let done = session.call(exit_code).await;
    assert_eq!(session.end(), done.is_err().then_some(SessionEnd::Failed));
    let done = done?;
    assert_eq!(session.data_mut().map(|calls| calls.0), Some(1));
    Ok(Ended::new(done.value, &done.usage))
}

async fn exit_code(guest: &bindings::Attacker, store: &mut Store<State<Calls>>) -> wasmtime::Result<i32> {
    let ran = guest.wasi_cli_run().call_run(&mut *store).await;
    store.data_mut().data_mut().0 += 1;
    match ran {
        Ok(result) => Ok(i32::from(result.is_err())),
        Err(error) => error.downcast_ref::<I32Exit>().map(|exit| exit.0).ok_or(error),
    }
}
