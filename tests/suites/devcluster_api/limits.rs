//! The limits of objects: no request makes an object too deep to be read again, or as large as the memory.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::stage::{deployment, map, told};
use crate::trouble::Stage;

const MAP: &str = "/api/v1/namespaces/default/configmaps/one";
const DEPLOYMENT: &str = "/apis/apps/v1/namespaces/default/deployments/one";
const THINGS: &str = "/apis/attache.test/v1/namespaces/default/things";

/// Returns an empty map in `levels` others.
fn nested(levels: usize) -> Value {
    (0..levels).fold(json!({}), |inner, _| json!({"a": inner}))
}

fn thing(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "attache.test/v1", "kind": "Thing", "metadata": {"name": name}, "spec": spec})
}

/// Returns a cluster with a config map, a deployment, and a type whose objects may be anything.
async fn stage(subresources: Value) -> Result<Stage> {
    let stage = Stage::new(|_| ())?;
    let mut one = map("one", json!({}));
    one["data"] = json!({"text": "x".repeat(64 << 10)});
    stage.done("POST", "/api/v1/namespaces/default/configmaps", one).await?;
    stage.done("POST", "/apis/apps/v1/namespaces/default/deployments", deployment("one", &["main"])).await?;
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let version =
        json!({"name": "v1", "served": true, "storage": true, "schema": schema, "subresources": subresources});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.attache.test"},
        "spec": {"group": "attache.test", "scope": "Namespaced", "versions": [version],
                 "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"}}});
    stage.done("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition).await?;
    Ok(stage)
}

/// Asserts that a request is refused as `wanted`, and that the stored object stays unchanged.
async fn refused(stage: &Stage, method: &str, target: &str, body: Value, wanted: &str) -> Result<()> {
    let seen = target.trim_end_matches("/scale");
    let before = stage.list(seen).await?;
    let (found, status) = told(&stage.admin(method, target, body).await?)?;
    ensure!(found == wanted, "{method} {target}: {found} {}", status["message"]);
    ensure!(stage.list(seen).await? == before, "{target} has changed");
    Ok(())
}

#[tokio::test]
async fn a_json_patch_cannot_nest_ever_deeper() -> Result<()> {
    let stage = stage(json!({})).await?;
    let below = |place: &str, levels: usize| format!("{place}{}", "/a".repeat(levels));
    let add = |at: usize, place: &str| json!({"op": "add", "path": below(place, 100 * at), "value": nested(100)});
    let added: Value = (0..160).map(|at| add(at, "/data")).collect();
    refused(&stage, "PATCH", MAP, added, "400 BadRequest").await?;
    let added: Value = (0..160).map(|at| add(at, "/spec")).collect();
    refused(&stage, "PATCH", &format!("{DEPLOYMENT}/scale"), added, "400 BadRequest").await?;

    let chains = (0..160).map(|at| json!({"op": "add", "path": format!("/data/{at}"), "value": nested(100)}));
    let hang = |at: usize, op: &str| {
        let under = format!("/data/{}", at + 1);
        json!({"op": op, "from": format!("/data/{at}"), "path": below(&under, 101)})
    };
    for op in ["move", "copy"] {
        let hung: Value = chains.clone().chain((0..159).map(|at| hang(at, op))).collect();
        refused(&stage, "PATCH", MAP, hung, "400 BadRequest").await?;
    }
    let replaced = json!([{"op": "replace", "path": "/data", "value": nested(60)},
                          {"op": "replace", "path": below("/data", 60), "value": nested(100)}]);
    refused(&stage, "PATCH", MAP, replaced, "400 BadRequest").await?;

    stage.done("POST", THINGS, thing("one", &json!({}))).await?;
    let target = format!("{THINGS}/one");
    let moved = json!([{"op": "add", "path": "/spec/b", "value": nested(40)},
                       {"op": "add", "path": "/spec/a", "value": nested(40)},
                       {"op": "move", "from": "/spec/b", "path": below("/spec", 42)}]);
    let value = stage.done("PATCH", &target, moved).await?;
    ensure!(value["spec"] == nested(82), "{}", value["spec"]);
    Ok(())
}

#[tokio::test]
async fn what_is_accepted_step_by_step_can_be_read_again() -> Result<()> {
    let stage = stage(json!({})).await?;
    let json_patch = |levels: usize| {
        let path = format!("/spec{}", "/a".repeat(levels - 5));
        json!([{"op": "add", "path": path, "value": nested(5)}])
    };
    let merge = |levels: usize| json!({"spec": nested(levels)});
    for (name, patch) in [("json", &json_patch as &dyn Fn(usize) -> Value), ("merge", &merge)] {
        stage.done("POST", THINGS, thing(name, &nested(0))).await?;
        let target = format!("{THINGS}/{name}");
        for levels in (5..500).step_by(5) {
            let accepted = stage.admin("PATCH", &target, patch(levels)).await?;
            let listed = stage.list(THINGS).await?;
            ensure!(listed["items"].is_array(), "the list cannot be read at {levels} levels");
            if accepted.status == 400 {
                ensure!(levels > 100, "{name}: {levels} levels are refused");
                break;
            }
            ensure!(accepted.status == 200, "{name}: {} {:?}", accepted.status, accepted.body);
            ensure!(levels < 200, "{name}: {levels} levels are kept");
            ensure!(stage.list(&target).await?["spec"] == nested(levels), "{name}: lost at {levels} levels");
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_object_that_is_too_deep_is_refused_whole() -> Result<()> {
    let stage = stage(json!({})).await?;
    let mut kept = 0;
    for levels in 100..135 {
        let object = thing(&format!("t{levels}"), &nested(levels));
        let made = stage.admin("POST", THINGS, object.clone()).await?;
        let items = stage.list(THINGS).await?["items"].as_array().map_or(0, Vec::len);
        kept += usize::from(made.status == 201);
        ensure!(made.status == 201 || made.status == 400, "{levels} levels: {} {:?}", made.status, made.body);
        ensure!(items == kept, "{items} objects are seen where {kept} were made, at {levels} levels");
        if made.status == 201 {
            let target = format!("{THINGS}/t{levels}");
            ensure!(stage.list(&target).await?["spec"] == nested(levels), "lost at {levels} levels");
            stage.done("PUT", &target, object).await?;
        }
    }
    ensure!(kept > 0 && kept < 35, "{kept} of 35 were made");
    let deepest = format!("{{\"data\": {}}}", "[".repeat(10_000) + &"]".repeat(10_000));
    for media in ["json", "merge-patch+json", "apply-patch+yaml"] {
        let (method, target) =
            if media == "json" { ("PUT", MAP.to_owned()) } else { ("PATCH", format!("{MAP}?fieldManager=m")) };
        let reply = stage.admin_as(method, &target, &format!("application/{media}"), deepest.clone()).await?;
        ensure!(told(&reply)?.0 == "400 BadRequest", "{media}: {}", reply.status);
    }
    Ok(())
}

#[tokio::test]
async fn a_scale_is_not_kept_deeper_than_an_object_may_be() -> Result<()> {
    let path = format!(".spec{}", ".a".repeat(20_000));
    let stage = stage(json!({"scale": {"specReplicasPath": path, "statusReplicasPath": ".status.replicas"}})).await?;
    stage.done("POST", THINGS, thing("one", &json!({}))).await?;
    let target = format!("{THINGS}/one/scale");
    let three = json!({"metadata": {"name": "one"}, "spec": {"replicas": 3}});
    refused(&stage, "PUT", &target, three, "400 BadRequest").await?;
    refused(&stage, "PATCH", &target, json!({"spec": {"replicas": 3}}), "400 BadRequest").await
}

#[tokio::test]
async fn a_json_patch_cannot_copy_without_end() -> Result<()> {
    let stage = stage(json!({})).await?;
    let copy = |from: &str, path: &str| json!({"op": "copy", "from": from, "path": path});
    let doubled: Value = (0..60).map(|at| copy("/data", ["/data/a", "/data/b"][at % 2])).collect();
    let nested: Value = (0..3_000).map(|_| copy("/data", "/data/a")).collect();
    let beside: Value = (0..3_000).map(|at| copy("/data/text", &format!("/data/{at}"))).collect();
    let scale: Value = (0..60).map(|at| copy("/spec", ["/spec/a", "/spec/b"][at % 2])).collect();
    for patch in [doubled, nested, beside] {
        refused(&stage, "PATCH", MAP, patch, "422 Invalid").await?;
    }
    refused(&stage, "PATCH", &format!("{DEPLOYMENT}/scale"), scale, "422 Invalid").await?;

    // What a server's own limit of three megabytes has room for.
    let some: Value = (0..10).map(|at| copy("/data/text", &format!("/data/{at}"))).collect();
    let value = stage.done("PATCH", MAP, some).await?;
    ensure!(value["data"]["9"] == value["data"]["text"]);
    let nowhere = json!([copy("/data/none", "/data/x")]);
    refused(&stage, "PATCH", MAP, nowhere, "422 Invalid").await
}
