//! Bodies and queries that no client should send: each is answered, and none ends a connection or a thread.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::stage::{Stage, deployment, map, play};

/// Values of the wrong sort, at every depth that the server looks at.
fn odd() -> Vec<Value> {
    let mut all = vec![json!(null), json!("x"), json!(3), json!([]), json!([3]), json!({})];
    let wrong = [json!("x"), json!(3), json!([3]), json!({"a": 3})];
    let places = [
        "/kind",
        "/metadata",
        "/metadata/name",
        "/metadata/labels",
        "/metadata/annotations",
        "/metadata/finalizers",
        "/metadata/ownerReferences",
        "/metadata/managedFields",
        "/metadata/resourceVersion",
        "/spec",
        "/spec/replicas",
        "/spec/selector",
        "/spec/selector/matchLabels",
        "/spec/template",
        "/spec/template/metadata",
        "/spec/template/spec",
        "/spec/template/spec/containers",
        "/spec/containers",
        "/spec/volumes",
        "/spec/names",
        "/spec/versions",
        "/spec/ports",
        "/status",
        "/status/conditions",
        "/data",
        "/rules",
        "/subjects",
        "/roleRef",
        "/secrets",
        "/target",
        "/items",
    ];
    for place in places {
        all.extend(wrong.iter().map(|value| at(place, value)));
    }
    let items = ["/spec/containers", "/spec/volumes", "/spec/template/spec/containers", "/spec/versions", "/rules"];
    for place in items {
        let inner = json!([{"name": 3, "env": [3], "ports": 3, "resources": {"limits": [3]}, "downwardAPI": {"items": [3]},
            "volumeMounts": "x", "schema": "x", "verbs": 3}]);
        all.push(at(place, &inner));
    }
    all
}

/// Returns an object that has `value` at a JSON pointer.
fn at(pointer: &str, value: &Value) -> Value {
    let names: Vec<&str> = pointer.trim_start_matches('/').split('/').collect();
    names.iter().rev().fold(value.clone(), |inner, name| json!({*name: inner}))
}

/// Returns the collections, each with the name of something in it.
async fn fill(stage: &Stage) -> Result<Vec<(String, &'static str)>> {
    let (maps, pods) = (stage.maps(), stage.core("pods"));
    let deployments = stage.group("apps/v1", "deployments");
    stage.done("POST", &maps, map("one", json!({}))).await?;
    let pod = json!({"metadata": {"name": "one"}, "spec": {"containers": [{"name": "main", "image": "registry.invalid/x:1"}]}});
    stage.until(true, async || Ok(stage.ask("POST", &pods, pod.clone()).await?.status.as_u16() != 403)).await?;
    stage.done("POST", &deployments, deployment("one", &["main"])).await?;
    Ok(vec![
        (maps, "one"),
        (pods, "one"),
        (deployments, "one"),
        (stage.group("rbac.authorization.k8s.io/v1", "roles"), "none"),
        (stage.group("rbac.authorization.k8s.io/v1", "rolebindings"), "none"),
        (stage.core("services"), "none"),
        ("/apis/apiextensions.k8s.io/v1/customresourcedefinitions".to_owned(), "none.attache.test"),
    ])
}

/// Fails if a request gets no answer, or an answer that blames the server. A real server answers some mistakes of its
/// clients with a 500 without a reason; an error of the server itself has the reason `InternalError`.
async fn answered(stage: &Stage, kind: &str, method: &str, target: &str, body: &Value) -> Result<()> {
    let reply = match method {
        "PATCH" => stage.patch(kind, target, body.clone()).await,
        _ => stage.ask(method, target, body.clone()).await,
    };
    let reply = reply.with_context(|| format!("{method} {kind} {target}: {body}"))?;
    let status = reply.status.as_u16();
    let (known, answer) = (reply.json()["kind"] == "Status", reply.json());
    let foreseen = status < 500 || status == 500 && known && answer.get("reason").is_none();
    ensure!(foreseen, "{method} {kind} {target}: {status} for {body}: {answer}");
    Ok(())
}

#[tokio::test]
async fn a_body_of_the_wrong_shape_is_answered() -> Result<()> {
    play(async |stage| {
        for (collection, name) in fill(stage).await? {
            let one = format!("{collection}/{name}");
            for body in odd() {
                let dry = "dryRun=All&fieldManager=m";
                answered(stage, "", "POST", &format!("{collection}?{dry}"), &body).await?;
                answered(stage, "", "PUT", &format!("{one}?{dry}"), &body).await?;
                for target in [format!("{one}?{dry}"), format!("{one}/status?{dry}")] {
                    for kind in ["merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"] {
                        answered(stage, kind, "PATCH", &target, &body).await?;
                    }
                    let whole = json!([{"op": "replace", "path": "", "value": body}]);
                    answered(stage, "json-patch+json", "PATCH", &target, &whole).await?;
                }
            }
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_question_of_the_wrong_shape_is_answered() -> Result<()> {
    play(async |stage| {
        fill(stage).await?;
        let reviews = stage.group("authorization.k8s.io/v1", "localsubjectaccessreviews");
        let targets = [
            stage.core("serviceaccounts/default/token"),
            stage.core("pods/one/eviction"),
            stage.core("pods/one/binding"),
            reviews,
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(),
            "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews".to_owned(),
            "/apis/authentication.k8s.io/v1/tokenreviews".to_owned(),
        ];
        for target in targets {
            for body in odd() {
                answered(stage, "", "POST", &format!("{target}?dryRun=All"), &body).await?;
            }
        }
        let scale = format!("{}/one/scale?dryRun=All", stage.group("apps/v1", "deployments"));
        for body in odd() {
            answered(stage, "", "PUT", &scale, &body).await?;
            answered(stage, "merge-patch+json", "PATCH", &scale, &body).await?;
            answered(stage, "", "DELETE", &format!("{}/none", stage.maps()), &body).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_query_of_the_wrong_shape_is_answered() -> Result<()> {
    play(async |stage| {
        let maps = stage.maps();
        let queries = [
            "limit=-1",
            "limit=x",
            "limit=99999999999999999999",
            "continue=x",
            "continue=e30",
            "labelSelector=%00",
            "labelSelector=%2C%2C",
            "fieldSelector=%3D",
            "resourceVersion=-1",
            "resourceVersion=x",
            "timeoutSeconds=x",
            "watch=1&timeoutSeconds=1&resourceVersion=x",
            "pretty=x",
            "%ff=%ff",
            "=",
            "&&&",
            "dryRun=Some",
        ];
        for query in queries {
            answered(stage, "", "GET", &format!("{maps}?{query}"), &Value::Null).await?;
            answered(stage, "", "GET", &format!("{maps}/none?{query}"), &Value::Null).await?;
        }
        for path in
            ["//", "/api//v1", "/api/v1/namespaces//pods", "/apis/%2e%2e/x", "/api/v1/namespaces/%2F/pods/%2F/log/"]
        {
            answered(stage, "", "GET", path, &Value::Null).await?;
        }
        Ok(())
    })
    .await
}
