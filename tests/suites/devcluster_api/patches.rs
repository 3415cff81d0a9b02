//! JSON patch, merge patch and strategic merge patch.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::stage::{Stage, deployment, map, play, told};

const STRATEGIC: &str = "strategic-merge-patch+json";

/// Returns the names of a deployment's containers.
fn containers(value: &Value) -> Vec<&str> {
    let list = value["spec"]["template"]["spec"]["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|container| container["name"].as_str()).collect()
}

fn in_pod(spec: Value) -> Value {
    json!({"spec": {"template": {"spec": spec}}})
}

async fn patched(stage: &Stage, kind: &str, target: &str, patch: Value) -> Result<Value> {
    let reply = stage.patch(kind, target, patch).await?;
    ensure!(reply.status.is_success(), "{} {:?}", reply.status, reply.body);
    Ok(reply.json())
}

#[tokio::test]
async fn a_strategic_merge_knows_the_keys_of_lists() -> Result<()> {
    play(async |stage| {
        let all = stage.group("apps/v1", "deployments");
        stage.done("POST", &all, deployment("web", &["a", "b"])).await?;
        let target = format!("{all}/web");
        let step = async |patch| patched(stage, STRATEGIC, &target, patch).await;

        let value =
            step(in_pod(json!({"containers": [{"name": "b", "tty": true}, {"name": "c", "image": "x"}]}))).await?;
        ensure!(containers(&value) == ["a", "b", "c"], "{value}");
        let b = &value["spec"]["template"]["spec"]["containers"][1];
        ensure!(b["tty"] == true && b["image"] == "registry.invalid/x:1", "{b}");

        let order = json!([{"name": "c"}, {"name": "a"}, {"name": "b"}]);
        let value =
            step(in_pod(json!({"$setElementOrder/containers": order, "containers": [{"name": "a", "tty": true}]})))
                .await?;
        ensure!(containers(&value) == ["c", "a", "b"], "{value}");

        let value = step(in_pod(json!({"containers": [{"name": "c", "$patch": "delete"}]}))).await?;
        ensure!(containers(&value) == ["a", "b"], "{value}");

        let value =
            step(in_pod(json!({"containers": [{"$patch": "replace"}, {"name": "only", "image": "y"}]}))).await?;
        ensure!(containers(&value) == ["only"], "{value}");

        let ports = json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 81, "protocol": "TCP"}]);
        step(in_pod(json!({"containers": [{"name": "only", "ports": ports}]}))).await?;
        let value =
            step(in_pod(json!({"containers": [{"name": "only", "ports": [{"containerPort": 81, "name": "web"}]}]})))
                .await?;
        let ports = &value["spec"]["template"]["spec"]["containers"][0]["ports"];
        ensure!(ports[0]["containerPort"].is_i64() && ports.to_string().contains("\"name\":\"web\""), "{ports}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn strategic_directives_do_what_they_say() -> Result<()> {
    play(async |stage| {
        let all = stage.group("apps/v1", "deployments");
        let mut object = deployment("web", &["main"]);
        object["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
        object["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {}}]);
        object["spec"]["template"]["spec"]["nodeSelector"] = json!({"a": "1", "b": "2"});
        stage.done("POST", &all, object).await?;
        let target = format!("{all}/web");
        let step = async |patch| patched(stage, STRATEGIC, &target, patch).await;

        let value = step(json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}})).await?;
        ensure!(value["spec"]["strategy"] == json!({"type": "Recreate"}), "{}", value["spec"]["strategy"]);

        let volume = json!({"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}});
        let value = step(in_pod(json!({"volumes": [volume]}))).await?;
        let volumes = &value["spec"]["template"]["spec"]["volumes"];
        ensure!(volumes[0].get("emptyDir").is_none() && volumes[0]["configMap"]["name"] == "c", "{volumes}");

        let value = step(in_pod(json!({"nodeSelector": {"$patch": "replace", "c": "3"}}))).await?;
        ensure!(value["spec"]["template"]["spec"]["nodeSelector"] == json!({"c": "3"}), "{value}");

        let value = step(json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}})).await?;
        ensure!(value["metadata"]["finalizers"] == json!(["example.com/b"]), "{value}");

        let value = step(json!({"metadata": {"finalizers": ["example.com/c"]}})).await?;
        ensure!(value["metadata"]["finalizers"] == json!(["example.com/c", "example.com/b"]), "{value}");

        let value = step(json!({"metadata": {"finalizers": null}})).await?;
        ensure!(value["metadata"].get("finalizers").is_none(), "{value}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_merge_patch_replaces_lists_and_a_json_patch_tests() -> Result<()> {
    play(async |stage| {
        let all = stage.group("apps/v1", "deployments");
        stage.done("POST", &all, deployment("web", &["a", "b"])).await?;
        let target = format!("{all}/web");
        let one = in_pod(json!({"containers": [{"name": "new", "image": "x"}]}));
        let value = patched(stage, "merge-patch+json", &target, one).await?;
        ensure!(containers(&value) == ["new"], "{value}");
        let operations = json!([
            {"op": "test", "path": "/spec/replicas", "value": 0},
            {"op": "add", "path": "/metadata/labels", "value": {"a/b": "c"}},
            {"op": "replace", "path": "/metadata/labels/a~1b", "value": "d"},
        ]);
        let value = patched(stage, "json-patch+json", &target, operations).await?;
        ensure!(value["metadata"]["labels"] == json!({"a/b": "d"}), "{value}");
        let wrong = json!([{"op": "test", "path": "/spec/replicas", "value": 7}]);
        ensure!(told(&stage.patch("json-patch+json", &target, wrong).await?)?.0.starts_with("422"));
        let media = stage.patch("nothing+json", &target, json!({})).await?;
        ensure!(media.status == 415, "{}", media.status);
        let stale = json!({"metadata": {"resourceVersion": "1", "labels": {"x": "y"}}});
        ensure!(told(&stage.patch("merge-patch+json", &target, stale).await?)?.0 == "409 Conflict");
        stage.done("POST", &stage.maps(), map("m", json!({"a": "b"}))).await?;
        let nothing =
            patched(stage, "merge-patch+json", &format!("{}/m", stage.maps()), json!({"metadata": {"labels": null}}))
                .await?;
        ensure!(nothing["metadata"].get("labels").is_none(), "{nothing}");
        Ok(())
    })
    .await
}
