//! The `attache` binary: parses, resolves, runs, exits.

mod args;
mod dev;
mod exit;
mod inspect;
mod run;
mod settings;
mod signals;

use args::{Arguments, Command};
use clap::Parser;
use exit::Exit;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match begin(arguments) {
        Ok(exit) => exit.into(),
        Err(error) => {
            exit::report(&error);
            Exit::Refused.into()
        }
    }
}

fn begin(arguments: Arguments) -> anyhow::Result<Exit> {
    settings::start_log(&arguments.log)?;
    settings::open_as_many_files_as_allowed();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let exit = runtime.block_on(async {
        match arguments.command {
            Command::Run(arguments) => run::run(arguments).await,
            Command::Dev(arguments) => dev::dev(arguments).await,
            Command::Inspect(arguments) => inspect::inspect(arguments).await,
        }
    });
    // A read of stdin that nobody waits for any more holds a thread that cannot be joined.
    runtime.shutdown_background();
    exit
}
