//! Prints all that it is allowed to know about its pod, as a card.
//!
//! ```text
//! pod-card [--podinfo DIR] [--container NAME…]
//! ```
//!
//! Metadata comes through the host's interface, files and environment through plain `std`, and the jobs, deployments
//! and pods of its namespace through the Kubernetes API. What is refused is said in its place, and the rest is
//! printed all the same. Containers whose bounds are to be shown are taken from the pod's own object when it may be
//! read; `--container` names them otherwise.

use std::process::ExitCode;

use attache_guest::pod;

mod card;
mod sections;

use card::Card;

/// Where a pod's Downward API volume is by custom.
const PODINFO: &str = "/etc/podinfo";

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("pod-card: {text}\nusage: pod-card [--podinfo DIR] [--container NAME…]");
            return ExitCode::FAILURE;
        }
    };
    print!("{}", card(&options));
    ExitCode::SUCCESS
}

struct Options {
    podinfo: String,
    containers: Vec<String>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { podinfo: PODINFO.into(), containers: Vec::new() };
        while let Some(flag) = arguments.next() {
            let value = arguments.next();
            match (flag.as_str(), value) {
                ("--podinfo", Some(directory)) => options.podinfo = directory,
                ("--container", Some(name)) => options.containers.push(name),
                ("--podinfo" | "--container", None) => return Err(format!("{flag} needs a value")),
                _ => return Err(format!("unexpected argument `{flag}`")),
            }
        }
        Ok(options)
    }
}

fn card(options: &Options) -> Card {
    let identity = pod::identity();
    let namespace = namespace(identity.as_ref().ok());
    let mut card = Card::default();
    sections::identity(&mut card, &identity);
    sections::labels_and_annotations(&mut card);
    sections::bounds(&mut card, identity.ok(), &options.containers);
    sections::files(&mut card, &options.podinfo);
    sections::environment(&mut card);
    sections::jobs(&mut card, &namespace);
    sections::deployments(&mut card, &namespace);
    sections::pods(&mut card, &namespace);
    card
}

/// The pod's namespace; a pod that does not project it is asked about as `kubectl` would be.
fn namespace(identity: Option<&pod::Identity>) -> String {
    let projected = identity.and_then(|identity| identity.namespace.clone());
    projected.unwrap_or_else(|| "default".into())
}
