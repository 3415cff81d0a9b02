//! The imports of a component, judged by its grant.
//!
//! Question: may this component be linked at all? A component that imports what its grant does not open is refused
//! before it runs, so that its operator sees the error at the start and not at the first call.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::policy::Grant;
use crate::telemetry::legible_name;

/// The packages of WASI that every guest gets. They hold no power by themselves: no directory, variable or address is
/// open unless the grant names it. Sockets and name look-ups are refused under any grant.
const WASI: [&str; 6] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

pub(super) const METADATA: &str = "attache:pod/metadata";
pub(super) const API: &str = "attache:pod/api";
pub(super) const OUTGOING: &str = "wasi:http/outgoing-handler";
/// The types of HTTP requests and responses, which hold no power by themselves.
const HTTP_TYPES: &str = "wasi:http/types";

/// The status of an import under the host and the grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "standing", content = "needs")]
pub enum ImportStatus {
    /// The host offers the interface and the grant opens it.
    Granted,
    /// The host offers the interface, but the grant lacks this.
    Lacks(String),
    /// This host has no such interface.
    Unknown,
}

/// One import of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The name, such as `attache:pod/api@0.1.0`, exactly as the component has it, even with line breaks.
    pub name: String,
    /// The status under the grant.
    #[serde(flatten)]
    pub standing: ImportStatus,
}

impl Import {
    /// Judges the import called `name`.
    ///
    /// `offered` are the embedder's own interfaces, each with its version or without.
    pub fn judge(name: &str, grant: &Grant, offered: &BTreeSet<String>) -> Self {
        Self { name: name.to_owned(), standing: standing(name, grant, offered) }
    }

    /// Returns the name without the version.
    pub fn interface(&self) -> &str {
        self.name.split_once('@').map_or(&self.name, |(interface, _version)| interface)
    }

    /// Returns the obstacle for an operator, in one line; `None` if there is none. The name is untrusted text, so it is
    /// escaped and cut.
    pub fn lack(&self) -> Option<String> {
        let name = legible_name(&self.name);
        match &self.standing {
            ImportStatus::Granted => None,
            ImportStatus::Lacks(needs) => Some(format!("imports {name}, which its grant does not open: {needs}")),
            ImportStatus::Unknown => Some(format!("imports {name}, which this host does not have")),
        }
    }
}

fn standing(name: &str, grant: &Grant, offered: &BTreeSet<String>) -> ImportStatus {
    let interface = name.split_once('@').map_or(name, |(interface, _version)| interface);
    match interface {
        METADATA if !grant.podinfo.is_empty() || !grant.env.is_empty() => ImportStatus::Granted,
        METADATA => ImportStatus::Lacks("add `podinfo: {}` or names under `env:` to its spec".to_owned()),
        API if !grant.api.is_empty() => ImportStatus::Granted,
        API => ImportStatus::Lacks("add a rule under `api:` to its spec".to_owned()),
        OUTGOING if !grant.api.is_empty() || !grant.egress.is_empty() => ImportStatus::Granted,
        OUTGOING => {
            ImportStatus::Lacks("add a rule under `api:`, or a destination under `egress:`, to its spec".to_owned())
        }
        HTTP_TYPES => ImportStatus::Granted,
        _ if offered.contains(interface) || offered.contains(name) => ImportStatus::Granted,
        _ if WASI.iter().any(|package| name.starts_with(package)) => ImportStatus::Granted,
        _ => ImportStatus::Unknown,
    }
}
