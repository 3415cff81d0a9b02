//! The OpenAPI documents, as far as `kubectl explain` and kubectl's own checks read them.
//!
//! The fields come from the table of types, and from the definitions of custom types. Built-in fields have no
//! descriptions. There is no `requestBody`, so clients check bodies and make patches by their own knowledge.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::model::resources::Type;
use crate::model::types::{self, Merged, Shape, Struct};
use crate::server::api::Api;
use crate::server::discovery::Discovery;
use crate::wire::answer::Answer;
use crate::wire::request::Query;

/// The path of schemas in a document.
const SCHEMAS: &str = "#/components/schemas/";

impl Api {
    /// Returns the document or index at the rest of the path, if there is one.
    pub(crate) fn openapi(&self, rest: &[&str], query: &Query) -> Option<Answer> {
        let discovery = self.discovered();
        match rest {
            ["v2"] => Some(Answer::json(200, v2())),
            ["v3"] => Some(Answer::json(200, index(&discovery))),
            ["v3", "api", version] => types(&discovery, "", version),
            ["v3", "apis", group, version] => types(&discovery, group, version),
            ["v3", ..] if query.has("hash") => Some(Answer::json(200, document(Map::new(), Map::new()))),
            _ => None,
        }
    }
}

fn v2() -> String {
    json!({"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": {}, "definitions": {}})
        .to_string()
}

fn index(discovery: &Discovery) -> String {
    let mut paths = Map::new();
    let mut add = |path: String| {
        let hash = hex::encode_upper(Sha256::digest(format!("{path} {}", discovery.generation)));
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    };
    for path in [".well-known/openid-configuration", "api", "apis", "openid/v1/jwks", "version"] {
        add(path.to_owned());
    }
    for group in &discovery.groups {
        let root = if group.name.is_empty() { "api".to_owned() } else { format!("apis/{}", group.name) };
        add(root.clone());
        group.versions.iter().for_each(|(version, _)| add(format!("{root}/{version}")));
    }
    json!({"paths": paths}).to_string()
}

fn document(paths: Map<String, Value>, schemas: Map<String, Value>) -> String {
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": paths,
           "components": {"schemas": schemas}})
    .to_string()
}

fn types(discovery: &Discovery, group: &str, version: &str) -> Option<Answer> {
    let found = discovery.group(group)?;
    let (_, types) = found.versions.iter().find(|(name, _)| name == version)?;
    let root = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
    let parameter =
        |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let parameters: Vec<Value> =
        ["dryRun", "fieldManager", "fieldValidation", "force"].iter().map(|name| parameter(name)).collect();
    let (mut paths, mut schemas) = (Map::new(), Schemas::default());
    for of in types {
        schemas.add_type(of);
        let place = if of.namespaced { "/namespaces/{namespace}" } else { "" };
        let kind = kind(of);
        let operation = |action: &str| {
            json!({"parameters": parameters, "x-kubernetes-action": action,
                   "x-kubernetes-group-version-kind": kind, "responses": {"200": {"description": "OK"}}})
        };
        let collection = format!("{root}/{version}{place}/{}", of.plural);
        if of.stored() {
            let one = json!({"patch": operation("patch"), "put": operation("put")});
            paths.insert(format!("{collection}/{{name}}"), one);
        }
        paths.insert(collection, json!({"post": operation("post")}));
    }
    Some(Answer::json(200, document(paths, schemas.written)))
}

fn kind(of: &Type) -> Value {
    json!({"group": of.group, "version": of.version, "kind": of.kind})
}

/// The schemas of one document.
#[derive(Default)]
struct Schemas {
    written: Map<String, Value>,
}

impl Schemas {
    fn add_type(&mut self, of: &Type) {
        let mut schema = match &of.custom {
            Some(custom) => {
                self.add_struct("ObjectMeta");
                let mut schema = custom.schema.clone();
                schema["properties"]["metadata"] = reference("ObjectMeta");
                schema
            }
            None => {
                types::of_kind(&of.api_version(), &of.kind).map(|(_, known)| self.fields(known)).unwrap_or_default()
            }
        };
        if schema.is_null() {
            schema = json!({"type": "object"});
        }
        for name in ["apiVersion", "kind"] {
            schema["properties"][name] = json!({"type": "string"});
        }
        schema["x-kubernetes-group-version-kind"] = json!([kind(of)]);
        self.written.insert(format!("{}.{}", of.api_version().replace('/', "."), of.kind), schema);
    }

    /// Adds a struct and the structs of its fields.
    fn add_struct(&mut self, name: &'static str) {
        let key = schema_name(name);
        if self.written.contains_key(&key) {
            return;
        }
        // Added before its fields, since a struct may contain itself.
        self.written.insert(key.clone(), Value::Null);
        let schema = types::named(name).map_or_else(|| json!({"type": "object"}), |known| self.fields(known));
        self.written.insert(key, schema);
    }

    fn fields(&mut self, known: &'static Struct) -> Value {
        let fields: BTreeMap<&str, Value> =
            known.fields.iter().map(|field| (field.name, self.shape(&field.shape))).collect();
        json!({"type": "object", "properties": fields})
    }

    fn shape(&mut self, shape: &'static Shape) -> Value {
        match shape {
            Shape::Scalar(letter) => scalar(*letter),
            Shape::Struct(name) => {
                self.add_struct(name);
                reference(name)
            }
            Shape::Map { item, .. } => json!({"type": "object", "additionalProperties": self.shape(item)}),
            Shape::List { item, merged, patch_key } => {
                let mut schema = json!({"type": "array", "items": self.shape(item)});
                match merged {
                    Merged::Whole => {}
                    Merged::Set => schema["x-kubernetes-list-type"] = "set".into(),
                    Merged::ByKeys(keys) => {
                        schema["x-kubernetes-list-type"] = "map".into();
                        schema["x-kubernetes-list-map-keys"] = json!(keys);
                    }
                }
                if let Some(key) = patch_key {
                    schema["x-kubernetes-patch-strategy"] = "merge".into();
                    if !key.is_empty() {
                        schema["x-kubernetes-patch-merge-key"] = (*key).into();
                    }
                }
                schema
            }
        }
    }
}

fn reference(name: &str) -> Value {
    json!({"allOf": [{"$ref": format!("{SCHEMAS}{}", schema_name(name))}], "default": {}})
}

/// Returns a schema's name. The table writes `Event.core.v1`, but `kubectl explain` shows the last part as the name.
fn schema_name(name: &str) -> String {
    match name.split_once('.') {
        Some((own, place)) => format!("fields.{place}.{own}"),
        None => format!("fields.{name}"),
    }
}

fn scalar(letter: char) -> Value {
    match letter {
        'i' | 'l' => json!({"type": "integer"}),
        'b' => json!({"type": "boolean"}),
        'f' => json!({"type": "number"}),
        'y' => json!({"type": "string", "format": "byte"}),
        't' | 'u' => json!({"type": "string", "format": "date-time"}),
        'x' => json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}),
        'j' => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        _ => json!({"type": "string"}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::resources::built_in;

    #[test]
    fn every_reference_of_every_type_leads_somewhere() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    map.values().for_each(|value| references(value, found));
                }
                Value::Array(list) => list.iter().for_each(|value| references(value, found)),
                _ => {}
            }
        }
        let mut schemas = Schemas::default();
        let types = built_in();
        types.iter().for_each(|of| schemas.add_type(of));
        assert!(schemas.written.values().all(Value::is_object));
        let mut found = Vec::new();
        schemas.written.values().for_each(|schema| references(schema, &mut found));
        assert!(found.len() > types.len());
        for one in found {
            assert!(one.strip_prefix(SCHEMAS).is_some_and(|name| schemas.written.contains_key(name)), "{one}");
        }
        let containers = &schemas.written["fields.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
        assert_eq!(schemas.written["v1.Pod"]["x-kubernetes-group-version-kind"][0]["kind"], "Pod");
    }
}
