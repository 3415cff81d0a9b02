//! The `attache` binary: parses, resolves, runs, exits.

mod api_server;
mod args;
mod asker;
mod audit;
mod compile;
#[cfg(feature = "dev")]
mod dev;
mod engine;
mod exit;
mod grants;
mod guest_stderr;
mod inspect;
mod log;
mod metrics;
mod options;
mod pod_volumes;
#[cfg(feature = "dev")]
mod private_file;
mod proxy;
mod record;
mod run;
mod serve;
mod signals;
mod stderr;
mod surroundings;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use args::{Arguments, Command};
use exit::Exit;

/// The time for the last tasks to end.
const LAST_TASKS: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == engine::COMPILER) {
        return attache::engine::compiler_main();
    }
    let arguments = Arguments::parse();
    let exit = begin(arguments).unwrap_or_else(|error| {
        exit::report(&error);
        Exit::before_the_start(&error)
    });
    stderr::end();
    exit.into()
}

fn begin(arguments: Arguments) -> anyhow::Result<Exit> {
    stderr::start()?;
    log::start(&arguments.log)?;
    open_as_many_files_as_allowed();
    let mut builder = match &arguments.command {
        // A proxy only passes data on: on one thread, no data waits for another thread to wake.
        Command::Proxy(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build()?;
    let exit = runtime.block_on(async {
        match arguments.command {
            Command::Run(arguments) => Box::pin(run::run(arguments)).await,
            #[cfg(feature = "dev")]
            Command::Dev(arguments) => Box::pin(dev::dev(arguments)).await,
            Command::Inspect(arguments) => Box::pin(inspect::inspect(arguments)).await,
            Command::Compile(arguments) => Box::pin(compile::compile(arguments)).await,
            Command::Serve(arguments) => Box::pin(serve::serve(arguments)).await,
            Command::Check(arguments) => Box::pin(serve::check(arguments)).await,
            Command::Proxy(arguments) => Box::pin(proxy::proxy(arguments)).await,
        }
    });
    // Running tasks are dropped, and recorded. An abandoned read of stdin holds a thread that cannot be joined.
    runtime.shutdown_timeout(LAST_TASKS);
    audit::end();
    log::end();
    exit
}

/// Raises the limit of open files to the system's maximum, as Go programs do at their start. Many systems start with
/// 1024, and the handles of one guest would use them up for all.
fn open_as_many_files_as_allowed() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::info!(%error, "the number of open files stays as it is");
    }
}
