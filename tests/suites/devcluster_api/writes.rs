//! create, replace and delete.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::stage::{deployment, map, names, play};

#[tokio::test]
async fn what_is_made_has_a_name_an_identity_and_a_version() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        let made = stage.done("POST", &maps, map("a", json!({}))).await?;
        for field in ["uid", "resourceVersion", "creationTimestamp", "namespace"] {
            ensure!(made["metadata"][field].is_string(), "no {field}: {made}");
        }
        ensure!(stage.refused("POST", &maps, map("a", json!({}))).await?.0 == "409 AlreadyExists");
        let generated = json!({"metadata": {"generateName": "gen-"}});
        let one = stage.done("POST", &maps, generated.clone()).await?;
        let two = stage.done("POST", &maps, generated).await?;
        let name = one["metadata"]["name"].as_str().context("no name")?;
        ensure!(name.starts_with("gen-") && name.len() == 9 && one["metadata"]["name"] != two["metadata"]["name"]);
        ensure!(stage.refused("POST", &maps, map("Not_A_Name", json!({}))).await?.0 == "422 Invalid");
        let lost = format!("/api/v1/namespaces/{}-not/configmaps", stage.namespace);
        ensure!(stage.refused("POST", &lost, map("a", json!({}))).await?.0 == "404 NotFound");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_dry_run_judges_and_stores_nothing() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        let dry = stage.done("POST", &format!("{maps}?dryRun=All"), map("a", json!({}))).await?;
        ensure!(dry["metadata"]["uid"].is_string(), "{dry}");
        ensure!(stage.refused("GET", &format!("{maps}/a"), Value::Null).await?.0 == "404 NotFound");
        let made = stage.done("POST", &maps, map("a", json!({}))).await?;
        let target = format!("{maps}/a?dryRun=All");
        let changed = stage.done("PATCH", &target, json!({"data": {"x": "1"}})).await?;
        ensure!(changed["data"]["x"] == "1", "{changed}");
        stage.done("DELETE", &target, Value::Null).await?;
        let kept = stage.list(&format!("{maps}/a")).await?;
        ensure!(kept == made, "{kept}");
        ensure!(stage.refused("POST", &format!("{maps}?dryRun=All"), map("a", json!({}))).await?.0.starts_with("409"));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn who_read_an_old_version_cannot_replace_the_new_one() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        let mut old = stage.done("POST", &maps, map("a", json!({}))).await?;
        let target = format!("{maps}/a");
        let new = stage.done("PATCH", &target, json!({"data": {"x": "1"}})).await?;
        old["data"] = json!({"x": "2"});
        ensure!(stage.refused("PUT", &target, old.clone()).await?.0 == "409 Conflict");
        old["metadata"]["resourceVersion"] = new["metadata"]["resourceVersion"].clone();
        let stored = stage.done("PUT", &target, old.clone()).await?;
        ensure!(stored["data"]["x"] == "2");
        // A write without a version replaces any version. Equal content makes no new version.
        old["metadata"]["resourceVersion"] = Value::Null;
        let same = stage.done("PUT", &target, old).await?;
        ensure!(same["metadata"]["resourceVersion"] == stored["metadata"]["resourceVersion"], "{same}");
        let elsewhere = map("b", json!({}));
        ensure!(stage.refused("PUT", &target, elsewhere).await?.0 == "400 BadRequest");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn the_status_has_a_path_of_its_own() -> Result<()> {
    play(async |stage| {
        let target = format!("{}/web", stage.group("apps/v1", "deployments"));
        let made = stage.done("POST", &stage.group("apps/v1", "deployments"), deployment("web", &["main"])).await?;
        ensure!(made["metadata"]["generation"] == 1);
        let change = json!({"spec": {"paused": true}, "status": {"observedGeneration": 77}});
        let changed = stage.done("PATCH", &target, change.clone()).await?;
        ensure!(changed["spec"]["paused"] == true && changed["status"]["observedGeneration"] != 77, "{changed}");
        ensure!(changed["metadata"]["generation"] == 2, "{changed}");
        let told = stage
            .done(
                "PATCH",
                &format!("{target}/status"),
                json!({"status": {"conditions": [
            {"type": "Suite", "status": "True"},
        ]}, "spec": {"paused": false}}),
            )
            .await?;
        ensure!(told["spec"]["paused"] == true, "{told}");
        ensure!(told["status"]["conditions"].to_string().contains("Suite"), "{told}");
        let scale = stage.list(&format!("{target}/scale")).await?;
        ensure!(
            scale["kind"] == "Scale" && scale["spec"] == json!({}) && scale["status"]["selector"] == "app=web",
            "{scale}"
        );
        let scaled =
            stage.done("PATCH", &format!("{target}/scale?dryRun=All"), json!({"spec": {"replicas": 3}})).await?;
        ensure!(scaled["spec"]["replicas"] == 3, "{scaled}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn unknown_fields_are_dropped_told_or_refused() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        let mut odd = map("odd", json!({}));
        odd["datum"] = json!({"a": "1"});
        let (told, status) = stage.refused("POST", &format!("{maps}?fieldValidation=Strict"), odd.clone()).await?;
        let message = status["message"].as_str().unwrap_or_default();
        ensure!(told == "400 BadRequest" && message.contains("unknown field \"datum\""), "{status}");
        let warned = stage.ask("POST", &format!("{maps}?fieldValidation=Warn"), odd).await?;
        let warning = warned.headers.get("warning").context("no warning")?.to_str()?;
        ensure!(warning.contains("unknown field") && warned.json().get("datum").is_none(), "{warning}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn preconditions_hold_a_deletion_back() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        let made = stage.done("POST", &maps, map("a", json!({}))).await?;
        let target = format!("{maps}/a");
        for wrong in [json!({"uid": "11111111-2222-3333-4444-555555555555"}), json!({"resourceVersion": "1"})] {
            let (told, _) = stage.refused("DELETE", &target, json!({"preconditions": wrong})).await?;
            ensure!(told == "409 Conflict", "{told}");
        }
        let right = json!({"preconditions": {"uid": made["metadata"]["uid"]}});
        ensure!(stage.done("DELETE", &target, right).await?["status"] == "Success");
        ensure!(stage.refused("DELETE", &target, Value::Null).await?.0 == "404 NotFound");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn finalizers_and_owners_hold_and_pull() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        let mut held = map("held", json!({}));
        held["metadata"]["finalizers"] = json!(["example.com/wait"]);
        let owner = stage.done("POST", &maps, held).await?;
        let mut owned = map("owned", json!({"own": "1"}));
        owned["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "held", "uid": owner["metadata"]["uid"]}]);
        stage.done("POST", &maps, owned).await?;
        let marked = stage.done("DELETE", &format!("{maps}/held"), Value::Null).await?;
        ensure!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
        ensure!(stage.ask("GET", &format!("{maps}/owned"), Value::Null).await?.status == 200);
        let more = json!({"metadata": {"finalizers": ["example.com/wait", "example.com/more"]}});
        ensure!(stage.refused("PATCH", &format!("{maps}/held"), more).await?.0 == "422 Invalid", "a late finalizer");
        let mut watch = stage.watch(&format!("{maps}?watch=1&labelSelector=own")).await?;
        ensure!(watch.told().await? == "ADDED owned");
        stage.done("PATCH", &format!("{maps}/held"), json!({"metadata": {"finalizers": null}})).await?;
        ensure!(stage.ask("GET", &format!("{maps}/held"), Value::Null).await?.status == 404);
        // A real cluster collects its garbage after a while.
        while watch.told().await? != "DELETED owned" {}
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        for name in ["a", "b", "c"] {
            stage.done("POST", &maps, map(name, json!({"keep": (name == "b").to_string()}))).await?;
        }
        stage.done("DELETE", &format!("{maps}?labelSelector=keep%3Dfalse&dryRun=All"), Value::Null).await?;
        ensure!(names(&stage.list(&maps).await?) == ["a", "b", "c"]);
        stage.done("DELETE", &format!("{maps}?labelSelector=keep%3Dfalse"), Value::Null).await?;
        ensure!(names(&stage.list(&maps).await?) == ["b"]);
        Ok(())
    })
    .await
}
