//! Custom types: their maps, sets and lists under several managers, and null in them.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::stage::{Stage, play, told};

/// Runs a test with a custom type, whose objects have a map, a set, a list by keys and a field that may be null.
async fn with_toys(test: impl AsyncFnOnce(&Stage, &str, &str) -> Result<()>) -> Result<()> {
    play(async |stage| {
        let group = format!("{}.example", stage.namespace);
        let name = format!("toys.{group}");
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let text = json!({"type": "string"});
        let item = json!({"type": "object", "required": ["k"], "properties": {"k": text, "v": text}});
        let spec = json!({"type": "object", "properties": {
            "map": {"type": "object", "additionalProperties": text},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": text},
            "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": item},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "none": {"type": "string", "nullable": true},
        }});
        let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
        let definition = json!({"metadata": {"name": name}, "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "toys", "kind": "Toy"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        }});
        stage.done("POST", definitions, definition).await?;
        let (version, toys) = (format!("{group}/v1"), stage.group(&format!("{group}/v1"), "toys"));
        stage.until(200, async || Ok(stage.ask("GET", &toys, Value::Null).await?.status.as_u16())).await?;
        let outcome = test(stage, &version, &toys).await;
        stage.ask("DELETE", &format!("{definitions}/{name}"), Value::Null).await?;
        outcome
    })
    .await
}

/// Applies the toy `t` with this spec.
async fn apply(stage: &Stage, manager: &str, version: &str, toys: &str, spec: Value) -> Result<Value> {
    let toy = json!({"apiVersion": version, "kind": "Toy", "metadata": {"name": "t"}, "spec": spec});
    Ok(stage.patch("apply-patch+yaml", &format!("{toys}/t?fieldManager={manager}"), toy).await?.json())
}

fn owned(value: &Value, manager: &str) -> Value {
    let entries = value["metadata"]["managedFields"].as_array().into_iter().flatten();
    let found = entries.into_iter().find(|entry| entry["manager"] == manager);
    found.map_or(Value::Null, |entry| entry["fieldsV1"]["f:spec"].clone())
}

#[tokio::test]
async fn empty_maps_are_owned_and_empty_sets_and_lists_are_not() -> Result<()> {
    with_toys(async |stage, version, toys| {
        let empty = json!({"map": {}, "set": [], "items": []});
        let value = apply(stage, "one", version, toys, empty.clone()).await?;
        ensure!(value["spec"] == empty && owned(&value, "one") == json!({"f:map": {}}), "{value}");

        // An empty map of a custom type is there, so that a first key changes nothing of it.
        let second = json!({"map": {"b": "1"}, "set": ["b"], "items": [{"k": "b", "v": "1"}]});
        let value = apply(stage, "two", version, toys, second.clone()).await?;
        ensure!(value["spec"] == second, "{value}");

        let filled = json!({"map": {"a": "1"}, "set": ["a"], "items": [{"k": "a"}]});
        let value = apply(stage, "one", version, toys, filled).await?;
        ensure!(value["spec"]["map"] == json!({"a": "1", "b": "1"}) && value["spec"]["set"] == json!(["b", "a"]), "{value}");
        let expected = json!({"f:items": {"k:{\"k\":\"a\"}": {".": {}, "f:k": {}}}, "f:map": {"f:a": {}}, "f:set": {"v:\"a\"": {}}});
        ensure!(owned(&value, "one") == expected, "{value}");

        let value = apply(stage, "one", version, toys, json!({})).await?;
        ensure!(value["spec"] == second, "what one had is gone, what two has stays: {value}");
        ensure!(value["metadata"]["managedFields"][0]["fieldsV1"] == json!({"f:spec": {}}), "{value}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn fields_that_the_schema_does_not_know_are_not_applied() -> Result<()> {
    with_toys(async |stage, version, toys| {
        let refused = apply(stage, "one", version, toys, json!({"unknown": 1})).await?;
        let message = refused["message"].as_str().unwrap_or_default();
        ensure!(
            refused["code"] == 500 && message.ends_with(".spec.unknown: field not declared in schema"),
            "{refused}"
        );
        let twice = apply(stage, "one", version, toys, json!({"items": [{"k": "a"}, {"k": "a"}]})).await?;
        let message = twice["message"].as_str().unwrap_or_default();
        ensure!(twice["code"] == 500 && message.ends_with("duplicate entries for key [k=\"a\"]"), "{twice}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn null_stays_where_the_schema_has_a_place_for_it() -> Result<()> {
    with_toys(async |stage, _, toys| {
        let toy = json!({"metadata": {"name": "t"}, "spec": {"map": null, "none": null, "any": {"x": null}}});
        let mut toy = toy;
        toy["kind"] = "Toy".into();
        toy["apiVersion"] = format!("{}.example/v1", stage.namespace).into();
        let value = stage.done("POST", toys, toy).await?;
        ensure!(value["spec"] == json!({"none": null, "any": {"x": null}}), "{value}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_object_larger_than_etcd_takes_is_refused() -> Result<()> {
    with_toys(async |stage, version, toys| {
        let toy = |bytes: usize| {
            json!({"apiVersion": version, "kind": "Toy", "metadata": {"name": "t"}, "spec": {"any": {"a": "x".repeat(bytes)}}})
        };
        let (refused, status) = stage.refused("POST", toys, toy(1_600_000)).await?;
        ensure!(refused == "500 " && status["message"] == "etcdserver: request is too large", "{refused}");
        stage.done("POST", toys, toy(1_500_000)).await?;
        let large = json!({"metadata": {"name": "m"}, "data": {"a": "x".repeat(1 << 20), "b": "x"}});
        let (_, status) = told(&stage.ask("POST", &stage.maps(), large).await?)?;
        ensure!(status["details"]["causes"][0]["reason"] == "FieldValueTooLong" && status["code"] == 422, "{}", status["message"]);
        Ok(())
    })
    .await
}
