//! Why a kubeconfig is of no use.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::cluster::endpoint::EndpointError;

/// Why a kubeconfig says nothing that a client can be made of. No variant holds a credential.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KubeconfigError {
    /// None of the files is there.
    #[error("no kubeconfig: looked for {}; say --kubeconfig FILE", listed(.looked))]
    NoFile {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// A file cannot be read.
    #[error("cannot read the kubeconfig {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is larger than a kubeconfig can be.
    #[error("the kubeconfig {} is larger than {limit} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The bound, in bytes.
        limit: u64,
    },
    /// A file is no YAML, or a field is not what a kubeconfig has there. What stands there is not repeated.
    #[error("{}:{line}:{column}: this is not how a kubeconfig is written", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
    },
    /// A file holds something else.
    #[error("{} holds a {kind:?} and no Config", file.display())]
    Kind {
        /// The file.
        file: PathBuf,
        /// What it says it is.
        kind: String,
    },
    /// Two entries of one file have one name.
    #[error("{} has two {what}s called {name:?}", file.display())]
    Twice {
        /// The file.
        file: PathBuf,
        /// `cluster`, `user` or `context`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Nothing says which server is meant.
    #[error("the kubeconfig has no current context: say --context, one of {}", names(.known))]
    NoContext {
        /// The contexts that there are.
        known: Vec<String>,
    },
    /// There is no entry of this name.
    #[error("the kubeconfig has no {what} called {name:?}; it has {}", names(.known))]
    Unknown {
        /// `cluster`, `user` or `context`.
        what: &'static str,
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A server's address cannot be used.
    #[error("the server of the cluster {cluster:?} cannot be used")]
    Server {
        /// The cluster.
        cluster: String,
        /// What is wrong with it.
        #[source]
        source: EndpointError,
    },
    /// A field says what is not done here.
    #[error("`{field}` of the {what} {name:?} is not supported: {instead}")]
    Unsupported {
        /// `cluster` or `user`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The field.
        field: &'static str,
        /// What to do in its place.
        instead: &'static str,
    },
    /// A field is missing, says the same thing as another, or is not base64.
    #[error("`{field}` of the {what} {name:?} {fault}")]
    Field {
        /// `cluster` or `user`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        fault: &'static str,
    },
}

/// The most names that an error lists.
const MAX_LISTED: usize = 16;

fn names(known: &[String]) -> String {
    let more = if known.len() > MAX_LISTED { ", …" } else { "" };
    let shown: Vec<_> = known.iter().take(MAX_LISTED).map(|name| format!("{name:?}")).collect();
    if shown.is_empty() { "none".to_owned() } else { format!("{}{more}", shown.join(", ")) }
}

fn listed(files: &[PathBuf]) -> String {
    let shown: Vec<_> = files.iter().take(MAX_LISTED).map(|file| file.display().to_string()).collect();
    if shown.is_empty() { "nothing (HOME is not set)".to_owned() } else { shown.join(", ") }
}
