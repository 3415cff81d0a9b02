//! Field paths and resources, as an API server takes and refuses them.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::{Bound, Field, FieldError, Map, ResourceField};
use crate::quantity::Quantity;

fn label(key: &str) -> Field {
    Field::One(Map::Labels, key.to_owned())
}

fn unknown(path: &str) -> Result<Field, FieldError> {
    Err(FieldError::UnknownField(path.to_owned()))
}

#[test]
fn the_fields_of_files_and_variables() {
    let env_only = |path: &str| Err(FieldError::EnvOnly(path.to_owned()));
    let volume_only = |path: &str| Err(FieldError::VolumeOnly(path.to_owned()));
    let both = |field: Field| (Ok(field.clone()), Ok(field));
    let neither = |path: &str| (unknown(path), unknown(path));
    let table = [
        ("metadata.name", both(Field::Name)),
        ("metadata.namespace", both(Field::Namespace)),
        ("metadata.uid", both(Field::Uid)),
        ("metadata.labels", (Ok(Field::All(Map::Labels)), volume_only("metadata.labels"))),
        ("metadata.annotations", (Ok(Field::All(Map::Annotations)), volume_only("metadata.annotations"))),
        ("metadata.labels['app']", both(label("app"))),
        ("metadata.labels['a.b/c-d']", both(label("a.b/c-d"))),
        ("metadata.annotations['x']", both(Field::One(Map::Annotations, "x".to_owned()))),
        ("spec.serviceAccountName", (env_only("spec.serviceAccountName"), Ok(Field::ServiceAccount))),
        ("spec.nodeName", (env_only("spec.nodeName"), Ok(Field::NodeName))),
        ("status.hostIP", (env_only("status.hostIP"), Ok(Field::HostIp))),
        ("status.hostIPs", (env_only("status.hostIPs"), Ok(Field::HostIps))),
        ("status.podIP", (env_only("status.podIP"), Ok(Field::PodIp))),
        ("status.podIPs", (env_only("status.podIPs"), Ok(Field::PodIps))),
        ("matadata.labels", neither("matadata.labels")),
        ("metadata.generation", neither("metadata.generation")),
        ("metadata.labels['']", neither("metadata.labels['']")),
        ("metadata.labels[app]", neither("metadata.labels[app]")),
        ("metadata.labels['app'", neither("metadata.labels['app'")),
        ("metadata.name['x']", neither("metadata.name['x']")),
        ("", neither("")),
        ("Metadata.Name", neither("Metadata.Name")),
    ];
    for (path, (file, variable)) in table {
        assert_eq!(Field::of_file(path), file, "in a file: {path}");
        assert_eq!(Field::of_variable(path), variable, "in a variable: {path}");
    }
}

#[test]
fn a_subscript_starts_at_the_first_bracket_and_ends_the_path() {
    assert_eq!(Field::of_file("metadata.labels['a']['b']"), Ok(label("a']['b")));
    assert_eq!(Field::of_file("metadata.labels['a'].x"), unknown("metadata.labels['a'].x"));
}

#[test]
fn resources_read_and_print_the_same() {
    let names = ["cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "hugepages-1Gi"];
    for resource in names.iter().flat_map(|name| [format!("requests.{name}"), format!("limits.{name}")]) {
        assert_eq!(resource.parse::<ResourceField>().unwrap().to_string(), resource);
    }
    for resource in ["cpu", "limits.", "limits.storage", "limits.hugepages-", "limits.hugepages-x", "Limits.cpu", ""] {
        let refused = Err(FieldError::UnknownResource(resource.to_owned()));
        assert_eq!(resource.parse::<ResourceField>(), refused);
    }
}

/// Returns the unit of a bound with this divisor, or `None` if the divisor is refused.
fn unit(resource: &str, divisor: &str) -> Option<u64> {
    let divisor: Option<Quantity> = Some(divisor).filter(|text| !text.is_empty()).map(|text| text.parse().unwrap());
    Bound::new(None, resource, divisor.as_ref()).ok().map(|bound| bound.unit)
}

#[test]
fn divisors_are_those_that_kubernetes_allows() {
    let table = [
        ("limits.cpu", "", Some(1000)),
        ("limits.cpu", "0", Some(1000)),
        ("limits.cpu", "1", Some(1000)),
        ("limits.cpu", "1m", Some(1)),
        ("requests.cpu", "1000m", Some(1000)),
        ("limits.cpu", "10m", None),
        ("limits.cpu", "1k", None),
        ("limits.cpu", "-1", None),
        ("limits.memory", "", Some(1)),
        ("limits.memory", "1", Some(1)),
        ("limits.memory", "1k", Some(1_000)),
        ("limits.memory", "1000", Some(1_000)),
        ("limits.memory", "1Ki", Some(1 << 10)),
        ("limits.memory", "1Mi", Some(1 << 20)),
        ("limits.memory", "1M", Some(1_000_000)),
        ("limits.memory", "1Ei", Some(1 << 60)),
        ("requests.ephemeral-storage", "1E", Some(1_000_000_000_000_000_000)),
        ("limits.hugepages-2Mi", "1Gi", Some(1 << 30)),
        ("limits.memory", "1024", None),
        ("limits.memory", "2Mi", None),
        ("limits.memory", "1m", None),
    ];
    for (resource, divisor, expected) in table {
        assert_eq!(unit(resource, divisor), expected, "{resource} by {divisor:?}");
    }
}

proptest! {
    #[test]
    fn a_bound_is_the_exact_product_or_nothing(number: u64, power in 0_u32..=6) {
        let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power as usize];
        let divisor: Quantity = format!("1{suffix}").parse().unwrap();
        let bound = Bound::new(None, "limits.memory", Some(&divisor)).unwrap();
        let exact = num_bigint::BigUint::from(number) * num_bigint::BigUint::from(1024_u32).pow(power);
        prop_assert_eq!(bound.scaled(number), u64::try_from(exact).ok());
    }
}
