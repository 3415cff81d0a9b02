//! The quantities of an object. The server parses them before it judges anything: a bad one is a 400.

use attache_base::quantity::{Quantity, QuantityError};
use serde_json::Value;

use super::cause::Field;
use super::pod_spec_path;

/// An object that cannot be decoded as its type. It is printed as the server's 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} in version {version:?} cannot be handled as a {kind}: {source}")]
pub struct Undecodable {
    /// The kind of the object.
    pub kind: String,
    /// The version of the object, without the group.
    pub version: String,
    /// The path of the value.
    pub at: String,
    /// The error of the quantity.
    pub source: QuantityError,
}

/// Checks all quantities in the pod's spec of an object.
///
/// # Errors
/// [`Undecodable`] for the first invalid quantity, with the message of the server's 400.
pub fn decodable(object: &Value) -> Result<(), Undecodable> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let Some(path) = pod_spec_path(text("kind")) else { return Ok(()) };
    let spec = object.pointer(&format!("/{}", path.replace('.', "/"))).unwrap_or(&Value::Null);
    let version = text("apiVersion").rsplit('/').next().unwrap_or_default();
    let undecodable = |(at, source)| Undecodable { kind: text("kind").into(), version: version.into(), at, source };
    all(&Field::new(spec, path)).iter().try_for_each(parse).map_err(undecodable)
}

fn parse(field: &Field<'_>) -> Result<(), (String, QuantityError)> {
    let parsed = match field.value {
        Value::String(text) => text.trim().parse::<Quantity>().map(drop),
        Value::Number(number) => number.to_string().parse::<Quantity>().map(drop),
        Value::Null => Ok(()),
        _ => Err(QuantityError::Format),
    };
    parsed.map_err(|error| (field.at().to_owned(), error))
}

/// Returns every field of a pod's spec that is a quantity.
fn all<'a>(spec: &Field<'a>) -> Vec<Field<'a>> {
    let mut found = Vec::new();
    for volume in spec.child("volumes").items() {
        found.push(volume.child("emptyDir").child("sizeLimit"));
        found.extend(divisors(&volume.child("downwardAPI").child("items")));
        for source in volume.child("projected").child("sources").items() {
            found.extend(divisors(&source.child("downwardAPI").child("items")));
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in spec.child(list).items() {
            found.extend(container.child("env").items().iter().map(|variable| divisor(&variable.child("valueFrom"))));
            found.extend(resources(&container.child("resources")));
        }
    }
    found.extend(resources(&spec.child("resources")));
    found.extend(entries(&spec.child("overhead")));
    found
}

fn divisors<'a>(items: &Field<'a>) -> Vec<Field<'a>> {
    items.items().iter().map(divisor).collect()
}

fn divisor<'a>(holder: &Field<'a>) -> Field<'a> {
    holder.child("resourceFieldRef").child("divisor")
}

fn resources<'a>(field: &Field<'a>) -> Vec<Field<'a>> {
    let mut found = entries(&field.child("limits"));
    found.extend(entries(&field.child("requests")));
    found
}

fn entries<'a>(list: &Field<'a>) -> Vec<Field<'a>> {
    let names = list.value.as_object().into_iter().flat_map(serde_json::Map::keys);
    names.map(|name| list.child(name)).collect()
}
