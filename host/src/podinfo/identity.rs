//! Facts that stay as they are while the pod lives, and bounds of its containers.

use std::net::IpAddr;

use super::error::{Fault, PodInfoError};
use super::field::{Bound, Field, Meaning, ResourceField};
use super::reading::{Content, malformed};
use super::record::Variable;
use super::view::Seen;

/// The pod's identity and its node. A fact that is not projected, or that the view does not show, is `None` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `metadata.name`
    pub name: Option<String>,
    /// `metadata.namespace`
    pub namespace: Option<String>,
    /// `metadata.uid`
    pub uid: Option<String>,
    /// `spec.serviceAccountName`
    pub service_account: Option<String>,
    /// `spec.nodeName`
    pub node_name: Option<String>,
    /// `status.podIPs`, or else `status.podIP`: the primary address first. Text that is no IP address is left out.
    pub pod_ips: Vec<String>,
    /// `status.hostIPs`, or else `status.hostIP`: the primary address first. Text that is no IP address is left out.
    pub host_ips: Vec<String>,
}

impl Identity {
    /// Returns the identity that is visible through `seen`. A file takes precedence over a variable. An unreadable file
    /// is an error only if no variable has the same fact.
    pub(super) fn seen(seen: Seen<'_>) -> Result<Self, PodInfoError> {
        Ok(Self {
            name: text(seen, &Field::Name)?,
            namespace: text(seen, &Field::Namespace)?,
            uid: text(seen, &Field::Uid)?,
            service_account: text(seen, &Field::ServiceAccount)?,
            node_name: text(seen, &Field::NodeName)?,
            pod_ips: addresses(seen, &Field::PodIps, &Field::PodIp)?,
            host_ips: addresses(seen, &Field::HostIps, &Field::HostIp)?,
        })
    }
}

/// Returns the value of a field that is one word. An empty value is `None`: no pod has an empty name or address.
fn text(seen: Seen<'_>, field: &Field) -> Result<Option<String>, PodInfoError> {
    let wanted = |meaning: &Meaning| matches!(meaning, Meaning::Field(projected) if projected == field);
    first(
        seen,
        |meaning| wanted(meaning).then_some(()),
        |(), text, _| {
            let word = text.trim();
            Ok((!word.is_empty()).then(|| word.to_owned()))
        },
    )
}

fn addresses(seen: Seen<'_>, all: &Field, primary: &Field) -> Result<Vec<String>, PodInfoError> {
    let Some(list) = text(seen, all)?.or(text(seen, primary)?) else {
        return Ok(Vec::new());
    };
    let addresses = list.split(',').map(str::trim).filter(|address| address.parse::<IpAddr>().is_ok());
    Ok(addresses.map(str::to_owned).collect())
}

/// Returns a projected bound of a container: millicores for CPU, bytes for all else.
pub(super) fn bound<'a>(seen: Seen<'a>, container: &str, field: &ResourceField) -> Result<Option<u64>, PodInfoError> {
    let wanted = |meaning: &'a Meaning| match meaning {
        Meaning::Resource(bound) => (bound.field == *field && is_of(seen, bound, container)).then_some(bound),
        Meaning::Field(_) => None,
    };
    first(seen, wanted, |bound, text, origin| {
        let number = text.trim().parse::<u64>().map_err(|_| origin.malformed(Fault::NotANumber))?;
        bound.scaled(number).map(Some).ok_or_else(|| origin.malformed(Fault::Overflow))
    })
}

/// Returns whether a bound belongs to the requested container. The empty name is the own container. While the name of
/// the own container is not known, only the empty name finds its bounds: a number of the wrong container is worse than
/// none.
fn is_of(seen: Seen<'_>, bound: &Bound, container: &str) -> bool {
    let own = seen.sources.container.as_deref();
    let asked = if container.is_empty() { own } else { Some(container) };
    bound.container.as_deref().or(own) == asked
}

/// The origin of a text.
enum Origin<'a> {
    File(&'a crate::volume::RelativePath),
    Variable(&'a Variable),
}

impl Origin<'_> {
    fn malformed(&self, fault: Fault) -> PodInfoError {
        match self {
            Self::File(path) => malformed(path, fault),
            Self::Variable(variable) => {
                PodInfoError::Malformed { origin: format!("variable {}", variable.name), fault }
            }
        }
    }
}

/// Returns the first good value for which `wanted` returns something, files before variables. Without one, returns the
/// first error.
fn first<'a, W, T>(
    seen: Seen<'a>,
    wanted: impl Fn(&'a Meaning) -> Option<W>,
    read: impl Fn(W, &str, &Origin<'a>) -> Result<Option<T>, PodInfoError>,
) -> Result<Option<T>, PodInfoError> {
    let files = seen.files().filter_map(|(index, path, meaning)| {
        let wanted = wanted(meaning)?;
        Some(match seen.reading.get(index) {
            Ok(Some(Content::Text(text))) => read(wanted, text, &Origin::File(path)),
            Ok(_) => Ok(None),
            Err(error) => Err(error),
        })
    });
    let variables = seen
        .variables()
        .filter_map(|variable| Some(read(wanted(&variable.meaning)?, &variable.value, &Origin::Variable(variable))));
    let mut failed = None;
    for value in files.chain(variables) {
        match value {
            Ok(None) => {}
            Ok(Some(value)) => return Ok(Some(value)),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    failed.map_or(Ok(None), Err)
}
