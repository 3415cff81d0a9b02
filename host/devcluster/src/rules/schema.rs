//! The check of objects against the fields of their types. Unknown fields are dropped and reported. Values of the wrong
//! type are refused, in the words of a real server's decoder.

use attache_base::quantity::{Quantity, QuantityError};
use serde_json::Value;

use crate::model::resources::Type;
use crate::model::status::ApiError;
use crate::model::types::{self, Shape, Struct};

/// Drops the fields that the type does not have, and returns warnings about them.
///
/// # Errors
/// 400 for a value of the wrong type, and for an unknown field if the client wants strict validation.
pub(crate) fn check(of: &Type, value: &mut Value, validation: FieldValidation) -> Result<Vec<String>, ApiError> {
    let refused = |why: &str, field: Option<String>| {
        let kind = &of.kind;
        let mut error =
            ApiError::bad_request(format!("{kind} in version {:?} cannot be handled as a {kind}: {why}", of.version));
        error.field = field.map(String::into_boxed_str);
        error
    };
    crate::rules::schema::check_object(&of.kind, value)?;
    let mut walk = Walk { kind: &of.kind, unknown: Vec::new(), fault: None };
    match &of.custom {
        Some(custom) => {
            walk.metadata(value).map_err(|why| refused(&why, walk.fault.take()))?;
            crate::model::custom_schema::prune(&custom.schema, value, &mut walk.unknown);
        }
        None => {
            if let Some((_, shape)) = types::of_kind(&of.api_version(), &of.kind) {
                walk.whole(shape, value).map_err(|why| refused(&why, walk.fault.take()))?;
            }
        }
    }
    let told = unknown(&walk.unknown);
    match validation {
        FieldValidation::Strict if !told.is_empty() => {
            Err(refused(&strictly(&walk.unknown), walk.unknown.into_iter().next()))
        }
        FieldValidation::Ignore => Ok(Vec::new()),
        _ => Ok(told),
    }
}

/// Returns unknown fields in a real server's words, as in warnings.
fn unknown(paths: &[String]) -> Vec<String> {
    paths.iter().map(|path| format!("unknown field {path:?}")).collect()
}

/// Returns the error about unknown fields under strict validation.
fn strictly(paths: &[String]) -> String {
    format!("strict decoding error: {}", unknown(paths).join(", "))
}

/// A value of a built-in type that no server can read, or a field that the type does not have.
pub(crate) struct Misread {
    /// The path of the value, such as `spec.containers[0].env[0].valueFrom.configMapKeyRef.name`.
    pub(crate) field: String,
    /// The message of the server's 400.
    pub(crate) message: String,
}

/// Returns the first value of the wrong type, else the first unknown field. Returns nothing for a type that is not
/// built in.
pub(crate) fn misread(object: &Value) -> Option<Misread> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (kind, version) = (text("kind"), text("apiVersion").rsplit('/').next().unwrap_or_default());
    let (_, shape) = types::of_kind(text("apiVersion"), kind)?;
    let mut walk = Walk { kind, unknown: Vec::new(), fault: None };
    let (field, why) = if let Err(why) = walk.whole(shape, &mut object.clone()) {
        (walk.fault.unwrap_or_default(), why)
    } else {
        let why = strictly(&walk.unknown);
        (walk.unknown.into_iter().next()?, why)
    };
    let message = format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}");
    Some(Misread { field, message })
}

struct Walk<'a> {
    kind: &'a str,
    unknown: Vec<String>,
    /// The path of the unreadable value.
    fault: Option<String>,
}

impl Walk<'_> {
    fn metadata(&mut self, value: &mut Value) -> Result<(), String> {
        match (types::named("ObjectMeta"), value.get_mut("metadata")) {
            (Some(shape), Some(metadata)) => self.object(shape, metadata, "metadata"),
            _ => Ok(()),
        }
    }

    fn whole(&mut self, of: &Struct, value: &mut Value) -> Result<(), String> {
        let Some(map) = value.as_object_mut() else { return Ok(()) };
        let own: Vec<(String, Value)> =
            ["kind", "apiVersion"].iter().filter_map(|name| map.remove_entry(*name)).collect();
        self.object(of, value, "")?;
        if let Some(map) = value.as_object_mut() {
            map.extend(own);
        }
        Ok(())
    }

    fn object(&mut self, of: &Struct, value: &mut Value, path: &str) -> Result<(), String> {
        if value.is_null() {
            return Ok(());
        }
        let Some(map) = value.as_object_mut() else { return Err(self.wrong(value, path, "object")) };
        let names: Vec<String> = map.keys().cloned().collect();
        for name in names {
            let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match (of.field(&name), map.get_mut(&name)) {
                (Some(_), Some(Value::Null)) => _ = map.remove(&name),
                (Some(shape), Some(value)) => self.value(shape, value, &below)?,
                // Whole objects in others, such as a claim's template, may have a type.
                _ if matches!(&*name, "kind" | "apiVersion") && of.field("metadata").is_some() => {}
                _ => {
                    map.remove(&name);
                    self.unknown.push(below);
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, shape: &Shape, value: &mut Value, path: &str) -> Result<(), String> {
        match shape {
            Shape::Scalar(letter) => self.scalar(*letter, value, path),
            Shape::Struct(name) => types::named(name).map_or(Ok(()), |of| self.object(of, value, path)),
            Shape::List { item, .. } => {
                let Some(list) = value.as_array_mut() else { return Err(self.wrong(value, path, "array")) };
                let items = list.iter_mut().enumerate();
                items.into_iter().try_for_each(|(at, value)| self.value(item, value, &format!("{path}[{at}]")))
            }
            Shape::Map { item, .. } => {
                let Some(map) = value.as_object_mut() else { return Err(self.wrong(value, path, "map")) };
                map.iter_mut().try_for_each(|(key, value)| self.value(item, value, &format!("{path}.{key}")))
            }
        }
    }

    fn scalar(&mut self, letter: char, value: &mut Value, path: &str) -> Result<(), String> {
        let fits = match letter {
            's' | 'y' => value.is_string() || value.is_null(),
            'i' | 'l' => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
            'b' => value.is_boolean(),
            'f' => value.is_number(),
            'x' => value.is_string() || value.is_i64(),
            'q' => return self.quantity(value, path),
            't' | 'u' => return self.time(letter == 'u', value, path),
            _ => true,
        };
        let sort = match letter {
            'i' => "int32",
            'l' => "int64",
            'b' => "bool",
            'f' => "float64",
            _ => "string",
        };
        if fits { Ok(()) } else { Err(self.wrong(value, path, sort)) }
    }

    /// Converts a time into its stored form.
    fn time(&mut self, micro: bool, value: &mut Value, path: &str) -> Result<(), String> {
        let Some(text) = value.as_str() else {
            return if value.is_null() { Ok(()) } else { Err(self.wrong(value, path, "string")) };
        };
        let kept = crate::model::times::kept(text, micro).inspect_err(|_| self.fault = Some(path.to_owned()))?;
        *value = kept.into();
        Ok(())
    }

    /// Converts a quantity, which may be a number, into its canonical form.
    fn quantity(&mut self, value: &mut Value, path: &str) -> Result<(), String> {
        let text = match &*value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(self.wrong(value, path, "string")),
        };
        let parsed: Result<Quantity, QuantityError> = text.parse();
        let parsed = parsed.inspect_err(|_| self.fault = Some(path.to_owned()));
        *value = parsed.map_err(|error| error.to_string())?.to_string().into();
        Ok(())
    }

    fn wrong(&mut self, value: &Value, path: &str, wanted: &str) -> String {
        self.fault = Some(path.to_owned());
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let field: String = path
            .split('[')
            .enumerate()
            .map(|(at, part)| if at == 0 { part } else { part.split_once(']').map_or("", |(_, rest)| rest) })
            .collect();
        format!("json: cannot unmarshal {found} into Go struct field {}.{field} of type {wanted}", self.kind)
    }
}

/// The treatment of fields that the type does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl FieldValidation {
    pub(crate) fn of(text: &str) -> Self {
        match text {
            "Strict" => Self::Strict,
            "Ignore" => Self::Ignore,
            _ => Self::Warn,
        }
    }
}

/// Fails with 400 if the value is not an object, since all code behind this sets fields of it.
pub(crate) fn check_object(kind: &str, value: &Value) -> Result<(), ApiError> {
    if value.is_object() {
        return Ok(());
    }
    let message = format!(
        "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: \
         json: cannot unmarshal into Go value of type struct"
    );
    Err(ApiError::bad_request(message))
}
