//! The `attache` binary: parses, resolves, runs, exits.

mod api_server;
mod args;
mod compile;
#[cfg(feature = "dev")]
mod dev;
mod exit;
mod guest_stderr;
mod inspect;
mod log;
mod metrics;
mod options;
#[cfg(feature = "dev")]
mod private_file;
mod proxy;
mod record;
mod run;
mod serve;
mod settings;
mod signals;
mod stderr;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use args::{Arguments, Command};
use exit::Exit;

/// How long what still runs may take to end.
const LAST_TASKS: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == settings::COMPILER) {
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
    settings::open_as_many_files_as_allowed();
    let mut builder = match &arguments.command {
        // All that a proxy does is to pass on what comes: on one thread no piece of it waits for another thread to
        // wake.
        Command::Proxy(_) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build()?;
    let exit = runtime.block_on(async {
        match arguments.command {
            Command::Run(arguments) => run::run(arguments).await,
            #[cfg(feature = "dev")]
            Command::Dev(arguments) => dev::dev(arguments).await,
            Command::Inspect(arguments) => inspect::inspect(arguments).await,
            Command::Compile(arguments) => compile::compile(arguments).await,
            Command::Serve(arguments) => Box::pin(serve::serve(arguments)).await,
            Command::Check(arguments) => Box::pin(serve::check(arguments)).await,
            Command::Proxy(arguments) => proxy::proxy(arguments).await,
        }
    });
    // What still runs is dropped, and recorded. A read of stdin that nobody waits for any more holds a thread that
    // cannot be joined.
    runtime.shutdown_timeout(LAST_TASKS);
    settings::end_audit();
    log::end();
    exit
}
