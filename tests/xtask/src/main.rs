//! The tasks of the workspace: `cargo xtask --help`.

mod demo;
mod progress;

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};
use attache_built::clients;
use attache_built::guests::{self, Guests};
use attache_built::kubectl;
use attache_built::languages::{Example, Language};
use attache_built::programs::{self, Programs};
use clap::{Parser, Subcommand};

/// The tasks of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds the guests, then runs all tests.
    Test {
        /// For `cargo test`, such as `--package attache` or `-- --nocapture`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Builds the guests and prints where they are and how large.
    Guests,
    /// Fetches the tools for guests in Python and JavaScript into `target`, and builds those guests.
    Languages,
    /// Fetches the clients in Python that take steps against the devcluster into `target`.
    Clients,
    /// Fetches kubectl from Debian's package into `target`, unless one is installed.
    Kubectl,
    /// Runs an extension in a pod of a devcluster and changes the pod under it.
    Demo,
    /// Builds the guests, then runs the benches of the host.
    Bench {
        /// For `cargo bench`, such as `--bench calls` or `-- --quick`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Languages => return languages(),
        Task::Clients => return progress::during("fetching the clients in Python", |line| clients::fetch(line)),
        Task::Kubectl => return progress::during("looking for kubectl", |line| kubectl::fetch(line)),
        _ => {}
    }
    let guests = built_guests()?;
    match task {
        Task::Test { arguments } => {
            let mut test = cargo_with(&guests, &["test", "--workspace"], &arguments);
            run_to_end(test.env(programs::PREBUILT, built_programs()?.folder()))
        }
        Task::Guests => list(&guests),
        Task::Languages | Task::Clients | Task::Kubectl => Ok(()),
        Task::Demo => demo::run(&guests, &built_programs()?),
        Task::Bench { arguments } => {
            run_to_end(&mut cargo_with(&guests, &["bench", "--package", "attache"], &arguments))
        }
    }
}

/// Builds the guests, and fetches what they need for that.
fn built_guests() -> Result<Guests> {
    if !guests::target_is_installed()? {
        let mut rustup = Command::new("rustup");
        rustup.args(["target", "add", guests::TARGET]).current_dir(guests::workspace());
        let task = format!("adding the target {}", guests::TARGET);
        progress::during(&task, |line| guests::watch(&mut rustup, line))
            .context("guests need it; install it as you installed Rust")?;
    }
    progress::during("building the guests", |line| Guests::build(line))
}

fn list(guests: &Guests) -> Result<()> {
    for name in guests::names()? {
        let path = guests.path(&name)?;
        let kilobytes = path.metadata()?.len().div_ceil(1000);
        println!("{name:16} {kilobytes:>4} kB  {}", path.display());
    }
    Ok(())
}

fn languages() -> Result<()> {
    for language in Language::ALL {
        let name = language.name();
        progress::during(&format!("fetching the tool for guests in {name}"), |line| language.fetch(line))?;
    }
    for example in Example::ALL {
        let built = progress::during(&format!("building {}", example.name), |_| example.build())?;
        println!("{:16} {:>4} kB  {}", example.name, built.metadata()?.len().div_ceil(1000), built.display());
    }
    Ok(())
}

fn built_programs() -> Result<Programs> {
    progress::during("building attache", |line| Programs::build(line))
}

/// Returns cargo with the variable that names the folder of built guests.
fn cargo_with(guests: &Guests, task: &[&str], arguments: &[OsString]) -> Command {
    let mut command = guests::cargo();
    command.args(task).args(arguments);
    command.env(guests::PREBUILT, guests.folder());
    command
}

fn run_to_end(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot start cargo")?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}
