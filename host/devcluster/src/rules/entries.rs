//! The entries of `metadata.managedFields`: one for each manager, operation and version.

use serde_json::{Value, json};

use crate::rules::fields::Fields;

/// The number of managers with their own entries, a real server's limit. Beyond it, the oldest entries are merged.
pub(super) const UPDATE_MANAGERS: usize = 10;

/// The manager of merged entries.
const ANCIENT: &str = "ancient-changes";

/// The manager, time and path of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) manager: String,
    /// The subresource; empty for the object itself.
    pub(crate) subresource: String,
    pub(crate) api_version: String,
}

/// One manager's entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) writer: Writer,
    pub(crate) apply: bool,
    /// The time of the last write; empty if the manager changed nothing.
    pub(crate) time: String,
    pub(crate) fields: Fields,
}

impl Entry {
    fn parse(value: &Value) -> Self {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let writer =
            Writer { manager: text("manager"), subresource: text("subresource"), api_version: text("apiVersion") };
        Self {
            writer,
            apply: value["operation"] == "Apply",
            time: text("time"),
            fields: Fields::parse(&value["fieldsV1"]),
        }
    }

    fn json(&self) -> Value {
        let mut entry = json!({
            "manager": self.writer.manager,
            "operation": if self.apply { "Apply" } else { "Update" },
            "apiVersion": self.writer.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.json(),
        });
        if !self.time.is_empty() {
            entry["time"] = self.time.as_str().into();
        }
        if !self.writer.subresource.is_empty() {
            entry["subresource"] = self.writer.subresource.as_str().into();
        }
        entry
    }

    /// Returns whether this is the entry of `writer`'s applies. There is one entry for all versions.
    pub(super) fn is_applied_by(&self, writer: &Writer) -> bool {
        self.apply && self.writer.manager == writer.manager && self.writer.subresource == writer.subresource
    }

    /// Returns the manager's name in a conflict.
    pub(crate) fn shown(&self) -> String {
        let Writer { manager, subresource, api_version } = &self.writer;
        let with = if subresource.is_empty() { String::new() } else { format!(" with subresource {subresource:?}") };
        let using = if self.apply { String::new() } else { format!(" using {api_version}") };
        format!("{manager:?}{with}{using}")
    }
}

/// Returns the entries of an object.
pub(crate) fn entries(value: &Value) -> Vec<Entry> {
    value["metadata"]["managedFields"].as_array().into_iter().flatten().map(Entry::parse).collect()
}

/// Sets the entries of an object, in a real server's order.
pub(crate) fn set_entries(value: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    let order = |entry: &Entry| {
        let Writer { manager, subresource, api_version } = entry.writer.clone();
        (!entry.apply, entry.time.clone(), manager, api_version, subresource)
    };
    entries.sort_by_key(order);
    let Some(metadata) = value["metadata"].as_object_mut() else { return };
    if entries.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".into(), entries.iter().map(Entry::json).collect());
    }
}

pub(super) fn join_ancient(entries: &mut Vec<Entry>) {
    while entries.iter().filter(|entry| !entry.apply).count() > UPDATE_MANAGERS {
        let oldest = |entries: &[Entry], skip: usize| {
            let updates = entries.iter().enumerate().filter(|(at, entry)| !entry.apply && *at != skip);
            updates.min_by_key(|(_, entry)| (entry.writer.manager != ANCIENT, entry.time.clone())).map(|(at, _)| at)
        };
        let Some(first) = oldest(entries, usize::MAX) else { return };
        let Some(second) = oldest(entries, first) else { return };
        let joined = entries.remove(second.max(first));
        if let Some(into) = entries.get_mut(second.min(first)) {
            into.fields.add(&joined.fields);
            into.time = into.time.clone().max(joined.time);
            ANCIENT.clone_into(&mut into.writer.manager);
            into.writer.subresource.clear();
        }
    }
}

/// Returns whether the client clears all ownership: an empty list, or one empty entry.
pub(super) fn forgets(value: &Value) -> bool {
    match value["metadata"]["managedFields"].as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(serde_json::Map::is_empty),
        _ => false,
    }
}
