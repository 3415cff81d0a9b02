//! The error of a kubeconfig.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::cluster::endpoint::EndpointError;

/// A kubeconfig that makes no client. No variant holds a credential.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KubeconfigError {
    /// All files are missing.
    #[error("no kubeconfig: looked for {}; say --kubeconfig FILE", listed(.looked))]
    NoFile {
        /// The paths that were tried.
        looked: Vec<PathBuf>,
    },
    /// A file cannot be read.
    #[error("cannot read the kubeconfig {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The error of the system.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any kubeconfig.
    #[error("the kubeconfig {} is larger than {limit} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The bound, in bytes.
        limit: u64,
    },
    /// A file is no YAML, or a field has the wrong type. The error does not repeat the content.
    #[error("{}:{line}:{column}: this is not how a kubeconfig is written", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column, from 1.
        column: u64,
    },
    /// A file holds an object of another kind.
    #[error("{} holds a {kind:?} and no Config", file.display())]
    Kind {
        /// The file.
        file: PathBuf,
        /// The kind in the file.
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
    /// There is no current context and no choice.
    #[error("the kubeconfig has no current context: say --context, one of {}", names(.known))]
    NoContext {
        /// The contexts in the files.
        known: Vec<String>,
    },
    /// There is no entry of this name.
    #[error("the kubeconfig has no {what} called {name:?}; it has {}", names(.known))]
    Unknown {
        /// `cluster`, `user` or `context`.
        what: &'static str,
        /// The name.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A server's address cannot be used.
    #[error("the server of the cluster {cluster:?} cannot be used")]
    Server {
        /// The cluster.
        cluster: String,
        /// The fault of the address.
        #[source]
        source: EndpointError,
    },
    /// A field is not supported.
    #[error("`{field}` of the {what} {name:?} is not supported: {instead}")]
    Unsupported {
        /// `cluster` or `user`.
        what: &'static str,
        /// The name of the entry.
        name: String,
        /// The field.
        field: &'static str,
        /// The replacement.
        instead: &'static str,
    },
    /// A field is missing, is there in both forms, or is not base64.
    #[error("`{field}` of the {what} {name:?} {fault}")]
    Field {
        /// `cluster` or `user`.
        what: &'static str,
        /// The name of the entry.
        name: String,
        /// The field.
        field: &'static str,
        /// The fault of the field.
        fault: &'static str,
    },
}

/// The most names in an error.
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
