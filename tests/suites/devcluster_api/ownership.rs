//! The ownership of fields: the object after an apply, and its `managedFields`.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::client::Reply;
use crate::stage::{SOMEBODY, Stage, deployment, play, told};

async fn apply(stage: &Stage, manager: &str, target: &str, object: &Value) -> Result<Reply> {
    stage.patch("apply-patch+yaml", &format!("{target}?fieldManager={manager}"), object.clone()).await
}

async fn applied(stage: &Stage, manager: &str, target: &str, object: &Value) -> Result<Value> {
    let reply = apply(stage, manager, target, object).await?;
    ensure!(reply.status.is_success(), "{manager}: {} {:?}", reply.status, reply.body);
    Ok(reply.json())
}

/// Returns the fields in the answer to a refused apply.
async fn conflicts(stage: &Stage, manager: &str, target: &str, object: &Value) -> Result<Vec<String>> {
    let (refused, status) = told(&apply(stage, manager, target, object).await?)?;
    ensure!(refused == "409 Conflict", "{status}");
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    Ok(causes.filter_map(|cause| cause["field"].as_str()).map(str::to_owned).collect())
}

/// Returns the fields of one manager.
fn owned(value: &Value, manager: &str) -> Value {
    let entries = value["metadata"]["managedFields"].as_array().into_iter().flatten();
    let found = entries.into_iter().find(|entry| entry["manager"] == manager);
    found.map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

fn map(data: Option<Value>) -> Value {
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    if let Some(data) = data {
        map["data"] = data;
    }
    map
}

#[tokio::test]
async fn a_key_applied_below_an_owned_empty_map_is_there() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/m", stage.maps());
        let empty = applied(stage, "one", &target, &map(Some(json!({})))).await?;
        ensure!(empty.get("data").is_none() && owned(&empty, "one") == json!({"f:data": {}}), "{empty}");
        let filled = applied(stage, "one", &target, &map(Some(json!({"a": "1"})))).await?;
        ensure!(filled["data"] == json!({"a": "1"}), "{filled}");
        ensure!(owned(&filled, "one") == json!({"f:data": {"f:a": {}}}), "{filled}");
        applied(stage, "one", &target, &map(Some(json!({})))).await?;
        // Who owns the empty map owns that it is empty.
        ensure!(conflicts(stage, "two", &target, &map(Some(json!({"b": "1"})))).await? == [".data"]);
        let forced = format!("{target}?fieldManager=two&force=true");
        let taken = stage.patch("apply-patch+yaml", &forced, map(Some(json!({"b": "1"})))).await?.json();
        ensure!(taken["data"] == json!({"b": "1"}) && owned(&taken, "one").is_null(), "{taken}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_owned_empty_map_of_labels_is_somebodys_too() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/m", stage.maps());
        let labelled = |labels: Value| {
            let mut map = map(None);
            map["metadata"]["labels"] = labels;
            map
        };
        let empty = applied(stage, "one", &target, &labelled(json!({}))).await?;
        ensure!(owned(&empty, "one") == json!({"f:metadata": {"f:labels": {}}}), "{empty}");
        ensure!(conflicts(stage, "two", &target, &labelled(json!({"a": "b"}))).await? == [".metadata.labels"]);
        let filled = applied(stage, "one", &target, &labelled(json!({"x": "y"}))).await?;
        ensure!(filled["metadata"]["labels"] == json!({"x": "y"}), "{filled}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_struct_of_which_a_field_is_applied_keeps_it() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/web", stage.group("apps/v1", "deployments"));
        let with = |source: Value| {
            let mut object = deployment("web", &["main"]);
            object["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "emptyDir": source}]);
            object
        };
        applied(stage, "one", &target, &with(json!({}))).await?;
        let value = applied(stage, "one", &target, &with(json!({"medium": "Memory"}))).await?;
        let volumes = &value["spec"]["template"]["spec"]["volumes"];
        ensure!(*volumes == json!([{"name": "v", "emptyDir": {"medium": "Memory"}}]), "{value}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn merged_lists_keep_the_order_of_who_applied_last() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/s", stage.core("services"));
        let service = |ports: &[i64]| {
            let ports: Vec<Value> =
                ports.iter().map(|port| json!({"name": format!("p{port}"), "port": port})).collect();
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"ports": ports}})
        };
        let ports = |value: &Value| -> Vec<i64> {
            let ports = value["spec"]["ports"].as_array().into_iter().flatten();
            ports.filter_map(|port| port["port"].as_i64()).collect()
        };
        ensure!(ports(&applied(stage, "one", &target, &service(&[80, 82])).await?) == [80, 82]);
        ensure!(ports(&applied(stage, "one", &target, &service(&[80, 81])).await?) == [80, 81]);
        ensure!(ports(&applied(stage, "two", &target, &service(&[83, 81])).await?) == [80, 83, 81]);
        let value = applied(stage, "one", &target, &service(&[81, 80])).await?;
        ensure!(ports(&value) == [83, 81, 80], "{value}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_object_of_which_nobody_owns_anything_stays_so_until_it_is_applied_to() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/m", stage.maps());
        applied(stage, "one", &target, &map(Some(json!({"a": "1"})))).await?;
        let bare = applied(stage, "one", &target, &map(None)).await?;
        ensure!(bare.get("data").is_none() && bare["metadata"].get("managedFields").is_none(), "{bare}");
        let patched = stage.done("PATCH", &target, json!({"data": {"x": "1"}})).await?;
        ensure!(
            patched["data"] == json!({"x": "1"}) && patched["metadata"].get("managedFields").is_none(),
            "{patched}"
        );
        // What was there before the first apply is a manager's of its own.
        let (_, status) = told(&apply(stage, "one", &target, &map(Some(json!({"x": "2"})))).await?)?;
        let message = "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.x";
        ensure!(status["message"] == message, "{status}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_gives_its_fields_up_for_all_gives_up_the_notes() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/m", stage.maps());
        applied(stage, "one", &target, &map(Some(json!({"a": "1"})))).await?;
        let given = stage.done("PATCH", &target, json!({"metadata": {"managedFields": [{}]}})).await?;
        ensure!(given["metadata"].get("managedFields").is_none(), "{given}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_applies_what_is_there_owns_it_without_a_time() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/m", stage.maps());
        applied(stage, "one", &target, &map(Some(json!({"a": "1"})))).await?;
        let both = applied(stage, "two", &target, &map(Some(json!({"a": "1"})))).await?;
        let entry = &both["metadata"]["managedFields"][0];
        ensure!(entry["manager"] == "two" && entry.get("time").is_none(), "{both}");
        let third = map(Some(json!({"a": "2"})));
        ensure!(conflicts(stage, "three", &target, &third).await? == [".data.a", ".data.a"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_the_server_decides_is_nobodys() -> Result<()> {
    play(async |stage| {
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}});
        let service = stage.done("POST", &stage.core("services"), service).await?;
        let expected = json!({"f:spec": {
            "f:internalTrafficPolicy": {}, "f:sessionAffinity": {}, "f:type": {},
            "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {}}},
        }});
        ensure!(owned(&service, SOMEBODY) == expected, "{service}");
        ensure!(service["spec"]["clusterIP"].is_string(), "{service}");

        stage.until(true, async || {
            let account = format!("{}/default", stage.core("serviceaccounts"));
            Ok(stage.ask("GET", &account, Value::Null).await?.status.is_success())
        })
        .await?;
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
        let pod = stage.done("POST", &stage.core("pods"), pod).await?;
        let container = json!({".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {},
            "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {}});
        let expected = json!({"f:spec": {
            "f:containers": {"k:{\"name\":\"c\"}": container}, "f:dnsPolicy": {}, "f:enableServiceLinks": {},
            "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {},
        }});
        ensure!(owned(&pod, SOMEBODY) == expected, "{pod}");
        ensure!(pod["spec"]["volumes"].is_array() && pod["status"]["phase"] == "Pending", "{pod}");

        let namespace = stage.list(&format!("/api/v1/namespaces/{}", stage.namespace)).await?;
        ensure!(owned(&namespace, SOMEBODY) == json!({"f:metadata": {"f:generateName": {}}}), "{namespace}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_cannot_be_merged_is_not_applied() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/m", stage.maps());
        let code =
            async |object: Value| Ok::<_, anyhow::Error>(apply(stage, "one", &target, &object).await?.status.as_u16());
        ensure!(code(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}})).await? == 400, "no name");
        ensure!(code(json!({"kind": "ConfigMap", "metadata": {"name": "m"}})).await? == 400, "no version");
        let mut unknown = map(None);
        unknown["spec"] = json!({});
        let refused = apply(stage, "one", &target, &unknown).await?.json();
        let message =
            "failed to create typed patch object (/m; /v1, Kind=ConfigMap): .spec: field not declared in schema";
        ensure!(refused["message"] == message && refused["code"] == 500, "{refused}");
        let target = format!("{}/d", stage.group("apps/v1", "deployments"));
        let twice = apply(stage, "one", &target, &deployment("d", &["a", "a"])).await?.json();
        let message = twice["message"].as_str().context("no message")?;
        ensure!(message.ends_with(".spec.template.spec.containers: duplicate entries for key [name=\"a\"]"), "{twice}");
        Ok(())
    })
    .await
}
