//! The selectors of the Downward API: the fields of a pod that env and files may use.

use attache_base::quantity::Quantity;

use super::cause::{Causes, Field};
use super::names;

/// The fields that an env variable may use, besides single labels and annotations; sorted, as the server lists them.
pub const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// The fields that a file may use, besides single labels and annotations; sorted.
pub const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The resource fields, except those of huge pages; sorted.
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// The fields that a selector may name at all. Most of them are not allowed in env and files
/// [`pkg/apis/core/pods/helpers.go`, `ConvertDownwardAPIFieldLabel`].
const LABELS: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];

/// The divisors of byte counts, in canonical form.
const BYTE_DIVISORS: [&str; 13] = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// Splits `metadata.labels['K']` into field and key [`pkg/fieldpath/fieldpath.go`, `SplitMaybeSubscriptedPath`].
pub(crate) fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, key) = path.strip_suffix("']")?.split_once("['")?;
    (!field.is_empty()).then_some((field, key))
}

/// Judges a `fieldRef` against the allowed fields.
pub(super) fn field_ref(selector: &Field<'_>, allowed: &[&str], causes: &mut Causes) {
    let field = selector.child("fieldPath");
    let path = field.text_or_empty();
    let version = selector.child("apiVersion").text().filter(|version| !version.is_empty()).unwrap_or("v1");
    if path.is_empty() {
        causes.required(&field, "");
    } else if let Err(error) = convert(version, path) {
        causes.invalid(&field, path, format!("error converting fieldPath: {error}"));
    } else if let Some((map, key)) = subscript(path) {
        // Annotations are looked up as written, but judged in lower case.
        let judged = if map == "metadata.annotations" { key.to_lowercase() } else { key.to_owned() };
        causes.broken(selector, &judged, names::qualified(&judged));
    } else {
        let path = if path == "spec.host" { "spec.nodeName" } else { path };
        if !allowed.contains(&path) {
            causes.not_supported(&field, path, allowed);
        }
    }
}

fn convert(version: &str, path: &str) -> Result<(), String> {
    if version != "v1" {
        return Err(format!("unsupported pod version: {version}"));
    }
    match subscript(path) {
        Some(("metadata.annotations" | "metadata.labels", _)) => Ok(()),
        Some(_) => Err(format!("field label does not support subscript: {path}")),
        None if LABELS.contains(&path) || path == "spec.host" => Ok(()),
        None => Err(format!("field label not supported: {path}")),
    }
}

/// Judges a `resourceFieldRef`; in a volume it has to name a container.
pub(super) fn resource_field_ref(selector: &Field<'_>, in_volume: bool, causes: &mut Causes) {
    let (container, resource) = (selector.child("containerName"), selector.child("resource"));
    let name = resource.text_or_empty();
    let huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|prefix| name.starts_with(prefix));
    if in_volume && container.text_or_empty().is_empty() {
        causes.required(&container, "");
    } else if name.is_empty() {
        causes.required(&resource, "");
    } else if !RESOURCES.contains(&name) && !huge {
        causes.not_supported(&resource, name, &RESOURCES);
    }
    divisor(&selector.child("divisor"), name, huge, causes);
}

fn divisor(field: &Field<'_>, resource: &str, huge: bool, causes: &mut Causes) {
    let Ok(divisor) = serde_json::from_value::<Quantity>(field.value.clone()) else { return };
    if divisor.is_zero() {
        return;
    }
    let (allowed, what) = match resource.split_once('.').map_or("", |(_, name)| name) {
        "cpu" => (&["1m", "1"][..], "cpu"),
        "memory" => (&BYTE_DIVISORS[..], "memory"),
        "ephemeral-storage" => (&BYTE_DIVISORS[..], "local ephemeral storage"),
        _ if huge => (&BYTE_DIVISORS[..], "hugepages"),
        _ => return,
    };
    if !allowed.contains(&divisor.to_string().as_str()) {
        let rule = format!("only divisor's values {} are supported with the {what} resource", listed(allowed));
        causes.invalid(field, resource, rule);
    }
}

fn listed(values: &[&str]) -> String {
    match values {
        [first, last] => format!("{first} and {last}"),
        many => many.join(", "),
    }
}
