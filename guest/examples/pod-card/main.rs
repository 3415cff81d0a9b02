//! Prints everything that the grant opens about the pod, as a card.
//!
//! ```text
//! pod-card [--podinfo DIR] [--container NAME…]
//! ```
//!
//! The metadata comes from the host's interface, files and environment from `std`. The jobs, deployments and pods of
//! the namespace come from the Kubernetes API. A refusal is printed in place of its section, and the other sections
//! follow. `--container` names the containers; without it, the names come from the pod's own object.

use std::process::ExitCode;

use attache_guest::pod;

mod card;
mod sections;

use card::Card;

/// The usual mount path of a Downward API volume.
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

/// Returns the pod's namespace, or `default`, as `kubectl` does, if the pod does not project it.
fn namespace(identity: Option<&pod::Identity>) -> String {
    let projected = identity.and_then(|identity| identity.namespace.clone());
    projected.unwrap_or_else(|| "default".into())
}
