//! Which of a component's imports its grant opens.
//!
//! Question: may this component be linked at all? A component that imports what its grant does not open is refused
//! before it runs, so that its operator hears of it then and not at the first call.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::policy::Grant;
use crate::telemetry::legible_name;

/// The packages of WASI that every guest is given. They hold no power by themselves: no directory, no variable and no
/// address is open unless the grant names it, and sockets and name look-ups stay refused whatever it names.
const WASI: [&str; 6] = ["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

pub(super) const METADATA: &str = "attache:pod/metadata";
pub(super) const API: &str = "attache:pod/api";
pub(super) const OUTGOING: &str = "wasi:http/outgoing-handler";
/// The types of requests and answers, which hold no power by themselves.
const HTTP_TYPES: &str = "wasi:http/types";

/// How an import stands against the host and the grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "standing", content = "needs")]
pub enum ImportStatus {
    /// The host offers it and the grant opens it.
    Granted,
    /// The host offers it, but the grant would need this.
    Lacks(String),
    /// This host has no such interface.
    Unknown,
}

/// One import of a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Such as `attache:pod/api@0.1.0`, as the component has it: line breaks and all.
    pub name: String,
    /// Whether it is granted.
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

    /// Its name without the version.
    pub fn interface(&self) -> &str {
        self.name.split_once('@').map_or(&self.name, |(interface, _version)| interface)
    }

    /// Says what stands in the way, for an operator and within one line; `None` when nothing does. The name is the
    /// guest's own text, so here it is escaped and cut.
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
