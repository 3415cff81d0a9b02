//! The fields of each type, built in or custom, and the way in which their values are merged.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value;

use crate::model::resources::Type;

/// The table of built-in types; its first lines describe the format.
const TABLE: &str = include_str!("types.txt");

/// A struct of the table.
#[derive(Debug)]
pub(crate) struct Struct {
    /// True if a write of any part replaces the whole.
    atomic: bool,
    pub(crate) fields: Vec<Field>,
}

/// A field of a struct.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) presence: Presence,
    pub(crate) shape: Shape,
}

/// The condition under which a server writes a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// The field has content.
    Filled,
    /// The field is set, even without content.
    Set,
    /// The field is in every object that has its struct.
    Always,
}

/// The type of a field's value.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A letter of the table.
    Scalar(char),
    Struct(&'static str),
    List {
        item: Box<Shape>,
        merged: Merged,
        patch_key: Option<&'static str>,
    },
    Map {
        item: Box<Shape>,
        atomic: bool,
    },
}

/// The identity of a list's items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merged {
    /// Items have none: the list is one value.
    Whole,
    /// Items are identified by these fields.
    ByKeys(Vec<&'static str>),
    /// Items are identified by their values.
    Set,
}

#[derive(Debug, Default)]
struct Table {
    structs: HashMap<&'static str, Struct>,
    kinds: HashMap<(&'static str, &'static str), &'static str>,
}

fn table() -> &'static Table {
    static PARSED: OnceLock<Table> = OnceLock::new();
    PARSED.get_or_init(|| {
        let mut table = Table::default();
        for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            match words.next().unwrap_or_default() {
                "@" => {
                    if let [version, kind, name] = words.collect::<Vec<_>>()[..] {
                        table.kinds.insert((version, kind), name);
                    }
                }
                name => {
                    let fields = words.filter_map(|word| word.split_once(':')).map(Field::parse).collect();
                    let parsed = Struct { atomic: name.ends_with('!'), fields };
                    table.structs.insert(name.trim_end_matches('!'), parsed);
                }
            }
        }
        table
    })
}

impl Field {
    fn parse((name, shape): (&'static str, &'static str)) -> Self {
        let (name, presence) = match (name.strip_suffix('+'), name.strip_suffix('?')) {
            (Some(name), _) => (name, Presence::Always),
            (_, Some(name)) => (name, Presence::Set),
            _ => (name, Presence::Filled),
        };
        Self { name, presence, shape: parse(shape) }
    }
}

fn parse(text: &'static str) -> Shape {
    if let Some(rest) = text.strip_prefix('[') {
        let end = rest.find(['@', '#']).unwrap_or(rest.len());
        let (item, flag) = rest.split_at(end);
        let (merged, patch_key) = match flag.strip_prefix('@') {
            Some(keys) => by_keys(keys),
            None if flag == "#" => (Merged::Set, Some("")),
            None => (Merged::Whole, None),
        };
        return Shape::List { item: Box::new(parse(item)), merged, patch_key };
    }
    if let Some(rest) = text.strip_prefix('{') {
        return Shape::Map { item: Box::new(parse(rest.trim_end_matches('!'))), atomic: rest.ends_with('!') };
    }
    match text.strip_prefix('=') {
        Some(name) => Shape::Struct(name),
        None => Shape::Scalar(text.chars().next().unwrap_or('j')),
    }
}

fn by_keys(keys: &'static str) -> (Merged, Option<&'static str>) {
    let (keys, patch) = keys.split_once('|').unwrap_or((keys, keys.split(',').next().unwrap_or_default()));
    let merged = if keys.is_empty() { Merged::Whole } else { Merged::ByKeys(keys.split(',').collect()) };
    (merged, Some(patch))
}

/// Returns the struct of a built-in kind, and its name.
pub(crate) fn of_kind(api_version: &str, kind: &str) -> Option<(&'static str, &'static Struct)> {
    let table = table();
    let name = table.kinds.iter().find(|((version, found), _)| *version == api_version && *found == kind)?.1;
    Some((name, table.structs.get(name)?))
}

/// Returns the struct of that name.
pub(crate) fn named(name: &str) -> Option<&'static Struct> {
    table().structs.get(name)
}

impl Struct {
    pub(crate) fn field(&self, name: &str) -> Option<&Shape> {
        self.fields.iter().find(|field| field.name == name).map(|field| &field.shape)
    }
}

/// The fields of every custom object, whether its schema has them or not.
const OWN: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The type at one path of an object.
#[derive(Debug, Clone, Copy)]
pub(crate) enum TypeRef<'a> {
    /// A part of a built-in type.
    Known(&'a Shape),
    /// The whole of a built-in type.
    Root(&'static Struct),
    /// A part of a custom type, with its structural schema.
    Custom(&'a Value),
    /// The whole of a custom type.
    CustomRoot(&'a Value),
    /// An unknown type.
    Open,
}

/// The way in which two values are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Merging {
    /// One replaces the other.
    Whole,
    /// Field by field.
    Fields,
    /// Item by item. Items are the same if these fields have the same values.
    Items(Vec<String>),
    /// As a set of scalars.
    Set,
}

impl<'a> TypeRef<'a> {
    /// Returns the type of a whole object.
    pub(crate) fn of(of: &'a Type) -> Self {
        match &of.custom {
            Some(custom) => Self::CustomRoot(&custom.schema),
            None => of_kind(&of.api_version(), &of.kind).map_or(Self::Open, |(_, known)| Self::Root(known)),
        }
    }

    /// Returns the type of a struct's field or a map's entry.
    pub(crate) fn field(self, name: &str) -> Self {
        match self {
            Self::Root(of) => of.field(name).map_or(Self::Open, Self::Known),
            Self::Known(Shape::Struct(of)) => named(of).and_then(|of| of.field(name)).map_or(Self::Open, Self::Known),
            Self::Known(Shape::Map { item, .. }) => Self::Known(item),
            Self::CustomRoot(_) if name == "metadata" => named("ObjectMeta").map_or(Self::Open, Self::Root),
            Self::CustomRoot(schema) | Self::Custom(schema) => {
                let found = schema.pointer_field("properties", name).or_else(|| schema.get("additionalProperties"));
                found.map_or(Self::Open, Self::Custom)
            }
            Self::Known(_) | Self::Open => Self::Open,
        }
    }

    /// Returns the type of a list's items.
    pub(crate) fn item(self) -> Self {
        match self {
            Self::Known(Shape::List { item, .. }) => Self::Known(item),
            Self::Custom(schema) => schema.get("items").map_or(Self::Open, Self::Custom),
            _ => Self::Open,
        }
    }

    /// Returns the way in which `value`, which has this type, is merged.
    pub(crate) fn merging(self, value: &Value) -> Merging {
        match (self, value) {
            (Self::Known(Shape::Struct(name)), Value::Object(_)) if named(name).is_some_and(|of| of.atomic) => {
                Merging::Whole
            }
            (Self::Known(Shape::Map { atomic: true, .. } | Shape::Scalar('j')), Value::Object(_)) => Merging::Whole,
            (Self::Custom(schema), Value::Object(_)) if schema["x-kubernetes-map-type"] == "atomic" => Merging::Whole,
            (_, Value::Object(_)) => Merging::Fields,
            (Self::Known(Shape::List { merged: Merged::ByKeys(keys), .. }), Value::Array(_)) => {
                Merging::Items(keys.iter().map(|&key| key.to_owned()).collect())
            }
            (Self::Known(Shape::List { merged: Merged::Set, .. }), Value::Array(_)) => Merging::Set,
            (Self::Custom(schema), Value::Array(_)) => custom_list(schema),
            _ => Merging::Whole,
        }
    }

    /// Returns the key field of a list in strategic merge; the empty text if scalars are merged.
    pub(crate) fn patch_key(self) -> Option<&'a str> {
        match self {
            Self::Known(Shape::List { patch_key, .. }) => *patch_key,
            _ => None,
        }
    }

    /// Returns the struct of this type, if it is in the table.
    pub(crate) fn known_struct(self) -> Option<&'static Struct> {
        match self {
            Self::Root(of) => Some(of),
            Self::Known(Shape::Struct(name)) => named(name),
            _ => None,
        }
    }

    /// Returns whether `name` is a declared field, and not the key of a map.
    pub(crate) fn declares(self, name: &str) -> bool {
        match self {
            Self::Root(_) | Self::Known(_) => self.known_struct().is_some_and(|of| of.field(name).is_some()),
            Self::CustomRoot(schema) => OWN.contains(&name) || schema.pointer_field("properties", name).is_some(),
            Self::Custom(schema) => schema.pointer_field("properties", name).is_some(),
            Self::Open => false,
        }
    }

    /// Returns the default of a key field that a list's item lacks.
    pub(crate) fn default_of(self, name: &str) -> Option<Value> {
        match self {
            Self::Custom(schema) => schema.pointer_field("properties", name)?.get("default").cloned(),
            _ if name == "protocol" => Some("TCP".into()),
            _ => {
                let of = self.known_struct()?;
                let field = of.fields.iter().find(|field| field.name == name)?;
                let nothing = if matches!(field.shape, Shape::Scalar('i')) { Value::from(0) } else { Value::from("") };
                (field.presence == Presence::Always).then_some(nothing)
            }
        }
    }
}

fn custom_list(schema: &Value) -> Merging {
    match schema["x-kubernetes-list-type"].as_str() {
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            Merging::Items(keys.filter_map(Value::as_str).map(str::to_owned).collect())
        }
        Some("set") => Merging::Set,
        _ => Merging::Whole,
    }
}

/// Access to a field of a map in a field.
trait PointerField {
    fn pointer_field(&self, map: &str, name: &str) -> Option<&Value>;
}

impl PointerField for Value {
    fn pointer_field(&self, map: &str, name: &str) -> Option<&Value> {
        self.get(map)?.get(name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_knows_every_type_that_is_served() {
        for of in crate::model::resources::built_in() {
            let found = of_kind(&of.api_version(), &of.kind);
            assert!(found.is_some(), "{} {}", of.api_version(), of.kind);
        }
    }

    #[test]
    fn every_struct_that_is_named_is_there() {
        fn check(shape: &Shape) {
            match shape {
                Shape::Struct(name) => assert!(named(name).is_some(), "{name}"),
                Shape::List { item, .. } | Shape::Map { item, .. } => check(item),
                Shape::Scalar(letter) => assert!("silbfytuqxj".contains(*letter), "{letter}"),
            }
        }
        table().structs.values().flat_map(|of| &of.fields).for_each(|field| check(&field.shape));
    }

    #[test]
    fn lists_are_merged_as_their_types_say() {
        let pod = TypeRef::Root(of_kind("v1", "Pod").unwrap().1);
        let spec = pod.field("spec");
        let list = json!([]);
        assert_eq!(spec.field("containers").merging(&list), Merging::Items(vec!["name".into()]));
        let ports = spec.field("containers").item().field("ports");
        assert_eq!(ports.merging(&list), Merging::Items(vec!["containerPort".into(), "protocol".into()]));
        assert_eq!(ports.patch_key(), Some("containerPort"));
        assert_eq!(spec.field("tolerations").merging(&list), Merging::Whole);
        assert_eq!(pod.field("metadata").field("finalizers").merging(&list), Merging::Set);
        let deployment = TypeRef::Root(of_kind("apps/v1", "Deployment").unwrap().1);
        assert_eq!(deployment.field("spec").field("selector").merging(&json!({})), Merging::Whole);
    }
}
